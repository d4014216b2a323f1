"""The row of text-classification."""

from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import CUT, Contract, Model, Options, Steps, call, shapes

from torchless_export.sample import sample_texts

HEADS = {
    "softmax": {"num_labels": 3},
    "sigmoid": {"num_labels": 4, "problem_type": "multi_label_classification"},
    "one label": {"num_labels": 1},
    "regression": {"num_labels": 1, "problem_type": "regression"},
}
SOFTMAX = HEADS["softmax"]
TEXTS = [*HARD_TEXTS.values(), *sample_texts(6)]
PAIRS = [{"text": "A man eats.", "text_pair": "Someone is eating."}, {"text": "One.", "text_pair": ""}]
ALL_SCORES = "ignore:`return_all_scores` is now deprecated"

CONTRACT = Contract(
    task="text-classification",
    example="It is a film.",
    model=Model("bert", SOFTMAX),
    batch_models=[Model(architecture, head) for architecture in sorted(CONFIGS) for head in HEADS.values()],
    batch_inputs=TEXTS,
    batch_options=[{"top_k": None}],
    shapes=[*shapes("It is a film.", "Another."), *shapes(*PAIRS), call([[["A man eats.", "Someone is eating."]]])],
    option_models=[
        Model("bert", SOFTMAX | config) for config in ({}, {"return_all_scores": True}, {"return_all_scores": False})
    ],
    option_cases=[
        Options({"top_k": None}, {}),
        Options({"top_k": 1}, {}),
        Options({"top_k": 2}, {"return_all_scores": True}),
        Options({"top_k": 2}, {"return_all_scores": False}),
        Options({"top_k": 2}, {"top_k": 1}),
        Options({"return_all_scores": True}, {}),
        Options({"return_all_scores": True}, {"return_all_scores": False}),
        Options({"return_all_scores": True}, {"top_k": 2}),
        Options({"function_to_apply": "none"}, {"function_to_apply": None}),
        Options({"function_to_apply": "none"}, {"function_to_apply": "softmax"}),
        Options({"truncation": True, "max_length": 5}, {"top_k": None}),
    ],
    option_calls=[call("It is a film."), call(["It is a film.", "Another."]), call(PAIRS[0])],
    option_warnings=[ALL_SCORES, CUT],
    wrong_inputs=[
        (call(None), "None, of type NoneType"),
        (call(1), "1, of type int"),
        (call(["a", None]), "None, of type NoneType"),
    ],
    wrong_options=[
        ({"top_k": 0}, "top_k=0"),
        ({"topk": 1}, r"no option 'topk'[\s\S]*Did you mean 'top_k'"),
        ({"function_to_apply": "relu"}, "function_to_apply='relu'"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
    cut=(call([LONG_TEXT, "Short."], truncation=True), "1 of 2 inputs were cut to 512 tokens"),
    steps=Steps(["It is a film.", "Another."], {"top_k": None}, rows=[1, 1]),
)

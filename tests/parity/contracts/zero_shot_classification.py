"""The row of zero-shot-classification."""

from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import Contract, Generated, Model, Options, Steps, call, shapes

from torchless_export.sample import sample_texts

LABELS = ["politics", "sport", "a film, or a book", "education"]
TEXT = "Who are you voting for this year?"
TEXTS = [*filter(None, HARD_TEXTS.values()), *sample_texts(6)]
NOT_A_STRING = r"The input is .*, of type .*\n  Give a string"


def labelled(*names):
    """The configuration of a model whose logits stand for these labels."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


NLI = labelled("contradiction", "neutral", "entailment")

CONTRACT = Contract(
    task="zero-shot-classification",
    example=TEXT,
    options={"candidate_labels": LABELS},
    model=Model("bert", NLI),
    batch_models=[Model(architecture, NLI) for architecture in CONFIGS],
    batch_inputs=TEXTS,
    shapes=[call([]), call(Generated()), *shapes(TEXT, "A film.", TEXT)],
    option_models=[Model("roberta", NLI)],
    option_cases=[
        Options({"candidate_labels": "politics, sport"}, {}),
        Options({"candidate_labels": ("politics", "sport")}, {"multi_label": True}),
        Options({"candidate_labels": ("politics", "sport")}, {"candidate_labels": LABELS}),
        Options({"hypothesis_template": "About {}."}, {"candidate_labels": LABELS}),
        Options({"hypothesis_template": "About {}."}, {"candidate_labels": LABELS, "hypothesis_template": "{}"}),
        Options({"multi_label": True}, {"candidate_labels": LABELS}),
        Options({"multi_label": True}, {"candidate_labels": LABELS, "multi_label": False}),
        Options({"multi_label": True, "candidate_labels": "politics"}, {"hypothesis_template": "{}?"}),
        Options({"batch_size": 2}, {"candidate_labels": LABELS}),
    ],
    option_calls=[call(TEXT), call([TEXT, "A film."])],
    wrong_inputs=[
        (call(inputs, LABELS), NOT_A_STRING)
        for inputs in (None, 1, b"A film.", ("a", "b"), {"text": "a"}, [["a", "b"]], ["a", None])
    ],
    wrong_options=[
        ({"candidate_labels": [1, 2]}, r"candidate_labels=\[1, 2\] is not possible\.\n  Give a list of strings"),
        ({"candidate_labels": {"a": "b"}}, "candidate_labels={'a': 'b'} is not possible"),
        (
            {"candidate_label": "a"},
            r"no option 'candidate_label'\.\n  Did you mean 'candidate_labels'\? Valid: .*multi",
        ),
        ({"candidate_labels": "a", "multi_class": True}, r"no option 'multi_class'\.\n  Did you mean 'multi_label'"),
        ({"candidate_labels": "a", "truncation": True}, "no option 'truncation'"),
        ({"candidate_labels": "a", "batch_size": 0}, "batch_size=0 is not possible"),
        ({"candidate_labels": []}, r"There are no candidate_labels\.\n  Give at least one label"),
        ({"candidate_labels": ""}, "There are no candidate_labels"),
        ({"candidate_labels": " , ,"}, "There are no candidate_labels"),
    ],
    wrong_call_options=[
        ({}, r"There are no candidate_labels\.\n  Give them: candidate_labels=\['sports'"),
    ],
    cut=(call([LONG_TEXT, TEXT]), "1 of 2 inputs were cut to 512 tokens"),
    steps=Steps([TEXT, "A film."], {"candidate_labels": LABELS}, rows=[len(LABELS)] * 2),
)

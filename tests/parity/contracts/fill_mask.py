"""The row of fill-mask."""

from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS
from parity.contracts.contract import CUT, Contract, Generated, Model, Options, Steps, call, shapes

from torchless_export.sample import sample_texts

ONE_MASK = "The film is {}, and long it is, too long by any measure."
TWO_MASKS = "It {} a film, by any {}."
TEXTS = [ONE_MASK, TWO_MASKS, "{}"]
UNKNOWN = "ignore:The target .* is not in the vocabulary"
NOT_A_STRING = r"The input is .*, of type .*\n  Give a string"
CUT_TO_9 = {"tokenizer_kwargs": {"truncation": True, "max_length": 9}}


def with_mask(mask, *texts):
    """Return the texts with a mask for each `{}`."""
    return [text.replace("{}", mask) for text in texts]


def batch_inputs(pipe):
    return with_mask(pipe.tokenizer.mask_token, *(f"{text} {{}}" for text in [*HARD_TEXTS.values(), *sample_texts(6)]))


BERT, ROBERTA = with_mask("[MASK]", *TEXTS), with_mask("<mask>", *TEXTS)

CONTRACT = Contract(
    task="fill-mask",
    example="A [MASK].",
    model=Model("bert"),
    batch_models=[Model(architecture) for architecture in CONFIGS],
    batch_inputs=batch_inputs,
    shapes=[call([]), call(Generated()), *shapes(*BERT), *shapes(BERT[1])],
    option_models=[Model("roberta")],
    option_cases=[
        Options({"top_k": 2}, {}),
        Options({"top_k": 2}, {"top_k": 3}),
        Options({"top_k": 2}, {"top_k": None}),
        Options({"targets": "film"}, {"targets": ["good", "bad"]}),
        Options({"targets": ("film", "good", "bad"), "top_k": 2}, {"targets": None}),
        Options({"targets": ("film", "good", "bad")}, {"top_k": 1}),
        Options({"top_k": 2}, {"targets": ["film", "good", "bad"]}),
        Options({"batch_size": 2}, {"top_k": 2}),
        Options(CUT_TO_9, {"top_k": 1}),
        Options(CUT_TO_9, {"tokenizer_kwargs": None}),
        Options(CUT_TO_9, {"tokenizer_kwargs": {"max_length": 7}}),
        Options(CUT_TO_9, {"tokenizer_kwargs": {"padding": True}}),
    ],
    option_calls=[call(ROBERTA), call(ROBERTA[0])],
    option_warnings=[CUT, UNKNOWN],
    wrong_inputs=[
        (call(inputs), NOT_A_STRING)
        for inputs in (None, 1, b"[MASK]", ("[MASK]",), {"text": "[MASK]"}, [["[MASK]"]], ["[MASK]", None])
    ],
    wrong_options=[
        ({"top_k": 0}, "top_k=0 is not possible"),
        ({"top_k": -1}, "top_k=-1 is not possible"),
        ({"top_k": "3"}, "top_k='3' is not possible"),
        ({"top_k": True}, "top_k=True is not possible"),
        ({"targets": []}, r"targets=\[\] is not possible\.\n  Give a string, or a list"),
        ({"targets": ""}, "targets='' is not possible"),
        ({"targets": [1]}, r"targets=\[1\] is not possible"),
        ({"targets": 7592}, "targets=7592 is not possible"),
        ({"targets": [""]}, r"targets=\[''\] have no tokens in the vocabulary\.\n  Give other targets"),
        ({"target": "film"}, r"no option 'target'\.\n  Did you mean 'targets'\? Valid: .*tokenizer_kwargs"),
        ({"truncation": True}, r"no option 'truncation'\.\n  .*tokenizer_kwargs"),
        ({"tokenizer_kwargs": True}, r"tokenizer_kwargs=True is not possible\.\n  .*{'truncation': True}"),
        ({"tokenizer_kwargs": "truncation"}, "tokenizer_kwargs='truncation' is not possible"),
        ({"tokenizer_kwargs": {"max_len": 9}}, r"tokenizer_kwargs has no option 'max_len'\.\n  .*'max_length'"),
        ({"batch_size": 0}, "batch_size=0 is not possible"),
    ],
    wrong_call_options=[
        (
            {"top_k": 30523},
            r"top_k=30523 is more than the 30522 tokens of the vocabulary\.\n  Give top_k=30522 or less",
        ),
        ({"tokenizer_kwargs": {"truncation": "longest"}}, "truncation='longest' is not a strategy"),
        ({"tokenizer_kwargs": {"max_length": -1}}, "max_length=-1 is not possible"),
    ],
    cut=(
        call([BERT[0], BERT[2]], **CUT_TO_9),
        "1 of 2 inputs were cut to 9 tokens",
    ),
    steps=Steps(BERT[:2], {}, rows=[1, 1]),
)

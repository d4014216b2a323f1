"""The row of token-classification."""

from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import Contract, Model, Options, Steps, call, shapes

from torchless_export.sample import sample_texts

ARCHITECTURES = tuple(CONFIGS)
LABELS = dict(enumerate(("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC")))
NAMES = "Wolfgang Müller-Lüdenscheidt and Sarah O'Neill live in Frankfurt (Oder), not in New York; Zoë 王 doesn't. 🤗"
TEXTS = [*HARD_TEXTS.values(), *sample_texts(6), NAMES, f"   {NAMES}"]
WORDS = [
    ["Wolfgang", "Müller-Lüdenscheidt", "lives", "in", "New", "York", "."],
    [*HARD_TEXTS.values(), NAMES],
    ["unbelievably"],
    [""],
    [],
    [" a ", "New York", "  ", "", "end"],
]
AS_WORDS = {"is_split_into_words": True, "ignore_labels": []}
UNKNOWN_WORDS = (
    "ignore:Tokenizer does not support real words:UserWarning",
    "ignore:This tokenizer does not mark the tokens that continue a word:UserWarning",
)
LONG_CALL = call(LONG_TEXT[:4000])

CONTRACT = Contract(
    task="token-classification",
    example=NAMES,
    threads=1,
    ignored_warnings=UNKNOWN_WORDS,
    model=Model("bert", {"id2label": LABELS}),
    batch_models=[Model(architecture, {"id2label": LABELS}) for architecture in ARCHITECTURES],
    batch_inputs=TEXTS,
    batch_options=[{"aggregation_strategy": "average", "ignore_labels": []}],
    shapes=[
        *shapes(NAMES, "Sarah lives."),
        call(WORDS[0], **AS_WORDS),
        call([WORDS[0]], **AS_WORDS),
        call([WORDS[0], WORDS[2]], **AS_WORDS),
        call([[]], **AS_WORDS),
    ],
    empty_options=[{}, {"is_split_into_words": True}],
    option_cases=[
        Options({"aggregation_strategy": "simple"}, {}),
        Options({"aggregation_strategy": "simple"}, {"aggregation_strategy": "none"}),
        Options({"aggregation_strategy": "simple"}, {"aggregation_strategy": None}),
        Options({"aggregation_strategy": "average", "ignore_labels": ()}, {"ignore_labels": ["PER"]}),
        Options({"ignore_labels": ("MISC",)}, {"ignore_labels": None, "aggregation_strategy": "max"}),
        Options({"ignore_labels": ("MISC",)}, {"ignore_labels": []}),
        Options({"stride": 100}, {"aggregation_strategy": "none"}, calls=[LONG_CALL]),
        Options({"stride": 100}, {"aggregation_strategy": "first"}, calls=[LONG_CALL]),
        Options({"aggregation_strategy": "none"}, {"stride": 100}, calls=[LONG_CALL]),
        Options({"aggregation_strategy": "simple", "stride": 100}, {"stride": 0}, calls=[LONG_CALL]),
        Options({"is_split_into_words": True, "delimiter": "-"}, {}),
        Options({"is_split_into_words": True, "delimiter": "-"}, {"is_split_into_words": None}),
    ],
    option_calls=[call(NAMES), call([NAMES, "Sarah lives."])],
    wrong_inputs=[
        (call(None), r"None, of type NoneType[\s\S]*Give a string"),
        (call(1), r"is 1, of type int[\s\S]*Give a string"),
        (call({"text": "a"}), r"{'text': 'a'}, of type dict"),
        (call(("a", "b")), r"\('a', 'b'\), of type tuple[\s\S]*a list of strings"),
        (call(["a", None]), "None, of type NoneType"),
        (call([["a", "b"]]), r"\['a', 'b'\], a list[\s\S]*is_split_into_words=True"),
        (call("a", is_split_into_words=True), r"'a', not a list of words[\s\S]*leave is_split_into_words out"),
        (call([["a"], "b"], is_split_into_words=True), r"\[\['a'\], 'b'\], not a list of words"),
        (call([["a", 1]], is_split_into_words=True), r"\['a', 1\], not a list of words"),
        (call((["a"], ["b"]), is_split_into_words=True), r"\(\['a'\], \['b'\]\), not a list of words"),
        (call([("a",)], is_split_into_words=True), r"\('a',\)"),
    ],
    wrong_options=[
        ({"aggregation_strategy": "fist"}, r"'fist'[\s\S]*Did you mean 'first'"),
        ({"aggregation_strategy": ""}, r"aggregation_strategy ''[\s\S]*Valid: average, first, max, none, simple"),
        ({"aggregation_strategy": 1}, r"aggregation_strategy 1\."),
        ({"stride": -1}, r"stride=-1[\s\S]*number of tokens"),
        ({"stride": "8"}, "stride='8'"),
        ({"stride": 8, "aggregation_strategy": "none"}, r"stride=8[\s\S]*aggregation_strategy='simple'"),
        ({"stride": 8, "aggregation_strategy": "NONE"}, "stride=8"),
        ({"ignore_labels": "O"}, r"ignore_labels='O'[\s\S]*\['O'\]"),
        ({"ignore_labels": 0}, "ignore_labels=0"),
        ({"ignore_labels": [None]}, r"ignore_labels=\[None\]"),
        ({"top_k": 1}, r"no option 'top_k'[\s\S]*Valid: aggregation_strategy"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"delimiter": 1}, r"delimiter=1[\s\S]*Give a string"),
    ],
    cut=(call([LONG_TEXT, "Short."]), r"1 of 2 inputs were cut to 512 tokens[\s\S]*stride"),
    steps=Steps([LONG_TEXT, NAMES], {"aggregation_strategy": "simple", "stride": 100}, rows=[9, 1]),
)

import json
import shutil
from functools import cache

import pytest
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import Both, assert_same
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

import torchless
from torchless_export.sample import sample_texts

TASK = "token-classification"
ARCHITECTURES = tuple(CONFIGS)
STRATEGIES = ("none", "simple", "first", "average", "max")
LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC", 5: "MISC"}
OTHER_LABELS = {
    "dashes": ["O", "B-A-B", "I-A-B", "B--A-B", "A-B-C", "-"],
    "only a prefix": ["B-", "I-", "B", "I", "", "-I"],
    "not prefixed": ["NOUN", "VERB", "b-PER", "i-PER", "E-PER", "S-PER"],
    "the same tag": ["B-X", "I-X", "X", "O", "B-O", "I-O"],
}
NAMES = "Wolfgang Müller-Lüdenscheidt and Sarah O'Neill live in Frankfurt (Oder), not in New York; Zoë 王 doesn't. 🤗"
TEXTS = [*HARD_TEXTS.values(), *sample_texts(6), NAMES]
WORDS = {
    "names": ["Wolfgang", "Müller-Lüdenscheidt", "lives", "in", "New", "York", "."],
    "hard": [*HARD_TEXTS.values(), NAMES],
    "one": ["unbelievably"],
    "one empty": [""],
    "none": [],
    "spaces": [" a ", "New York", "  ", "", "end"],
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Tokenizer does not support real words:UserWarning"),
    pytest.mark.filterwarnings("ignore:This tokenizer does not mark the tokens that continue a word:UserWarning"),
]


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def both(both_on, architecture):
    return both_on(architecture, TASK, id2label=LABELS)


@pytest.fixture(scope="module")
def both_bert(both_on):
    return both_on("bert", TASK, id2label=LABELS)


@pytest.fixture(scope="module")
def edited(tiny, tmp_path_factory):
    """Both sides on folders with other values in a JSON file: `edited("bert", "config.json", '{"id2label": …}')`."""

    @cache
    def make(architecture, *edits):
        folders = [side(architecture, TASK, id2label=LABELS) for side in (tiny.checkpoint, tiny.export)]
        copies = [shutil.copytree(folder, tmp_path_factory.mktemp("edited") / "model") for folder in folders]
        for copy in copies:
            for name, values in zip(edits[::2], edits[1::2], strict=True):
                path = copy / name
                path.write_text(json.dumps(json.loads(path.read_text()) | json.loads(values)))
        checkpoint, export = copies
        return Both(
            transformers.pipeline(TASK, model=str(checkpoint), device="cpu"), torchless.pipeline(TASK, export)
        )

    return make


@pytest.fixture
def both_short(edited, architecture):
    """Models whose tokenizers cut texts to 14 tokens."""
    return edited(architecture, "tokenizer_config.json", '{"model_max_length": 14}')


@pytest.fixture
def both_on_words(edited, both, architecture):
    """Models that take lists of words; the reference refuses byte-level ones unless they put a space before each."""
    if architecture != "roberta":
        return both
    return edited(
        architecture, "tokenizer_config.json", '{"add_prefix_space": true}',
        "tokenizer.json", json.dumps({"pre_tokenizer": BYTE_LEVEL}),
    )  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hard_texts(both, strategy):
    both.assert_same(TEXTS, aggregation_strategy=strategy, ignore_labels=[])


@pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")
def test_a_long_text_is_cut(both):
    both.assert_same([LONG_TEXT, "Short."], aggregation_strategy="simple")


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_long_text_in_windows(both, strategy):
    both.assert_same(LONG_TEXT, stride=128, aggregation_strategy=strategy)


@pytest.mark.parametrize("stride", [0, 1, 6])
@pytest.mark.parametrize("strategy", [None, *STRATEGIES[1:]])
def test_windows(both_short, strategy, stride):
    both_short.assert_same(TEXTS, stride=stride, aggregation_strategy=strategy, ignore_labels=[])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words(both_on_words, words, strategy):
    both_on_words.assert_same([words], is_split_into_words=True, aggregation_strategy=strategy, ignore_labels=[])

import shutil
from functools import cache

import pytest
import transformers
from fixtures.comparison import Both, assert_same
from fixtures.texts import LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.token_classification import ARCHITECTURES, LABELS, NAMES, TEXTS, UNKNOWN_WORDS, WORDS

import torchless

TASK = "token-classification"
STRATEGIES = ("none", "simple", "first", "average", "max")
OTHER_LABELS = {
    "dashes": ("O", "B-A-B", "I-A-B", "B--A-B", "A-B-C", "-"),
    "only prefixes": ("B-", "I-", "B", "I", "", "-I"),
    "no prefixes": ("NOUN", "VERB", "b-PER", "i-PER", "E-PER", "S-PER"),
    "the same tags": ("B-X", "I-X", "X", "O", "B-O", "I-O"),
}

pytestmark = pytest.mark.filterwarnings(*UNKNOWN_WORDS)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def both_of(tiny, reference):
    """Both sides on an architecture; each is made once. Many pipelines stay loaded, and idle threads take cores."""

    @cache
    def make(architecture):
        return Both(
            reference(TASK, tiny.checkpoint(architecture, TASK, id2label=LABELS)),
            torchless.pipeline(TASK, tiny.export(architecture, TASK, id2label=LABELS), threads=1),
        )

    return make


@pytest.fixture
def both(both_of, architecture):
    return both_of(architecture)


@pytest.fixture(scope="module")
def both_bert(both_of):
    return both_of("bert")


@pytest.fixture(scope="module")
def edited(tiny, reference, tmp_path_factory):
    """Both sides on the model of an architecture, with other labels or another configuration of its tokenizer."""

    @cache
    def make(architecture, *, labels=None, **tokenizer):
        folders = []
        for side in (tiny.checkpoint, tiny.export):
            folder = side(architecture, TASK, id2label=LABELS)
            folders.append(shutil.copytree(folder, tmp_path_factory.mktemp("edited") / "model"))
            transformers.AutoConfig.from_pretrained(
                folder, id2label=dict(enumerate(labels or LABELS.values()))
            ).save_pretrained(folders[-1])
            transformers.AutoTokenizer.from_pretrained(folder, **tokenizer).save_pretrained(folders[-1])
        checkpoint, export = folders
        return Both(reference(TASK, checkpoint), torchless.pipeline(TASK, export, threads=1))

    return make


@pytest.fixture
def both_short(edited, architecture):
    """The model of an architecture, whose tokenizer cuts texts to 14 tokens."""
    return edited(architecture, model_max_length=14)


@pytest.fixture
def both_on_words(edited, both, architecture):
    """The model of an architecture; RoBERTa's takes words only if its tokenizer puts a space before each."""
    return edited(architecture, add_prefix_space=True) if architecture == "roberta" else both


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hard_texts(both, strategy):
    both.assert_same(TEXTS, aggregation_strategy=strategy, ignore_labels=[])


@pytest.mark.filterwarnings(CUT)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_words(both_on_words, strategy):
    both_on_words.assert_same(WORDS, is_split_into_words=True, aggregation_strategy=strategy, ignore_labels=[])


@pytest.mark.parametrize("strategy", [None, "max"])
def test_windows(both_short, strategy):
    both_short.assert_same(TEXTS, stride=6, aggregation_strategy=strategy, ignore_labels=[])


@pytest.mark.parametrize("stride", [0, 1, 9])
@pytest.mark.parametrize("strategy", ["simple", "first", "average"])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"], indirect=True)
def test_strides(both_short, strategy, stride):
    both_short.assert_same(TEXTS[-8:], stride=stride, aggregation_strategy=strategy)


@pytest.mark.parametrize("architecture", ["bert", "albert", "modernbert"], indirect=True)
def test_windows_over_words(both_short):
    both_short.assert_same(WORDS, is_split_into_words=True, stride=5, aggregation_strategy="max", delimiter="--")


@pytest.mark.filterwarnings(CUT)
def test_a_long_text_is_cut(both):
    both.assert_same([LONG_TEXT, "Short."], aggregation_strategy="simple")


@pytest.mark.filterwarnings(CUT)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_short_limits(edited, strategy):
    edited("bert", model_max_length=14).assert_same(TEXTS, aggregation_strategy=strategy)


@pytest.mark.parametrize("architecture", ["bert", "roberta"], indirect=True)
def test_a_long_text_in_windows(both):
    both.assert_same(LONG_TEXT, stride=128, aggregation_strategy="first")


@pytest.mark.filterwarnings(CUT)
@pytest.mark.parametrize("options", [{}, {"stride": 3, "aggregation_strategy": "simple"}], ids=str)
def test_texts_are_cut_from_the_left(edited, options):
    edited("bert", model_max_length=14, truncation_side="left").assert_same(TEXTS, **options)


@pytest.mark.parametrize("strategy", ["none", "first"])
def test_padding_on_the_left(edited, strategy):
    edited("bert", padding_side="left").assert_same(TEXTS, aggregation_strategy=strategy)


@pytest.mark.filterwarnings(CUT)
def test_a_tokenizer_without_a_limit(edited, both_bert):
    both = edited("bert", model_max_length=int(1e30))
    both.assert_same(TEXTS, aggregation_strategy="simple")
    with pytest.raises(RuntimeError):
        both.reference(LONG_TEXT)
    for options in ({}, {"stride": 128, "aggregation_strategy": "simple"}):
        assert both.ours(LONG_TEXT, **options) == both_bert.ours(LONG_TEXT, **options)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("labels", OTHER_LABELS.values(), ids=OTHER_LABELS)
def test_labels(edited, labels, strategy):
    edited("bert", labels=labels).assert_same(TEXTS, aggregation_strategy=strategy)


@pytest.mark.parametrize("strategy", ["none", "simple", "average"])
@pytest.mark.parametrize(
    "ignored",
    [
        [],
        ["MISC"],
        ["O", "PER"],
        ("B-PER", "I-PER"),
        pytest.param({"O", "LOC", "I-LOC"}, id="set"),  # whose order differs between processes
        ["o"],
        list(LABELS.values()),
    ],
    ids=str,
)
def test_ignored_labels(both_bert, ignored, strategy):
    both_bert.assert_same(TEXTS, ignore_labels=ignored, aggregation_strategy=strategy)


@pytest.mark.parametrize("delimiter", [None, " ", "", "-", "  ", "\n", "王"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"], indirect=True)
def test_delimiters(both, delimiter, strategy):
    words = [WORDS[0], WORDS[-1]]
    both.assert_same(words, is_split_into_words=True, delimiter=delimiter, aggregation_strategy=strategy)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"aggregation_strategy": None, "ignore_labels": None, "stride": None},
        {"aggregation_strategy": "SIMPLE"},
        {"aggregation_strategy": "Max", "ignore_labels": []},
        {"stride": 128},
        {"stride": 128, "aggregation_strategy": "first"},
        {"is_split_into_words": False, "delimiter": "-"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "inputs",
    [
        NAMES,
        [NAMES],
        [NAMES, "Sarah lives."],
        lambda: (text for text in [NAMES, "Sarah lives."]),
    ],
    ids=["string", "list of one", "list", "generator"],
)
def test_options(both_bert, inputs, options):
    both_bert.assert_same(inputs, **options)


def test_an_iterator_over_words(both_bert):
    got = both_bert.ours(iter(WORDS[:2]), is_split_into_words=True)
    assert_same(both_bert.reference(WORDS[:2], is_split_into_words=True), list(got))


def test_the_delimiter_is_of_the_call(both_on):
    both = both_on("bert", TASK, built={"is_split_into_words": True, "delimiter": "--"}, id2label=LABELS)
    both.assert_same(WORDS[0], is_split_into_words=True)
    both.assert_same(WORDS[0], is_split_into_words=True, delimiter="-")


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batch_size_changes_no_window(edited, batch_size):
    ours = edited("bert", model_max_length=14).ours
    options = {"aggregation_strategy": "simple", "stride": 4}
    alone = [ours(text, **options) for text in TEXTS]
    assert_same(alone, ours(TEXTS, batch_size=batch_size, **options), tolerance=1e-5)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), architecture=st.sampled_from(ARCHITECTURES), strategy=st.sampled_from(STRATEGIES))
def test_any_text(both_of, text, architecture, strategy):
    both_of(architecture).assert_same(text, aggregation_strategy=strategy, ignore_labels=[])


@settings(max_examples=70, deadline=None)
@given(
    words=st.lists(st.text(max_size=12), max_size=6),
    delimiter=st.text(max_size=2),
    strategy=st.sampled_from(STRATEGIES),
)
def test_any_words(both_bert, words, delimiter, strategy):
    options = {"delimiter": delimiter, "aggregation_strategy": strategy}
    both_bert.assert_same([words], is_split_into_words=True, ignore_labels=[], **options)


@settings(max_examples=70, deadline=None)
@given(
    text=st.text(alphabet="aé王 .'-\n🤗", min_size=20, max_size=120),
    stride=st.integers(0, 11),
    strategy=st.sampled_from([None, *STRATEGIES[1:]]),
)
def test_any_windows(edited, text, stride, strategy):
    edited("roberta", model_max_length=14).assert_same(text, stride=stride, aggregation_strategy=strategy)


def test_unknown_tokens_show_their_text(both_bert):
    assert [token["word"] for token in both_bert.ours("a 🤗", ignore_labels=[])] == ["a", "🤗"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_guess_at_words_warns_once_a_text(both_of, recwarn, strategy):
    both_of("bert").ours(NAMES, aggregation_strategy=strategy)
    assert not recwarn
    both_of("roberta").ours(NAMES, aggregation_strategy=strategy)
    assert len(recwarn) == (strategy not in {"none", "simple"})


@pytest.mark.parametrize("stride", [13, 14, 100])
def test_a_stride_longer_than_the_window(edited, stride):
    both = edited("bert", model_max_length=14)
    with pytest.raises(ValueError, match="stride"):
        both.reference("Short.", stride=stride, aggregation_strategy="simple")
    with pytest.raises(torchless.OptionError, match=rf"stride={stride}[\s\S]*Give a stride below 12"):
        both.ours("Short.", stride=stride, aggregation_strategy="simple")


def test_a_stride_as_long_as_the_window(edited):
    both = edited("bert", model_max_length=14)
    both.assert_same("Short.", stride=12, aggregation_strategy="simple")
    with pytest.raises(BaseException, match="`stride` must be strictly less"):
        both.reference(NAMES, stride=12, aggregation_strategy="simple")
    with pytest.raises(torchless.OptionError, match=r"stride of 12 tokens[\s\S]*Give a smaller stride"):
        both.ours(NAMES, stride=12, aggregation_strategy="simple")


@pytest.mark.parametrize("subwords", [{}, {"ignore_subwords": True}, {"ignore_subwords": False}], ids=str)
@pytest.mark.parametrize("grouped", [{}, {"grouped_entities": True}, {"grouped_entities": False}], ids=str)
@pytest.mark.filterwarnings("ignore:`(grouped_entities|ignore_subwords)` is deprecated")
@pytest.mark.filterwarnings("ignore:.* use aggregation_strategy")
def test_old_names_of_the_aggregation_strategy(both_bert, grouped, subwords):
    both_bert.assert_same(NAMES, **grouped, **subwords)


def test_old_names_have_a_warning_with_the_new_name(both_bert):
    with pytest.warns(UserWarning, match="use aggregation_strategy='first'"):
        both_bert.ours("Sarah lives in Berlin.", grouped_entities=True, ignore_subwords=True)

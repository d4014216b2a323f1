"""Texts that are cut, or in windows: what the package tokenizers gives, without what it costs there."""

import copy

import pytest
from fixtures.checkpoints import BERT_TOKENS, byte_level_bpe, unigram, wordpiece
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from torchless.call_limits import CURRENT_LIMITS, CallLimits
from torchless.errors import InputError, OptionError
from torchless.tokenization.encoder import Encoder
from torchless.tokenization.truncation import Truncation

WORDS = ["the", "other", "film", "é", "日本", "\n", "  ", "x" * 9, "naïve", "[MASK]", "", "\t", "😀"]
FIELDS = ("ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask", "word_ids", "sequence_ids")


def plain(tokenizer):
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def with_post_processor(processor):
    tokenizer = byte_level_bpe(["<s>", "</s>"])
    tokenizer.post_processor = processor
    return tokenizer


BACKENDS = {
    "bert": plain(wordpiece().backend_tokenizer),
    "roberta": with_post_processor(processors.RobertaProcessing(("</s>", 1), ("<s>", 0))),
    "byte level": with_post_processor(processors.ByteLevel(trim_offsets=True)),
    "llama": with_post_processor(
        processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", 0)])
    ),
    "none": byte_level_bpe(["<s>"]),
    "unigram": unigram(BERT_TOKENS, "[UNK]"),
}


def columns(encoding):
    return {name: getattr(encoding, name) for name in FIELDS}


def reference(backend, text, truncation, side, *, special):
    """What the backend's own truncation gives; None if it refuses."""
    backend = copy.copy(backend)
    try:
        backend.enable_truncation(
            truncation.max_length, stride=truncation.stride, strategy=truncation.strategy, direction=side
        )
        (encoding,) = backend.encode_batch([text], add_special_tokens=special)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return None
    finally:
        backend.no_truncation()
    return encoding


texts = st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(list(BACKENDS)),
    text=texts | st.tuples(texts, texts),
    truncation=st.builds(
        Truncation,
        max_length=st.sampled_from([0, 1, 2, 3, 4, 5, 8, 16, 33, 64, 200]),
        strategy=st.sampled_from(["longest_first", "only_first", "only_second"]),
        stride=st.sampled_from([0, 0, 1, 2, 5]),
    ),
    side=st.sampled_from(["left", "right"]),
    special=st.booleans(),
)
def test_texts_are_cut_as_by_the_backend(name, text, truncation, side, special):
    backend = BACKENDS[name]
    # The backend builds all combinations.
    assume(not isinstance(text, tuple) or truncation.max_length > 16 or sum(map(len, text)) < 100)
    expected = reference(backend, text, truncation, side, special=special)
    encoder = Encoder(backend)
    options = {"side": side, "add_special_tokens": special}
    if expected is None:
        with pytest.raises((InputError, OptionError)):
            encoder.encode_truncated(text, truncation, **options)
        return
    encoding, is_cut = encoder.encode_truncated(text, truncation, **options)
    assert columns(encoding) == columns(expected)
    assert is_cut == bool(expected.overflowing)
    windows = encoder.encode_windows(text, truncation, **options)
    assert [window.ids for window in windows] == [window.ids for window in (expected, *expected.overflowing)]
    # Without a post-processor that knows of it, the backend forgets in windows which text a token is from.
    if special and name in {"bert", "llama"}:
        assert list(map(columns, windows)) == list(map(columns, (expected, *expected.overflowing)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pair", [False, True])
def test_words_are_cut_as_by_the_backend(side, pair):
    backend = BACKENDS["bert"]
    words = [word for word in WORDS if word.strip()] * 9
    text = (words, words[:20]) if pair else words
    backend.enable_truncation(40, direction=side)
    (expected,) = backend.encode_batch([text], is_pretokenized=True)
    backend.no_truncation()
    encoding, is_cut = Encoder(backend).encode_truncated(text, Truncation(40), side=side, is_split_into_words=True)
    assert columns(encoding) == columns(expected)
    assert is_cut


class Recorded(CallLimits):
    """Records what a call would cost."""

    def __init__(self):
        self.characters = 0
        self.rows = []

    def admit_text(self, characters):
        self.characters += characters

    def expect_rows(self, rows, tokens):
        self.rows.append((rows, tokens))
        if tokens > 10_000:
            raise OptionError("too many", hint="")


@pytest.fixture
def recorded():
    limits = Recorded()
    token = CURRENT_LIMITS.set(limits)
    yield limits
    CURRENT_LIMITS.reset(token)


@pytest.mark.parametrize("name", list(BACKENDS))
@pytest.mark.parametrize(
    "text",
    ["film " * 20_000, "a,b." * 20_000, ("film", "film " * 20_000), ("film " * 20_000, "film")],
    ids=["words", "no spaces", "pair", "reversed pair"],
)
def test_a_long_text_is_read_only_as_far_as_it_is_kept(name, text, recorded):
    encoding, is_cut = Encoder(BACKENDS[name]).encode_truncated(text, Truncation(64), side="right")
    assert (len(encoding), is_cut) == (64, True)
    assert recorded.characters < 10_000
    assert columns(encoding) == columns(reference(BACKENDS[name], text, Truncation(64), "right", special=True))


def test_a_text_of_spaces_is_read_to_its_end(recorded):
    text = " " * 50_000 + "film"
    encoding, is_cut = Encoder(BACKENDS["bert"]).encode_truncated(text, Truncation(8), side="right")
    assert (encoding.tokens, is_cut) == (["[CLS]", "film", "[SEP]"], False)
    assert recorded.characters < 3 * len(text)


@pytest.mark.parametrize("room", [60, 61])
@pytest.mark.parametrize("lengths", [(2000, 3000), (3000, 2000), (2500, 2500)])
def test_the_longer_of_two_long_texts_keeps_the_odd_token(room, lengths):
    backend = BACKENDS["bert"]
    first, second = ("a " * length for length in lengths)
    encoding, _ = Encoder(backend).encode_truncated((first, second), Truncation(room + 3), side="right")
    counts = [encoding.sequence_ids.count(index) for index in (0, 1)]
    extra = room % 2
    assert counts == ([room // 2 + extra, room // 2] if lengths[0] > lengths[1] else [room // 2, room // 2 + extra])


def test_the_number_of_windows_is_known_before_they_are_built(recorded):
    text = "film " * 400
    with pytest.raises(OptionError, match="too many"):
        Encoder(BACKENDS["bert"]).encode_windows(text, Truncation(66, stride=63), side="right")
    windows = Encoder(BACKENDS["bert"]).encode_windows(text, Truncation(66, stride=20), side="right")
    assert recorded.rows == [(337, 337 * 64), (len(windows), len(windows) * 64)]


def test_added_tokens_keep_their_ids():
    backend = plain(wordpiece().backend_tokenizer)
    backend.add_special_tokens(["<first>"])
    backend.add_tokens(["secondtoken"])
    text = "<first> a secondtoken film"
    encoding, _ = Encoder(backend).encode_truncated(text, Truncation(8), side="right")
    assert columns(encoding) == columns(backend.encode(text))

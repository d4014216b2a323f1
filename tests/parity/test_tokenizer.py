import numpy as np
import pytest
import transformers
from fixtures.checkpoints import CONFIGS, tokenizer_of
from fixtures.texts import HARD_TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

from torchless.errors import InputError, OptionError
from torchless.tokenization.tokenizer import Tokenizer

FAMILIES = sorted(CONFIGS)
TEXTS = list(HARD_TEXTS.values())


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """(the reference, ours) by family, both loaded from the same files."""
    loaded = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        tokenizer_of(family).save_pretrained(folder)
        (folder / "config.json").write_text("{}")
        loaded[family] = (transformers.AutoTokenizer.from_pretrained(folder), Tokenizer.from_pretrained(folder))
    return loaded


def assert_same_encoding(expected, got):
    assert list(expected) == list(got)
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert got[name].dtype == np.int64
            np.testing.assert_array_equal(value, got[name])
        else:
            assert value == got[name]
    for index in range(len(expected.encodings)):
        assert expected.tokens(index) == got.tokens(index)
        assert expected.word_ids(index) == got.word_ids(index)
        assert expected.sequence_ids(index) == got.sequence_ids(index)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", HARD_TEXTS, ids=str)
def test_one_text(tokenizers, family, text):
    expected, ours = tokenizers[family]
    text = HARD_TEXTS[text]
    assert_same_encoding(expected(text), ours(text))
    assert expected.tokenize(text) == ours.tokenize(text)
    ids = expected(text)["input_ids"]
    assert expected.encode(text) == ours.encode(text) == ids
    for skip in (True, False):
        for clean in (True, False, None):
            settings_of_decode = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
            assert expected.decode(ids, **settings_of_decode) == ours.decode(ids, **settings_of_decode)
            assert expected.batch_decode([ids], **settings_of_decode) == ours.batch_decode([ids], **settings_of_decode)
        assert expected.convert_ids_to_tokens(ids, skip_special_tokens=skip) == ours.convert_ids_to_tokens(
            ids, skip_special_tokens=skip
        )
    tokens = [*expected.convert_ids_to_tokens(ids), "no-such-token"]
    assert expected.convert_tokens_to_ids(tokens) == ours.convert_tokens_to_ids(tokens)


option_sets = st.fixed_dictionaries(
    {},
    optional={
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from([True, False, "longest_first", "do_not_truncate"]),
        "max_length": st.integers(6, 40),
        "add_special_tokens": st.booleans(),
        "return_tensors": st.sampled_from([None, "np"]),
        "return_token_type_ids": st.booleans(),
        "return_attention_mask": st.booleans(),
        "return_special_tokens_mask": st.booleans(),
        "return_offsets_mapping": st.booleans(),
        "return_overflowing_tokens": st.booleans(),
        "return_length": st.booleans(),
        "stride": st.integers(0, 3),
        "padding_side": st.sampled_from(["left", "right"]),
        "pad_to_multiple_of": st.sampled_from([None, 8]),
    },
)


@pytest.mark.filterwarnings("ignore:`max_length` is ignored")
@settings(max_examples=300, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    texts=st.lists(st.sampled_from(TEXTS) | st.text(max_size=40), min_size=1, max_size=3),
    pairs=st.none() | st.lists(st.sampled_from(TEXTS) | st.text(max_size=20), min_size=3, max_size=3),
    is_single=st.booleans(),
    options=option_sets,
)
def test_any_options(tokenizers, family, texts, pairs, is_single, options):
    expected, ours = tokenizers[family]
    arguments = [texts[0] if is_single else texts]
    if pairs is not None:
        arguments.append(pairs[0] if is_single else pairs[: len(texts)])
    try:
        encoding = expected(*arguments, **options)
    except BaseException as error:
        if type(error).__name__ not in {"ValueError", "PanicException"}:  # the latter is no Exception
            raise
        encoding = None
    if encoding is None or is_ragged(encoding):
        with pytest.raises((InputError, OptionError)):
            ours(*arguments, **options)
    else:
        assert_same_encoding(encoding, ours(*arguments, **options))


def is_ragged(encoding):
    """Whether the reference returns arrays of lists, which no model takes."""
    return any(getattr(column, "dtype", None) == np.dtype(object) for column in encoding.values())


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"roberta"}))  # transformers' class of it takes no words
def test_words(tokenizers, family):
    expected, ours = tokenizers[family]
    words = [["Hugging", "Face", "is", "in", "NYC"], ["One"]]
    for text in (words, words[0]):
        assert_same_encoding(expected(text, is_split_into_words=True), ours(text, is_split_into_words=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens(tokenizers, family):
    expected, ours = tokenizers[family]
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        assert getattr(expected, f"{role}_token") == getattr(ours, f"{role}_token")
        assert getattr(expected, f"{role}_token_id") == getattr(ours, f"{role}_token_id")
    assert expected.all_special_tokens == ours.all_special_tokens
    assert expected.all_special_ids == ours.all_special_ids
    assert expected.model_input_names == ours.model_input_names
    assert expected.model_max_length == ours.model_max_length
    assert len(expected) == len(ours)
    assert expected.vocab_size == ours.vocab_size
    assert expected.get_vocab() == ours.get_vocab()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_length", range(6))
@pytest.mark.parametrize("pair", [None, "yes you"])
def test_fewer_tokens_than_the_special_ones(tokenizers, family, max_length, pair):
    expected, ours = tokenizers[family]
    options = {"truncation": True, "max_length": max_length}
    assert_same_encoding(expected("hello you there", pair, **options), ours("hello you there", pair, **options))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pair", [None, "yes you and I"])
def test_the_side_that_is_cut(tokenizers, family, side, pair):
    expected, ours = tokenizers[family]
    options = {"truncation": True, "max_length": 6}
    before = expected.truncation_side
    expected.truncation_side = side
    try:
        assert_same_encoding(
            expected("hello you there my friend", pair, **options),
            ours("hello you there my friend", pair, **options, truncation_side=side),
        )
    finally:
        expected.truncation_side = before
    assert_same_encoding(
        expected("hello you there my friend", pair, **options), ours("hello you there my friend", pair, **options)
    )


def test_an_unknown_side(tokenizers):
    with pytest.raises(OptionError, match=r"truncation_side='Left'[\s\S]*Did you mean 'left'"):
        tokenizers["bert"][1]("hello", truncation=True, truncation_side="Left")


def test_a_failed_truncation_changes_no_later_call(tokenizers):
    _, ours = tokenizers["bert"]
    text = "hello you there my friend"
    whole = ours(text)["input_ids"]
    ours(text, truncation=True, max_length=4)
    with pytest.raises(OptionError, match="makes no window"):
        ours(text, truncation=True, max_length=4, stride=4)
    assert ours(text)["input_ids"] == whole

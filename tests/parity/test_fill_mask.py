from functools import cache, partial

import pytest
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import Both
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.fill_mask import ONE_MASK, TWO_MASKS, UNKNOWN, with_mask

import torchless
from torchless_export.sample import sample_texts

TASK = "fill-mask"
TOKENIZERS = {"WordPiece": "bert", "byte-level BPE": "roberta", "unigram": "xlm-roberta"}


@pytest.fixture(scope="module")
def on(both_on):
    """Both sides on an architecture; each is loaded once."""
    return cache(partial(both_on, task=TASK))


@pytest.fixture(params=CONFIGS)
def both(request, on):
    return on(request.param)


@pytest.fixture(params=TOKENIZERS.values(), ids=TOKENIZERS)
def each_tokenizer(request, on):
    return on(request.param)


@pytest.fixture
def bert(on):
    return on("bert")


@pytest.fixture
def roberta(on):
    return on("roberta")


def masked(both, *texts):
    """The texts with the tokenizer's mask for `{}`."""
    return with_mask(both.ours.tokenizer.mask_token, *texts)


def test_hard_texts(both):
    texts = [
        template
        for text in HARD_TEXTS.values()
        for template in ("{}" + text, text + " {}", text[: len(text) // 2] + "{}" + text[len(text) // 2 :])
    ]
    both.assert_same(masked(both, *texts))


def test_real_texts(both):
    both.assert_same(
        masked(both, *(" ".join([*text.split()[:4], "{}", *text.split()[5:]]) for text in sample_texts(8)))
    )


@pytest.mark.parametrize("template", ["{}", "{}.", " {} ", "{}{}", "{} {} {}", ONE_MASK, TWO_MASKS])
@pytest.mark.parametrize("top_k", [1, 5, 20])
def test_one_mask_and_several(each_tokenizer, template, top_k):
    (text,) = masked(each_tokenizer, template)
    each_tokenizer.assert_same(text, top_k=top_k)


@pytest.mark.parametrize(
    "targets",
    [
        "film",
        ["film", "film"],
        ["film", "good", "film", "bad", "good"],
        ("film", "good"),
        ["unbelievableness", "zzzqq", "film"],
        "unbelievableness",
        ["film", " film", "Ġfilm", "▁film", "##s"],
        ["Film", "FILM", "a film", " ", "Ġ", "▁"],
        ["", "film"],
        ["[MASK]", "<mask>", "[PAD]", "<pad>", "[SEP]", "</s>"],
        ["爱", "🌈", "\u0000", "\u200b", "é"],
    ],
    ids=str,
)
@pytest.mark.filterwarnings(UNKNOWN)
def test_targets(each_tokenizer, targets):
    for text in masked(each_tokenizer, ONE_MASK, TWO_MASKS):
        each_tokenizer.assert_same(text, targets=targets)


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 1000])
def test_targets_cap_top_k(each_tokenizer, top_k):
    for text in masked(each_tokenizer, ONE_MASK, TWO_MASKS):
        each_tokenizer.assert_same(text, targets=["a", "i", "s", "a"], top_k=top_k)


@pytest.mark.parametrize(
    "tokenizer_kwargs",
    [
        None,
        {},
        {"truncation": True},
        {"truncation": True, "max_length": 9},
        {"truncation": "only_first", "max_length": 9},
        {"truncation": "longest_first", "max_length": 9},
        {"truncation": False, "max_length": 9},
        {"truncation": "do_not_truncate", "max_length": 9},
        {"max_length": 9},
        {"max_length": 9, "padding": True},
        {"max_length": 40, "padding": "max_length"},
        {"max_length": 9, "padding": "max_length", "truncation": True},
        {"padding": True},
        {"padding": "longest", "truncation": True},
        {"padding": "max_length"},
        {"add_special_tokens": False},
        {"add_special_tokens": False, "truncation": True, "max_length": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [{}, {"top_k": 2, "targets": ["film", "good", "bad"]}], ids=["all", "targets"])
@pytest.mark.filterwarnings(CUT, UNKNOWN, "ignore:`max_length` is ignored")
def test_tokenizer_kwargs(roberta, tokenizer_kwargs, options):
    for text in masked(roberta, ONE_MASK, TWO_MASKS):
        roberta.assert_same(text, tokenizer_kwargs=tokenizer_kwargs, **options)


@pytest.mark.filterwarnings(CUT)
def test_a_long_text(both):
    (text,) = masked(both, "{}" + LONG_TEXT)
    both.assert_same(text, tokenizer_kwargs={"truncation": True})


def test_a_text_that_is_longer_than_the_model_takes(both):
    (text,) = masked(both, "{}" + LONG_TEXT[:4000])
    if both.ours.model.config.max_tokens is None:  # ModernBERT's positions have no end
        both.assert_same(text)
        return
    with pytest.raises((RuntimeError, IndexError)):
        both.reference(text)
    with pytest.raises(torchless.InputError, match=r"this model takes 512\.\n.*tokenizer_kwargs={'truncation': True}"):
        both.ours(text)


@pytest.mark.filterwarnings(CUT)
def test_masks_that_are_cut_away(each_tokenizer):
    cut = {"tokenizer_kwargs": {"truncation": True, "max_length": 6}}
    behind, before_and_behind = masked(each_tokenizer, "I saw this long film and found {}", "I {} this film and {} it")
    each_tokenizer.assert_same(before_and_behind, **cut)
    for side in (each_tokenizer.reference, each_tokenizer.ours):
        with pytest.raises(Exception, match="mask") as caught:
            side(behind, **cut)
        assert type(caught.value) in {transformers.pipelines.base.PipelineException, torchless.InputError}
    assert "no mask left after it was cut to 6 tokens" in str(caught.value)


@pytest.mark.parametrize("truncation_side", ["left", "right"])
@pytest.mark.filterwarnings(UNKNOWN, CUT)
def test_the_side_that_is_cut(tiny, truncation_side):
    tokenizer = torchless.AutoTokenizer.from_pretrained(tiny.export("bert", TASK))
    tokenizer.truncation_side = truncation_side
    checkpoint = str(tiny.checkpoint("bert", TASK))
    reference_tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, truncation_side=truncation_side)
    both = Both(
        transformers.pipeline(TASK, model=checkpoint, tokenizer=reference_tokenizer, device="cpu"),
        torchless.pipeline(TASK, tiny.export("bert", TASK), tokenizer=tokenizer),
    )
    both.assert_same(*masked(both, TWO_MASKS), targets=["unbelievableness", "filmographies"])
    both.assert_same(*masked(both, TWO_MASKS), tokenizer_kwargs={"truncation": True, "max_length": 6})


@pytest.mark.parametrize("text", ["", " ", "No mask.", "[mask]", "[ MASK ]", ["Fine: [MASK].", "No mask."]], ids=repr)
def test_no_mask(bert, text):
    with pytest.raises(transformers.pipelines.base.PipelineException, match="No mask_token"):
        bert.reference(text)
    with pytest.raises(torchless.InputError, match=r"has no mask\.\n  Put \[MASK\] where"):
        bert.ours(text)


def test_a_target_outside_the_vocabulary_warns_once_where_it_was_given(tiny, bert):
    message = "'unbelievableness' is not in the vocabulary; its first subtoken 'unbelievable' is used instead"
    with pytest.warns(UserWarning, match=message) as called:
        bert.ours(["A [MASK].", "The [MASK]."], targets=["unbelievableness", "film"])
    with pytest.warns(UserWarning, match=message) as built:
        fill = torchless.pipeline(TASK, tiny.export("bert", TASK), targets=["unbelievableness", "film"])
    fill("A [MASK].")
    assert [warning.filename for warning in (*called, *built)] == [__file__] * 2
    with pytest.warns(UserWarning, match="'' is not in the vocabulary; it is left out"):
        bert.ours("A [MASK].", targets=["", "film"])


@settings(max_examples=200, deadline=None)
@given(
    model_type=st.sampled_from(list(TOKENIZERS.values())),
    pieces=st.lists(st.text(max_size=40), min_size=2, max_size=4),
    top_k=st.sampled_from([1, 2]),
)
def test_any_text(model_type, pieces, top_k, on):
    both = on(model_type)
    both.assert_same(both.ours.tokenizer.mask_token.join(pieces), top_k=top_k)


@settings(max_examples=50, deadline=None)
@given(
    model_type=st.sampled_from(list(TOKENIZERS.values())),
    targets=st.lists(st.text(min_size=1, max_size=8), max_size=4).map(lambda targets: ["film", *targets]),
)
@pytest.mark.filterwarnings(UNKNOWN)
def test_any_targets(model_type, targets, on):
    both = on(model_type)
    both.assert_same(*masked(both, ONE_MASK), targets=targets)

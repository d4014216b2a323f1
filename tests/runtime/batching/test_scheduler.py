import shutil

import numpy as np
import pytest
from onnxruntime.quantization import quantize_dynamic

from torchless import AutoModel, AutoTokenizer, pipeline
from torchless.batching.rows import Row
from torchless.batching.scheduler import Scheduler
from torchless.folder.layout import MANIFEST_NAME
from torchless.folder.manifest import Manifest, Part, Variant
from torchless.ort.session import Session
from torchless_export.sample import sample_texts


@pytest.fixture(scope="module")
def parts(tiny):
    folder = tiny.export("bert", "feature-extraction")
    return AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("side", ["right", "left"])
def test_outputs_are_in_order_and_without_padding(parts, side):
    model, tokenizer = parts
    tokenizer.padding_side = side
    rows = [Row(encoding) for encoding in tokenizer.encode_batch(sample_texts(40))]
    outputs = Scheduler(model, tokenizer, max_batch_tokens=200).run(rows)
    tokenizer.padding_side = "right"
    for row, (hidden,) in zip(rows, outputs, strict=True):
        assert hidden.shape == (len(row), model.config.hidden_size)
        alone = model([row.encoding.ids], [row.encoding.attention_mask]).last_hidden_state[0]
        np.testing.assert_allclose(hidden, alone, atol=1e-5)


def test_no_rows(parts):
    assert Scheduler(*parts).run([]) == []


@pytest.fixture(scope="module")
def dynamic(tiny, tmp_path_factory):
    """A folder from another tool: fp32, ONNX Runtime's dynamic int8, and no manifest."""
    folder = tmp_path_factory.mktemp("dynamic") / "bert"
    labels = ["contradiction", "entailment", "neutral"]
    nli = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    shutil.copytree(tiny.export("bert", "text-classification", **nli), folder)
    quantize_dynamic(folder / "onnx" / "model.onnx", folder / "onnx" / "model_int8.onnx", per_channel=True)
    (folder / MANIFEST_NAME).unlink()
    return folder


@pytest.fixture
def runs(monkeypatch):
    """The number of rows of each run, of all sessions."""
    counted = []
    run = Session.run

    def counting(session, feeds, *rest):
        counted.append(len(feeds["input_ids"]))
        return run(session, feeds, *rest)

    monkeypatch.setattr(Session, "run", counting)
    return counted


def test_rows_run_separately_if_outputs_depend_on_the_batch(dynamic, runs):
    classify = pipeline("text-classification", dynamic, dtype="int8", top_k=None)
    texts = sample_texts(16)
    alone = [classify([text])[0] for text in texts]
    runs.clear()
    assert classify(texts) == alone  # to the last bit
    assert list(classify(iter(texts))) == alone
    assert runs == [1] * 32
    runs.clear()
    together = classify(texts, batch_size=4)
    assert runs == [4, 4, 4, 4]
    assert together != alone
    assert pipeline("text-classification", dynamic, dtype="int8", top_k=None, batch_size=4)(texts) == together


def test_rows_of_labels_run_separately_too(dynamic, runs):
    judge = pipeline("zero-shot-classification", dynamic, dtype="int8", candidate_labels=["a", "b", "c"])
    judge("A film.")
    assert runs == [1, 1, 1]


def test_fp32_is_batched(dynamic, runs):
    pipe = pipeline("text-classification", dynamic)
    pipe(["A film."] * 16)
    assert runs == [1, 2, 16]  # the first two show whether padding changes an answer, since no manifest says it
    pipe(["A film."] * 16)
    assert runs[3:] == [16]


@pytest.mark.parametrize("batch_dependent", [True, False])
def test_a_manifest_takes_precedence(dynamic, tmp_path, runs, batch_dependent):
    folder = shutil.copytree(dynamic, tmp_path / "copy")
    size = (folder / "onnx" / "model_int8.onnx").stat().st_size
    parts = (Part(file="onnx/model_int8.onnx", size_bytes=size, sha256=""),)
    variant = Variant(parts=parts, batch_dependent=batch_dependent)
    Manifest(task="text-classification", source={}, versions={}, variants={"int8": variant}).write(folder)
    pipeline("text-classification", folder, dtype="int8")(["A film."] * 4)
    assert runs == ([1] * 4 if batch_dependent else [4])

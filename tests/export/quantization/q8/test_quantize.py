import numpy as np
import onnx
import pytest
from fixtures.checkpoints import CONFIGS, DECODERS
from onnx import TensorProto, helper, numpy_helper

import torchless
from torchless.ort.session import Session
from torchless_export.export import Silent, export
from torchless_export.quantization.q8.quantize import quantize
from torchless_export.sample import sample_texts

TEXTS = sample_texts(40)


@pytest.fixture(scope="module")
def folder(request, tiny, tmp_path_factory):
    """The export of a tiny model with q8."""
    model_type = request.param
    task = "text-generation" if model_type in DECODERS else "token-classification"
    labels = {} if model_type in DECODERS else {"num_labels": 5}
    out = tmp_path_factory.mktemp("q8") / model_type
    export(
        str(tiny.checkpoint(model_type, task, **labels)),
        out,
        Silent(),
        task=task,
        dtypes=("fp32", "q8"),
        min_agreement=0.9,
        verify_with=tiny.few_texts(),
    )
    return out


def logits(folder, dtype, texts):
    """The logits of each text's tokens, (tokens, labels), computed in one batch."""
    decoder = (folder / "generation_config.json").exists()
    model_class = torchless.AutoModelForCausalLM if decoder else torchless.AutoModelForTokenClassification
    tokenizer = torchless.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    found = model_class.from_pretrained(folder, dtype=dtype)(**inputs).logits
    return [item[mask == 1] for item, mask in zip(found, inputs["attention_mask"], strict=True)]


def wide_products(path):
    """The wide products with constant matrices that are computed in floats."""
    graph = onnx.load(path).graph
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in {"MatMul", "Gemm"} and min(shapes.get(node.input[1], [0])) >= 16
    ]


@pytest.mark.parametrize("folder", [*CONFIGS, *DECODERS], indirect=True)
class TestEveryArchitecture:
    def test_answers_are_near_and_every_product_is_in_integers(self, folder):
        assert wide_products(folder / "onnx/model.onnx")
        assert not wide_products(folder / "onnx/model_quantized.onnx")
        exact, quantised = (np.concatenate([*logits(folder, dtype, TEXTS)]) for dtype in ("fp32", "q8"))
        assert np.linalg.norm(quantised - exact) < 0.05 * np.linalg.norm(exact - exact.mean())

    def test_a_text_is_answered_alike_in_any_batch(self, folder):
        """Encoders answer bit-identically.

        The sums of a decoder may differ in their order, as in fp32, by 1e-6; where that takes a value over the boundary
        between two integers, by less than rounding costs anyway.
        """
        alone, exact = ([logits(folder, dtype, [text])[0] for text in TEXTS[:8]] for dtype in ("q8", "fp32"))
        cost = np.abs(np.concatenate(alone) - np.concatenate(exact)).max()
        largest, rounding = (cost, 1e-6) if (folder / "generation_config.json").exists() else (0, 0)
        for size in (2, 8):
            together = [
                item for start in range(0, 8, size) for item in logits(folder, "q8", TEXTS[start : start + size])
            ]
            differences = np.abs(np.concatenate(alone) - np.concatenate(together)).max(axis=-1)  # (tokens or texts,)
            assert differences.max() <= largest
            assert (differences > rounding).mean() < 0.05


class TestTheEmbeddedModel:
    def test_it_agrees_with_fp32(self, sentiment):
        texts = sample_texts()
        exact, quantised = (
            torchless.pipeline("text-classification", sentiment, dtype=dtype)(texts, top_k=None)
            for dtype in ("fp32", "q8")
        )
        assert len(texts) == 1000
        positive = [
            [{item["label"]: item["score"] for item in labels}["POSITIVE"] for labels in dtype]
            for dtype in (exact, quantised)
        ]
        same = [expected[0]["label"] == got[0]["label"] for expected, got in zip(exact, quantised, strict=True)]
        assert np.mean(same) >= 0.995
        assert np.abs(np.subtract(*positive)).mean() <= 0.0075

    def test_it_is_a_third_of_the_size(self, sentiment):
        sizes = [(sentiment / "onnx" / name).stat().st_size for name in ("model_quantized.onnx", "model.onnx")]
        assert sizes[0] <= 0.35 * sizes[1]

    def test_batches_change_no_bit(self, sentiment):
        texts = sample_texts(100)
        pipe = torchless.pipeline("text-classification", sentiment, dtype="q8")
        alone = [pipe(text, top_k=None) for text in texts]
        for batch_size in (2, 8, None):
            assert pipe(texts, top_k=None, batch_size=batch_size) == alone

    def test_only_what_has_outliers_in_few_rows_has_a_scale_a_row(self, sentiment):
        graph = onnx.load(sentiment / "onnx/model_quantized.onnx").graph
        by_row = [node.input[0] for node in graph.node if node.op_type == "ReduceMax"]
        assert len(by_row) == 6
        assert all("intermediate_act_fn" in name for name in by_row)


def single_product(path, matrix, *, opset=18):
    """A graph of one product, y = x w + b, (rows, channels) to (rows, outputs)."""
    width, outputs = matrix.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["b", "p"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, outputs])],
        [numpy_helper.from_array(matrix, "w"), numpy_helper.from_array(np.ones(outputs, np.float32), "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((32, 24)).astype(np.float32)
CHANNELS = np.geomspace(0.01, 100, 32) * RNG.standard_normal((500, 32)) + np.linspace(-300, 300, 32)
ROWS = np.geomspace(0.01, 1000, 500)[:, None] * RNG.standard_normal((500, 32))


@pytest.mark.parametrize("opset", [14, 18])
@pytest.mark.parametrize(
    ("rows", "operator"),
    [(CHANNELS, "Mul"), (ROWS, "ReduceMax"), (np.maximum(ROWS, 0), "ReduceMax"), (np.maximum(ROWS, -0.2), "ReduceMax")],
    ids=["channels", "rows", "rows above 0", "rows hardly below 0"],
)
def test_inputs_whose_channels_or_rows_are_of_all_sizes(rows, operator, opset, tmp_path, recorded):
    source = single_product(tmp_path / "a.onnx", MATRIX, opset=opset)
    rows = RNG.permutation(rows).astype(np.float32)
    quantize(source, tmp_path / "b.onnx", recorded(source, [{"x": some} for some in np.split(rows[:400], 50)]))
    assert operator in {node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node}
    (exact,), (got,) = (Session(path).run({"x": rows[400:]}) for path in (source, tmp_path / "b.onnx"))
    assert np.linalg.norm(got - exact) < 0.02 * np.linalg.norm(exact)


def test_a_channel_with_outliers_is_excluded(tmp_path, recorded):
    source = single_product(tmp_path / "a.onnx", MATRIX)
    rows = RNG.standard_normal((500, 32)).astype(np.float32)
    rows[::7, 5] *= 3000
    quantize(source, tmp_path / "b.onnx", recorded(source, [{"x": some} for some in np.split(rows[:400], 50)]))
    graph = onnx.load(tmp_path / "b.onnx").graph
    (excluded,) = (numpy_helper.to_array(item) for item in graph.initializer if item.name == "x.q8.channels")
    assert 5 in excluded
    without_outlier = np.arange(400, 500) % 7 != 0
    (exact,), (got,) = (Session(path).run({"x": rows[400:]}) for path in (source, tmp_path / "b.onnx"))
    assert np.linalg.norm((got - exact)[without_outlier]) < 0.02 * np.linalg.norm(exact[without_outlier])


def test_values_beyond_calibration_are_clipped_not_wrapped(tmp_path, recorded):
    source = single_product(tmp_path / "a.onnx", np.abs(MATRIX))
    quantize(
        source,
        tmp_path / "b.onnx",
        recorded(source, [{"x": some} for some in np.split(CHANNELS[:400].astype(np.float32), 50)]),
    )
    session = Session(tmp_path / "b.onnx")
    far = [session.run({"x": np.full((1, 32), value, np.float32)})[0] for value in (-1e6, 0, 1e6)]
    assert (far[0] < far[1]).all()
    assert (far[1] < far[2]).all()


def test_a_row_of_zeros_gives_the_bias(tmp_path, recorded):
    source = single_product(tmp_path / "a.onnx", MATRIX)
    quantize(
        source,
        tmp_path / "b.onnx",
        recorded(source, [{"x": some} for some in np.split(ROWS[:400].astype(np.float32), 50)]),
    )
    np.testing.assert_array_equal(
        Session(tmp_path / "b.onnx").run({"x": np.zeros((1, 32), np.float32)})[0], np.ones((1, 24))
    )


def test_products_that_run_once_per_text_stay_exact(tmp_path, recorded):
    source = single_product(tmp_path / "a.onnx", MATRIX)
    quantize(source, tmp_path / "b.onnx", recorded(source, [{"x": row[None]} for row in ROWS[:50].astype(np.float32)]))
    assert [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node] == ["MatMul", "Add"]

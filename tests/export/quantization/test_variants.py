import hashlib
import json
import logging
import shutil
import sys

import numpy as np
import onnx
import pytest

import torchless
from torchless import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    CheckpointError,
    pipeline,
)
from torchless.folder.layout import DTYPE_SUFFIXES
from torchless.folder.manifest import Manifest
from torchless.ort.session import Session
from torchless.tasks import find_task
from torchless_export.export import Silent, export
from torchless_export.quantization.calibration import calibrate
from torchless_export.quantization.linears import find_linears, load_products
from torchless_export.quantization.recording import Rows
from torchless_export.quantization.variants import VARIANTS, declare_data, is_calibrated, make_variant
from torchless_export.sample import sample_texts
from torchless_export.verification.cases import CASES

MADE = ["fp16", "int8", "q4", "q4f16"]
BATCH_DEPENDENT = {"int8"}
TASK = "text-classification"


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """The export of a tiny model in all dtypes."""
    out = tmp_path_factory.mktemp("variants") / "out"
    checkpoint = tiny.checkpoint("bert", TASK, num_labels=3)
    options = {"dtypes": ("fp32", *MADE), "min_agreement": 0.0, "verify_with": tiny.few_texts()}
    manifest, _ = export(str(checkpoint), out, Silent(), **options)
    assert Manifest.read(out) == manifest
    return out


@pytest.fixture
def variants(folder):
    return Manifest.read(folder).variants


@pytest.fixture
def made_of(tiny, tmp_path, tmp_path_factory):
    """Makes a variant of a tiny model's export, in a copy of its folder without a manifest."""

    def make(model_type, task, dtype, **options):
        out = shutil.copytree(tiny.export(model_type, task), tmp_path / "folder", dirs_exist_ok=True)
        (out / "torchless.json").unlink()
        chosen = torchless.tasks.find_task(task)
        rows = Rows(tmp_path_factory.mktemp("rows"))
        if is_calibrated(dtype, chosen):
            calibrate(out, chosen, sample_texts(40), "", rows)
        return out, make_variant(out, chosen, dtype, rows, **options)

    return make


def logits(model, encoded):
    return model(**encoded).logits


def test_all_dtypes_have_a_recipe_except_those_of_other_exporters():
    assert list(VARIANTS) == [dtype for dtype in DTYPE_SUFFIXES if dtype not in {"uint8", "bnb4"}]


@pytest.mark.parametrize("dtype", MADE)
def test_a_variant_is_what_the_manifest_says(folder, variants, dtype):
    variant = variants[dtype]
    (part,) = variant.parts
    graph = (folder / part.file).read_bytes()
    assert part.file == f"onnx/model{DTYPE_SUFFIXES[dtype]}.onnx"
    assert (part.size_bytes, part.sha256) == (len(graph), hashlib.sha256(graph).hexdigest())
    assert variant.size_bytes < variants["fp32"].size_bytes
    assert variant.scheme == VARIANTS[dtype].scheme
    assert variant.batch_dependent == (dtype in BATCH_DEPENDENT)
    assert variant.verification.texts == 20 + 4 + 2  # pairs, and the shortest and the longest text
    assert 0 < variant.verification.mean_abs_diff < variant.verification.max_abs_diff < 0.2
    onnx.checker.check_model(graph)


def test_variants_keep_the_requested_order(variants):
    assert list(variants) == ["fp32", *MADE]


@pytest.mark.parametrize("dtype", MADE)
def test_inputs_and_outputs_stay_as_they_are(folder, dtype):
    whole, variant = (
        AutoModelForSequenceClassification.from_pretrained(folder, dtype=name) for name in ("fp32", dtype)
    )
    assert variant.session.inputs == whole.session.inputs
    assert variant.session.outputs == whole.session.outputs


@pytest.mark.parametrize("dtype", MADE)
def test_batch_dependent_is_measured(folder, dtype):
    """The same rows with the same padding, in single runs and in a batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
    together = tokenizer(sample_texts(8), padding=True, return_tensors="np")
    alone = [logits(model, {name: array[[row]] for name, array in together.items()})[0] for row in range(8)]
    largest = np.abs(logits(model, together) - np.stack(alone)).max()
    assert (largest > 1e-3) if dtype in BATCH_DEPENDENT else (largest < 1e-6)


def test_fp32_can_be_omitted(tiny, tmp_path):
    checkpoint = tiny.checkpoint("bert", TASK, num_labels=3)
    out = tmp_path / "out"
    manifest, _ = export(str(checkpoint), out, Silent(), dtypes=("fp16",), verify_with=tiny.few_texts())
    assert [path.name for path in (out / "onnx").iterdir()] == ["model_fp16.onnx"]
    assert list(manifest.variants) == ["fp16"]
    pipeline(TASK, out, dtype="fp16")("A film.")


@pytest.mark.parametrize(
    ("model_type", "dtype"),
    [
        ("albert", "q4"), ("albert", "int8"), ("deberta-v2", "fp16"), ("deberta-v2", "int8"), ("distilbert", "q4"),
        ("electra", "q4f16"), ("modernbert", "fp16"), ("modernbert", "q4f16"), ("mpnet", "fp16"), ("roberta", "int8"),
        ("xlm-roberta", "fp16"),
    ],
)  # fmt: skip
def test_other_architectures(made_of, model_type, dtype):
    out, _ = made_of(model_type, TASK, dtype)
    encoded = AutoTokenizer.from_pretrained(out)(sample_texts(8), padding=True, return_tensors="np")
    expected, got = (
        logits(AutoModelForSequenceClassification.from_pretrained(out, dtype=name), encoded) for name in ("fp32", dtype)
    )
    tolerance = 0.01 if dtype == "fp16" else 1.0
    assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("dtype", ["fp16", "int8", "q8", "q4", "q4f16"])
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_decoders(made_of, model_type, dtype):
    out, _ = made_of(model_type, "text-generation", dtype)
    tokenizer = AutoTokenizer.from_pretrained(out)
    # For rows that begin with padding, the sum of two masks must stay finite.
    encoded = tokenizer(["A film.", "It rains in Paris, and has done so for days."], padding=True, return_tensors="np")
    whole, model = (AutoModelForCausalLM.from_pretrained(out, dtype=name) for name in ("fp32", dtype))
    expected, got = logits(whole, encoded), logits(model, encoded)
    assert np.isfinite(got).all()
    seen = encoded["attention_mask"].astype(bool)
    assert np.abs(got - expected)[seen].max() < (0.01 if dtype == "fp16" else 0.5) * np.abs(expected).max()
    assert model.session.inputs == whole.session.inputs


def test_the_linear_layers_of_a_decoder_are_quantised(made_of):
    """GPT-2's linear layers are Gemm nodes, and its head is the transposed embedding."""
    out, variant = made_of("gpt2", "text-generation", "q4")
    operators = [node.op_type for node in onnx.load(out / variant.parts[0].file).graph.node]
    assert operators.count("MatMulNBits") == 4 * 2 + 1
    assert "Gemm" not in operators


def kinds(folder, dtype, *operators):
    """The element types of the outputs of operators."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(folder / f"onnx/model{DTYPE_SUFFIXES[dtype]}.onnx")).graph
    types = {item.name: item.type.tensor_type.elem_type for item in graph.value_info}
    return {types[node.output[0]] for node in graph.node if node.op_type in operators}


def test_fp16_keeps_large_values_in_fp32(made_of):
    out, _ = made_of("llama", "text-generation", "fp16")
    assert kinds(out, "fp16", "Pow", "ReduceMean", "Cos", "Sin") == {onnx.TensorProto.FLOAT}
    assert kinds(out, "fp16", "MatMul") == {onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT}
    assert kinds(out, "fp16", "Softmax") == {onnx.TensorProto.FLOAT16}
    nodes = onnx.load(out / "onnx/model_fp16.onnx").graph.node
    producers = {node.output[0]: node.op_type for node in nodes}
    # A cast to float16 and back between the two nodes would overflow.
    assert {producers[node.input[0]] for node in nodes if node.op_type == "ReduceMean"} == {"Pow"}


def test_fp16_distinguishes_far_positions(made_of):
    out, _ = made_of("mpnet", TASK, "fp16")
    assert kinds(out, "fp16", "Log") == {onnx.TensorProto.FLOAT}


def test_the_tools_leave_the_process_as_it_was(made_of, capfd):
    root, path = logging.getLogger(), list(sys.path)
    handlers, level = list(root.handlers), root.level
    for dtype in MADE:
        made_of("bert", TASK, dtype)
    assert (root.handlers, root.level, sys.path) == (handlers, level, path)
    assert not logging.root.manager.disable
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def outside(tiny, tmp_path_factory):
    """An export whose larger graphs have their weights outside."""
    checkpoint = tiny.checkpoint("bert", TASK, num_labels=3)
    out = tmp_path_factory.mktemp("outside") / "out"
    options = {"dtypes": ("fp32", "int8", "q4"), "min_agreement": 0.0, "verify_with": tiny.few_texts()}
    export(str(checkpoint), out, Silent(), max_graph_bytes=2_000_000, **options)
    return out


class TestDataOutside:
    """The weights are in a second file, as for models of more than 2 GB."""

    def test_one_file_a_graph(self, outside):
        assert {path.name for path in (outside / "onnx").iterdir()} == {
            "model.onnx", "model.onnx_data", "model_q4.onnx", "model_q4.onnx_data", "model_int8.onnx",
        }  # fmt: skip

    def test_whoever_may_read_the_graph_may_read_its_data(self, outside):
        modes = {(outside / f"onnx/model.onnx{end}").stat().st_mode for end in ("", "_data")}
        assert len(modes) == 1

    def test_the_manifest_and_the_configuration_say_so(self, outside):
        variants = Manifest.read(outside).variants
        assert len(variants["int8"].parts) == 1
        _, data = variants["q4"].parts
        content = (outside / "onnx/model_q4.onnx_data").read_bytes()
        assert (data.file, data.size_bytes) == ("onnx/model_q4.onnx_data", len(content))
        assert data.sha256 == hashlib.sha256(content).hexdigest()
        config = json.loads((outside / "config.json").read_text())
        chunks = {"model.onnx": 1, "model_q4.onnx": 1}
        assert config["transformers.js_config"] == {"use_external_data_format": chunks}

    @pytest.mark.parametrize("dtype", ["fp32", "int8", "q4"])
    def test_a_moved_folder_answers(self, outside, tmp_path, dtype):
        expected = pipeline(TASK, outside, dtype=dtype)("A film.")
        moved = shutil.copytree(outside, tmp_path / "moved")
        assert pipeline(TASK, moved, dtype=dtype)("A film.") == expected

    def test_a_short_file_is_found(self, outside, tmp_path):
        moved = shutil.copytree(outside, tmp_path / "moved")
        with (moved / "onnx/model.onnx_data").open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(CheckpointError, match=r"model\.onnx_data is damaged: 1000 bytes"):
            pipeline(TASK, moved)

    @pytest.mark.parametrize("dtype", ["fp16", "int8", "q4f16"])
    def test_a_variant_of_such_a_graph(self, outside, tmp_path, dtype):
        moved = shutil.copytree(outside, tmp_path / "moved")
        variant = make_variant(moved, torchless.tasks.find_task(TASK), dtype)
        assert len(variant.parts) == 1
        (moved / "onnx/model.onnx_data").unlink()
        (moved / "torchless.json").unlink()
        pipeline(TASK, moved, dtype=dtype)("A film.")

    def test_data_by_another_name_is_put_right(self, made_of):
        out, _ = made_of("roberta", TASK, "fp32")
        graph = out / "onnx/model.onnx"
        onnx.save(onnx.load(graph), graph, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
        assert len(list((out / "onnx").iterdir())) > 2
        task = torchless.tasks.find_task(TASK)
        assert make_variant(out, task, "fp32", max_graph_bytes=100_000).parts[1].file == "onnx/model.onnx_data"
        assert {path.name for path in (out / "onnx").iterdir()} == {"model.onnx", "model.onnx_data"}
        assert len(make_variant(out, task, "fp32").parts) == 1
        assert [path.name for path in (out / "onnx").iterdir()] == ["model.onnx"]
        pipeline(TASK, out)("A film.")


def test_the_checkpoints_settings_for_transformers_js_are_removed(tiny, tmp_path):
    config = {"model_type": "bert", "transformers.js_config": {"dtype": "q4", "kv_cache_dtype": {"q4f16": "float16"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    declare_data(tmp_path, Manifest.read(tiny.export("bert", TASK)).variants)
    assert json.loads((tmp_path / "config.json").read_text()) == {"model_type": "bert"}


@pytest.mark.parametrize("task", CASES)
def test_calibration_records_each_text(tiny, task, tmp_path):
    out = tiny.export({"text-generation": "gpt2", "text2text-generation": "t5"}.get(task, "bert"), task)
    rows, texts = Rows(tmp_path), sample_texts(3)
    calibrate(out, torchless.tasks.find_task(task), texts, "[MASK]", rows)
    assert rows.runs == 3
    graph = torchless.folder.model_folder.ModelFolder(out).graphs("fp32")[0]
    linears = find_linears(load_products(graph))
    for linear in linears:
        channels = load_products(graph).constants.shape(linear.products[0].matrix)[0]
        assert rows[linear.input].shape[1] == channels
        assert np.isfinite(rows[linear.input]).all()
    assert len(rows[linears[0].input]) > 10 * len(texts)  # a row for each token


def test_four_bits_in_float16_differ_from_four_bits_by_half_precision_alone(tiny, tmp_path):
    checkpoint = tiny.checkpoint("t5", "text2text-generation")
    export(
        str(checkpoint), tmp_path / "out", Silent(), task="text2text-generation", dtypes=("q4", "q4f16"),
        verify_with=tiny.few_texts(), min_agreement=0.0,
    )  # fmt: skip
    ids = np.arange(5, 25)[None]
    logits = [
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out", dtype=dtype)(ids, decoder_input_ids=ids[:, :6]).logits
        for dtype in ("q4", "q4f16")
    ]
    assert np.abs(logits[0] - logits[1]).max() < 0.02 * np.abs(logits[0]).max()


def test_each_layer_of_albert_is_quantised(tiny, tmp_path):
    """Its layers share their weights."""
    folder = tiny.export("albert", "feature-extraction")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes((folder / "onnx/model.onnx").read_bytes())
    ids = np.arange(100, 108)[None]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (exact,) = Session(tmp_path / "onnx/model.onnx").run(feeds)
    for dtype in ("q4", "q4f16"):
        make_variant(tmp_path, find_task("feature-extraction"), dtype)
        nodes = onnx.load(tmp_path / f"onnx/model_{dtype}.onnx").graph.node
        products = [node for node in nodes if node.op_type == "MatMulNBits"]
        assert len(products) == 1 + 2 * 6  # the projection of the embeddings, and each of two layers
        (states,) = Session(tmp_path / f"onnx/model_{dtype}.onnx").run(feeds)
        assert np.linalg.norm(states - exact) < 0.3 * np.linalg.norm(exact)

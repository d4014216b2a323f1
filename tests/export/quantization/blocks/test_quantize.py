import numpy as np
import onnx
import pytest

import torchless
from torchless import AutoModelForCausalLM
from torchless_export.quantization.blocks.quantize import quantize
from torchless_export.quantization.calibration import calibrate
from torchless_export.quantization.recording import Rows
from torchless_export.sample import sample_texts

IDS = np.arange(5, 45)[None]
TASK = torchless.tasks.find_task("text-generation")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def folder(request, tiny):
    return tiny.export(request.param, "text-generation")


@pytest.fixture(scope="module")
def rows(folder, tmp_path_factory):
    rows = Rows(tmp_path_factory.mktemp("rows"))
    calibrate(folder, TASK, sample_texts(60), "", rows)
    return rows


def answer(folder, graph):
    return AutoModelForCausalLM.from_pretrained(folder, file_name=graph)(IDS).logits


@pytest.mark.parametrize(("bits", "float16", "share"), [(8, False, 0.02), (4, False, 0.25), (4, True, 0.25)])
def test_answers_are_near_and_every_product_is_in_blocks(folder, rows, tmp_path, bits, float16, share):
    out = tmp_path / "out"
    out.mkdir()
    for file in folder.glob("*.json"):
        (out / file.name).write_bytes(file.read_bytes())
    (out / "torchless.json").unlink()
    (out / "onnx").mkdir()
    source = out / "onnx/model.onnx"
    source.write_bytes((folder / "onnx/model.onnx").read_bytes())
    quantize(source, out / "onnx/blocks.onnx", rows, bits=bits, float16=float16)
    nodes = onnx.load(out / "onnx/blocks.onnx").graph.node
    blocks = [node for node in nodes if node.op_type == "MatMulNBits"]
    of_bits = {node.output[0]: next(item.i for item in node.attribute if item.name == "bits") for node in blocks}
    second_halves = [name for name in of_bits if "down_proj" in name or "mlp/c_proj" in name]
    assert len(second_halves) == 2  # layers
    sensitive = {*second_halves, blocks[-1].output[0]}
    assert of_bits == {name: 8 if name in sensitive else bits for name in of_bits}
    assert len(blocks) == sum(node.op_type in {"Gemm", "MatMul"} for node in onnx.load(source).graph.node) - sum(
        node.op_type == "MatMul" for node in nodes
    )
    expected, got = (answer(out, f"onnx/{name}.onnx") for name in ("model", "blocks"))
    assert np.linalg.norm(got - expected) < share * np.linalg.norm(expected - expected.mean(axis=-1, keepdims=True))

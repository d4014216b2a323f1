import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless.session import Session


@pytest.mark.parametrize("operator", ["MatMulInteger", "MatMulIntegerToFloat"])
def test_sums_of_8_bit_products_are_exact(operator, tmp_path):
    # On x86 CPUs without VNNI, ONNX Runtime left to itself saturates these at half of what they are.
    constants = {
        "w": np.full((64, 16), 127, np.int8),
        "s": np.float32(1),
        "c": np.ones(16, np.float32),
        "z": np.uint8(0),
    }
    floats = operator.endswith("Float")
    node = helper.make_node(
        operator, ["x", "w", *("scz" if floats else "")], ["y"], domain="com.microsoft" if floats else ""
    )
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT if floats else TensorProto.INT32, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)

    session = Session(path)
    (sums,) = session.run({"x": np.full((3, 64), 255, np.uint8)})
    assert (sums == 255 * 127 * 64).all()

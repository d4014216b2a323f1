import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from torchless.ort import saturation
from torchless.ort.saturation import eight_bit_products_saturate
from torchless.ort.session import Session


def test_the_graph_is_one_operator():
    tensors = {"a": TensorProto.UINT8, "b": TensorProto.INT8, "c": TensorProto.INT32}
    a, b, c = (helper.make_tensor_value_info(name, kind, None) for name, kind in tensors.items())
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "g", [a, b], [c])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=4, producer_name="")
    assert model.SerializeToString() == saturation._MATMUL_INTEGER


@pytest.mark.parametrize(("total", "saturates"), [(2 * 255 * 127, False), (2**15 - 1, True)])
def test_the_sum_decides(total, saturates, monkeypatch):
    class Kernel:
        def __init__(self, *_, **__):
            pass

        def run(self, outputs, feeds):
            assert (feeds["a"] == 255).all()
            assert (feeds["b"] == 127).all()
            return [np.array([[total]], np.int32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Kernel)
    assert eight_bit_products_saturate.__wrapped__() is saturates


@pytest.mark.parametrize("saturates", [True, False])
def test_a_session_keeps_sums_exact_only_where_they_saturate(saturates, sentiment, monkeypatch):
    monkeypatch.setattr("torchless.ort.session.eight_bit_products_saturate", lambda: saturates)
    entry = "session.x64quantprecision"
    settings = Session(sentiment / "onnx/model.onnx")._session.get_session_options()
    if saturates:
        assert settings.get_session_config_entry(entry) == "1"
    else:
        with pytest.raises(RuntimeError, match=entry):
            settings.get_session_config_entry(entry)

"""A check for CPUs whose sums of 8-bit products saturate."""

from functools import cache

import numpy as np
import onnxruntime as ort

__all__ = ["eight_bit_products_saturate"]

# A graph with a single operator, c = MatMulInteger(a, b), with a in uint8 and b in int8. The test shows how it is made.
_MATMUL_INTEGER = (
    b'\x08\x04\x12\x00:>\n\x18\n\x01a\n\x01b\x12\x01c"\rMatMulInteger\x12\x01g'
    b"Z\t\n\x01a\x12\x04\n\x02\x08\x02Z\t\n\x01b\x12\x04\n\x02\x08\x03b\t\n\x01c\x12\x04\n\x02\x08\x06B\x04\n\x00\x10\n"
)


@cache
def eight_bit_products_saturate() -> bool:
    """Return whether the sum of two products of 8-bit integers overflows in ONNX Runtime's kernels.

    x86 CPUs without VNNI add pairs of products in 16 bits. For them, ONNX Runtime has a setting that keeps the sums exact,
    with a slower kernel and twice the loading time. CPUs with VNNI do not need it. The check takes 1 ms, once.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(_MATMUL_INTEGER, settings, providers=["CPUExecutionProvider"])
    (total,) = session.run(None, {"a": np.full((1, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)})
    return bool(total.item() != 2 * 255 * 127)

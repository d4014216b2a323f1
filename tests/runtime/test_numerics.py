import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from torchless.numerics import log_softmax, pad, sigmoid, softmax, top_k

logits = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1000, 1000, width=32)
)


@given(logits)
def test_softmax_sums_to_one(values):
    np.testing.assert_allclose(softmax(values).sum(-1), 1, rtol=1e-5)
    assert softmax(values).dtype == values.dtype
    np.testing.assert_allclose(softmax(values, axis=0).sum(0), 1, rtol=1e-5)


@given(logits)
def test_log_softmax_is_the_logarithm(values):
    np.testing.assert_allclose(np.exp(log_softmax(values)), softmax(values), atol=1e-5)


@given(logits)
def test_sigmoid_is_symmetric_and_bounded(values):
    scores = sigmoid(values)
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores + sigmoid(-values), 1, rtol=1e-5)
    assert scores.dtype == values.dtype


def test_functions_do_not_change_their_input():
    values = np.array([1.0, 2.0], dtype=np.float32)
    for function in (softmax, log_softmax, sigmoid):
        function(values)
        np.testing.assert_array_equal(values, [1, 2])


def test_pad():
    assert pad([[1, 2], [3]], 3, 0, left=True).tolist() == [[0, 1, 2], [0, 0, 3]]
    padded = pad([[1, 2], [3]], 3, 0)
    assert padded.tolist() == [[1, 2, 0], [3, 0, 0]]
    assert padded.dtype == np.int64


@pytest.mark.parametrize("width", [5, 16 * 7 - 1, 500])
@pytest.mark.parametrize("count", [1, 5])
def test_top_k_equals_sorting(width, count):
    values = np.random.default_rng(width).permutation(3 * width).reshape(3, width).astype(np.float32)
    best, places = top_k(values, count)
    np.testing.assert_array_equal(best, -np.sort(-values, axis=1)[:, :count])
    np.testing.assert_array_equal(np.take_along_axis(values, places, axis=1), best)

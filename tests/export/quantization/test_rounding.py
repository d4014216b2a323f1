import numpy as np
import pytest

from torchless_export.quantization import rounding
from torchless_export.quantization.rounding import round_columns, rounded


def correlated(rows, width, seed=0):
    """Correlated inputs, as in real models."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((width, width)) * np.linspace(3, 0.05, width)[:, None]
    return (rng.standard_normal((rows, width)) @ mixing).astype(np.float32)


@pytest.mark.parametrize(("width", "outputs"), [(16, 16), (129, 40), (300, 7)])
def test_products_change_less_than_with_plain_rounding(width, outputs):
    weights = np.random.default_rng(1).standard_normal((width, outputs)).astype(np.float32)
    fitted, unseen = correlated(4000, width)[::2], correlated(4000, width)[1::2]
    integers, scales = round_columns(weights, fitted)
    assert integers.dtype == np.int8
    assert integers.shape == weights.shape
    assert np.abs(integers).max() <= 127
    assert scales.shape == (outputs,)
    errors = [np.linalg.norm(unseen @ (item - weights)) for item in (integers * scales, rounded(weights))]
    assert errors[0] < 0.8 * errors[1]


def test_no_weight_moves_further_than_the_errors_it_takes_over():
    weights = np.random.default_rng(2).standard_normal((64, 8)).astype(np.float32)
    integers, scales = round_columns(weights, correlated(500, 64))
    assert np.abs(integers * scales - weights).max() < 10 * scales.max()


def test_plain_rounding_is_within_half_a_step():
    weights = np.random.default_rng(3).standard_normal((32, 5)).astype(np.float32)
    weights[:, 2] = 0
    steps = np.abs(weights).max(axis=0) / 127
    assert (np.abs(rounded(weights) - weights) <= steps / 2 * 1.001).all()


@pytest.mark.parametrize("inputs", [np.zeros((10, 32), np.float32), None])
def test_without_inputs_weights_are_rounded_plainly(inputs, monkeypatch):
    weights = np.random.default_rng(4).standard_normal((32, 5)).astype(np.float32)
    if inputs is None:  # more columns than the limit
        monkeypatch.setattr(rounding, "_MAX_COLUMNS", 4)
        inputs = correlated(100, 32)
    integers, scales = round_columns(weights, inputs)
    assert np.array_equal(integers * scales, rounded(weights))

"""Weights as 8-bit integers with a scale per column, rounded so that the errors cancel on real inputs."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["round_columns", "rounded"]

# A matrix with more columns is a vocabulary in the last layer, where the gain is not worth the time.
_MAX_COLUMNS = 16384
_DAMPING = 0.01
_BLOCK_ROWS = 128


def round_columns(
    weights: NDArray[np.float32], inputs: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix of weights so that its products with real inputs change little.

    The rows of the matrix are rounded in turn. The rounding error of a row is distributed over the rows that follow, in
    proportion to how their inputs correlate with its input.

    Args:
        weights: The matrix, (inputs, outputs).
        inputs: A sample of the inputs that the matrix is multiplied by, (rows, inputs).

    Returns:
        The integers from -127 to 127, (inputs, outputs), and the scale of each column, (outputs,).

    Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    arXiv 2210.17323, with the rows in descending order of their inputs' size.
    """
    scales = _scales(weights)
    if weights.shape[1] > _MAX_COLUMNS or not inputs.any():
        return _integers(weights, scales), scales
    moments = inputs.T @ inputs
    order = np.argsort(-np.diag(moments), kind="stable")
    spread = _deviations(moments[np.ix_(order, order)])
    rest = weights[order]  # a copy, to which the errors of rounded rows are added
    integers = np.empty(weights.shape, np.int8)
    for start in range(0, len(rest), _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, len(rest))
        errors = np.empty((stop - start, rest.shape[1]), np.float32)
        for row in range(start, stop):
            whole = _integers(rest[row], scales)
            integers[order[row]] = whole
            errors[row - start] = (rest[row] - whole * scales) / spread[row, row]
            rest[row + 1 : stop] -= np.outer(spread[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= spread[start:stop, stop:].T @ errors
    return integers, scales


def rounded(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a matrix after each weight was rounded to the nearest integer and scaled back, (inputs, outputs)."""
    scales = _scales(weights)
    return _integers(weights, scales) * scales


def _scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    largest = np.abs(weights).max(axis=0)
    return np.where(largest == 0, 1, largest / 127).astype(np.float32)


def _integers(values: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    return np.asarray(np.clip(np.rint(values / scales), -127, 127), np.int8)


def _deviations(moments: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper Cholesky factor of the inverse of the damped moments, (inputs, inputs)."""
    import torch  # its triangular solver is several times faster than NumPy's inverse

    damped = torch.from_numpy(moments)
    damped.diagonal().add_(_DAMPING * damped.diagonal().mean())
    # With both axes reversed, the lower factor of the moments is the inverse of the upper factor of their inverse.
    lower = torch.linalg.cholesky(damped.flip(0, 1))
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
    return np.asarray(inverse.flip(0, 1).contiguous())

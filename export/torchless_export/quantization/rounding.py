"""Weights as integers, rounded so that the errors cancel on real inputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "round_columns", "round_to_grid", "rounded"]

# A matrix with more columns is a vocabulary in the last layer, where the gain is not worth the time.
_MAX_COLUMNS = 16384
_DAMPING = 0.01
_BLOCK_ROWS = 128
_CHUNK_COLUMNS = 4096  # their rows stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Grid:
    """The values that weights can take: an integer minus the zero point, times the scale.

    Attributes:
        scales: The scale of each weight, not 0, (inputs, outputs); most often a view with fewer values.
        zero_points: The zero point of each weight, of the same shape.
        low: The smallest integer.
        high: The largest integer.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.float32]
    low: int
    high: int

    def integers(self, weights: NDArray[np.float32], rows: int | slice = slice(None)) -> NDArray[np.float32]:
        """Return the nearest integers of some rows of weights, in float32."""
        return np.asarray(np.clip(np.rint(weights / self.scales[rows]) + self.zero_points[rows], self.low, self.high))

    def values(self, integers: NDArray[np.float32], rows: int | slice = slice(None)) -> NDArray[np.float32]:
        """Return the weights that integers stand for."""
        return (integers - self.zero_points[rows]) * self.scales[rows]

    def of_columns(self, columns: slice) -> "Grid":
        """Return the grid of some outputs."""
        return Grid(self.scales[:, columns], self.zero_points[:, columns], self.low, self.high)


def round_to_grid(weights: NDArray[np.float32], inputs: NDArray[np.float32], grid: Grid) -> NDArray[np.int16]:
    """Round a matrix of weights so that its products with real inputs change little.

    The rows of the matrix are rounded in turn. The rounding error of a row is distributed over the rows that follow, in
    proportion to how their inputs correlate with its input.

    Args:
        weights: The matrix, (inputs, outputs).
        inputs: A sample of the inputs that the matrix is multiplied by, (rows, inputs).
        grid: The values that the weights can take.

    Returns:
        The integers, (inputs, outputs).

    Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    arXiv 2210.17323, with the rows in descending order of their inputs' size.
    """
    if not inputs.any():
        return grid.integers(weights).astype(np.int16)
    moments = inputs.T @ inputs
    order = np.argsort(-np.diag(moments), kind="stable")
    spread = _deviations(moments[np.ix_(order, order)])
    integers = np.empty(weights.shape, np.int16)
    for begin in range(0, weights.shape[1], _CHUNK_COLUMNS):
        columns = slice(begin, begin + _CHUNK_COLUMNS)
        integers[:, columns] = _round_in_order(weights[:, columns], grid.of_columns(columns), order, spread)
    return integers


def round_columns(
    weights: NDArray[np.float32], inputs: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix of weights to 8-bit integers with a scale per column, as `round_to_grid` does.

    Args:
        weights: The matrix, (inputs, outputs).
        inputs: A sample of the inputs that the matrix is multiplied by, (rows, inputs).

    Returns:
        The integers from -127 to 127, (inputs, outputs), and the scale of each column, (outputs,).
    """
    grid = _column_grid(weights)
    plain = weights.shape[1] > _MAX_COLUMNS
    integers = grid.integers(weights) if plain else round_to_grid(weights, inputs, grid)
    return integers.astype(np.int8), grid.scales[0]


def rounded(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a matrix after each weight was rounded to the nearest integer and scaled back, (inputs, outputs)."""
    grid = _column_grid(weights)
    return grid.values(grid.integers(weights))


def _column_grid(weights: NDArray[np.float32]) -> Grid:
    largest = np.abs(weights).max(axis=0, keepdims=True)
    scales = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    return Grid(np.broadcast_to(scales, weights.shape), np.broadcast_to(np.float32(0), weights.shape), -127, 127)


def _round_in_order(
    weights: NDArray[np.float32], grid: Grid, order: NDArray[np.intp], spread: NDArray[np.float32]
) -> NDArray[np.int16]:
    rest = weights[order]  # a copy, to which the errors of rounded rows are added
    integers = np.empty(weights.shape, np.int16)
    for start in range(0, len(rest), _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, len(rest))
        errors = np.empty((stop - start, rest.shape[1]), np.float32)
        for row in range(start, stop):
            whole = grid.integers(rest[row], order[row])
            integers[order[row]] = whole
            errors[row - start] = (rest[row] - grid.values(whole, order[row])) / spread[row, row]
            rest[row + 1 : stop] -= np.outer(spread[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= spread[start:stop, stop:].T @ errors
    return integers


def _deviations(moments: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper Cholesky factor of the inverse of the damped moments, (inputs, inputs)."""
    import torch  # its triangular solver is several times faster than NumPy's inverse

    damped = torch.from_numpy(moments)
    damped.diagonal().add_(_DAMPING * damped.diagonal().mean())
    # With both axes reversed, the lower factor of the moments is the inverse of the upper factor of their inverse.
    lower = torch.linalg.cholesky(damped.flip(0, 1))
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
    return np.asarray(inverse.flip(0, 1).contiguous())

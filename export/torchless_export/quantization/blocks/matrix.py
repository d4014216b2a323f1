"""A matrix in blocks, as `MatMulNBits` takes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import MICROSOFT, Graph
from torchless_export.quantization.rounding import Grid, round_to_grid

__all__ = ["BlockFormat", "BlockMatrix", "nearest_weights", "round_inputs"]

# Ranges of a block to try, as parts of the whole one: a few clipped weights can be worth finer steps for the rest.
_RANGES = np.linspace(0.75, 1, 6)


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """How the weights of a matrix are stored.

    Attributes:
        bits: The bits of a weight: 8, symmetric, or 4, with zero points.
        block_size: The number of a column's weights that share a scale. An input is rounded in the same blocks.
    """

    bits: int
    block_size: int

    def blocks(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values in blocks along their first axis, padded with zeros, (blocks, block size, columns)."""
        padding = -len(values) % self.block_size
        return np.pad(values, ((0, padding), (0, 0))).reshape(-1, self.block_size, values.shape[1])

    def grid(self, scales: NDArray[np.float32], zero_points: NDArray[np.float32], channels: int) -> Grid:
        """Return the grid of a matrix whose blocks have these scales and zero points, (blocks, outputs)."""
        scales, zero_points = (
            np.repeat(values, self.block_size, axis=0)[:channels] for values in (scales, zero_points)
        )
        return Grid(scales, zero_points, 0, self.high)

    @property
    def high(self) -> int:
        """The largest integer."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, slots=True)
class BlockMatrix:
    """A matrix whose weights are integers, with a scale and a zero point for each block of a column.

    Attributes:
        integers: The integers, in blocks that are padded with zero points, (outputs, blocks, block size).
        scales: (outputs, blocks), float32 with the precision of float16.
        zero_points: (outputs, blocks); 128 with 8 bits.
        form: How they are stored.
        channels: The number of inputs.
    """

    integers: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8]
    form: BlockFormat
    channels: int

    @classmethod
    def fit(cls, weights: NDArray[np.float32], rows: NDArray[np.float32], form: BlockFormat) -> "BlockMatrix":
        """Round a matrix: 8 bits to the nearest integers, 4 bits so that errors cancel on the calibration rows.

        Args:
            weights: The matrix, (inputs, outputs).
            rows: Calibration rows of its input, (rows, inputs).
            form: How the weights are stored.
        """
        channels, outputs = weights.shape
        blocks = form.blocks(weights)
        importance = form.blocks(np.square(rows).mean(axis=0)[:, None])
        scales, zero_points = _symmetric(blocks) if form.bits == 8 else _with_zero_points(blocks, importance, form)
        grid = form.grid(scales, zero_points, channels)
        integers = np.repeat(zero_points, form.block_size, axis=0)
        integers[:channels] = grid.integers(weights) if form.bits == 8 else round_to_grid(weights, rows, grid)
        return cls(
            integers.T.reshape(outputs, -1, form.block_size).astype(np.uint8),
            scales.T.copy(),
            zero_points.T.astype(np.uint8),
            form,
            channels,
        )

    def split(self, widths: Sequence[int]) -> Iterator["BlockMatrix"]:
        """Yield the matrices that this matrix was concatenated from, by their numbers of outputs."""
        end = 0
        for width in widths:
            begin, end = end, end + width
            yield replace(
                self,
                integers=self.integers[begin:end],
                scales=self.scales[begin:end],
                zero_points=self.zero_points[begin:end],
            )

    def weights(self) -> NDArray[np.float32]:
        """Return the matrix that the integers stand for, (inputs, outputs)."""
        centred = self.integers.astype(np.float32) - self.zero_points[:, :, None]
        return np.asarray((centred * self.scales[:, :, None]).reshape(len(centred), -1)[:, : self.channels].T)

    def write(self, graph: Graph, node: Any, *, accuracy_level: int, dtype: Any) -> Any:
        """Return the node that replaces a product with this matrix.

        Args:
            graph: The graph, to which constants are added.
            node: The product.
            accuracy_level: What `MatMulNBits` rounds its input to: 4 for int8, 0 for nothing.
            dtype: The type of the product: float32 or float16.
        """
        out = node.output[0]
        inputs = [
            node.input[0],
            graph.constant(f"{out}.blocks", _packed(self.integers, self.form.bits)),
            graph.constant(f"{out}.scales", self.scales.astype(dtype)),
        ]
        if self.form.bits < 8:
            inputs.append(graph.constant(f"{out}.zero_points", _packed(self.zero_points, self.form.bits)))
        return graph.node(
            "MatMulNBits",
            inputs,
            out,
            domain=MICROSOFT,
            K=self.channels,
            N=len(self.integers),
            bits=self.form.bits,
            block_size=self.form.block_size,
            accuracy_level=accuracy_level,
        )


def nearest_weights(weights: NDArray[np.float32], form: BlockFormat) -> NDArray[np.float32]:
    """Return a matrix after each weight was rounded to the nearest integer and scaled back, (inputs, outputs).

    Args:
        weights: The matrix, (inputs, outputs).
        form: How the weights are stored.
    """
    blocks = form.blocks(weights)
    scales, zero_points = _symmetric(blocks) if form.bits == 8 else _ranges_of(blocks, form)
    grid = form.grid(scales, zero_points, len(weights))
    return grid.values(grid.integers(weights))


def round_inputs(rows: NDArray[np.float32], form: BlockFormat) -> NDArray[np.float32]:
    """Return inputs as `MatMulNBits` rounds them to int8, with a scale for each block of a row, (rows, inputs).

    Args:
        rows: The inputs, (rows, inputs).
        form: How the weights are stored.
    """
    blocks = form.blocks(rows.T)  # (blocks, block size, rows)
    scales = np.maximum(np.abs(blocks).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return np.asarray((np.rint(blocks / scales) * scales).reshape(-1, len(rows))[: rows.shape[1]].T)


def _symmetric(blocks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scales and the zero points of 8-bit blocks, (blocks, outputs)."""
    scales = _storable(np.abs(blocks).max(axis=1) / 127)
    return scales, np.full_like(scales, 128)


def _with_zero_points(
    blocks: NDArray[np.float32], importance: NDArray[np.float32], form: BlockFormat
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scales and zero points with the least error on calibration rows, (blocks, outputs).

    Args:
        blocks: The weights, (blocks, block size, outputs).
        importance: The mean square of each input, (blocks, block size, 1).
        form: How the weights are stored.
    """
    scales, zero_points = _ranges_of(blocks, form)
    least = np.full(scales.shape, np.inf, np.float32)
    for part in _RANGES:
        scale, zero_point = _ranges_of(blocks, form, part)
        grid = Grid(scale[:, None], zero_point[:, None], 0, form.high)
        error = (np.square(grid.values(grid.integers(blocks)) - blocks) * importance).sum(axis=1)
        better = error < least
        least[better], scales[better], zero_points[better] = error[better], scale[better], zero_point[better]
    return scales, zero_points


def _ranges_of(
    blocks: NDArray[np.float32], form: BlockFormat, part: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scales and zero points that hold a part of the range of each block, (blocks, outputs)."""
    lowest, largest = np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)
    scales = _storable((largest - lowest) * np.float32(part / form.high))
    return scales, np.clip(np.rint(-lowest * np.float32(part) / scales), 0, form.high)


def _storable(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scales that float16 holds; none is 0."""
    rounded = scales.astype(np.float16).astype(np.float32)
    return np.where(rounded == 0, np.float32(np.finfo(np.float16).tiny), rounded)


def _packed(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return integers along the last axis as bytes; with 4 bits, the first of a pair is the lower half of a byte."""
    if bits == 8:
        return values
    even = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, values.shape[-1] % 2)])
    return np.asarray(even[..., ::2] | even[..., 1::2] << 4)

"""A matrix in blocks, as `MatMulNBits` takes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import MICROSOFT, Graph
from torchless_export.quantization.rounding import Grid, round_to_grid

__all__ = ["BLOCK_SIZE", "BlockMatrix"]

BLOCK_SIZE = 32
"""The number of a column's weights that share a scale."""

# Ranges of a block to try, as parts of the whole one: a few clipped weights can be worth finer steps for the rest.
_RANGES = np.linspace(0.75, 1, 6)


@dataclass(frozen=True, slots=True)
class BlockMatrix:
    """A matrix whose weights are integers, with a scale and a zero point for each block of a column.

    Attributes:
        integers: The integers, in blocks that are padded with zero points, (outputs, blocks, block size).
        scales: (outputs, blocks), float32 with the precision of float16.
        zero_points: (outputs, blocks); 128 with 8 bits.
        bits: 8 or 4.
        channels: The number of inputs.
    """

    integers: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.uint8]
    bits: int
    channels: int

    @classmethod
    def fit(cls, weights: NDArray[np.float32], rows: NDArray[np.float32], *, bits: int) -> "BlockMatrix":
        """Round a matrix.

        Args:
            weights: The matrix, (inputs, outputs).
            rows: Calibration rows of its input, (rows, inputs).
            bits: The bits of a weight: 8, symmetric, or 4, with zero points.
        """
        channels, outputs = weights.shape
        padding = -channels % BLOCK_SIZE
        blocks = np.pad(weights, ((0, padding), (0, 0))).reshape(-1, BLOCK_SIZE, outputs)
        importance = np.pad(np.square(rows).mean(axis=0), (0, padding)).reshape(-1, BLOCK_SIZE, 1)
        scales, zero_points = _symmetric(blocks) if bits == 8 else _with_zero_points(blocks, importance, bits)
        grid = Grid(
            np.repeat(scales, BLOCK_SIZE, axis=0)[:channels],
            np.repeat(zero_points, BLOCK_SIZE, axis=0)[:channels],
            0,
            2**bits - 1,
        )
        integers = np.repeat(zero_points, BLOCK_SIZE, axis=0)
        integers[:channels] = round_to_grid(weights, rows, grid)
        return cls(
            integers.T.reshape(outputs, -1, BLOCK_SIZE).astype(np.uint8),
            scales.T.copy(),
            zero_points.T.astype(np.uint8),
            bits,
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
            graph.constant(f"{out}.blocks", _packed(self.integers, self.bits)),
            graph.constant(f"{out}.scales", self.scales.astype(dtype)),
        ]
        if self.bits < 8:
            inputs.append(graph.constant(f"{out}.zero_points", _packed(self.zero_points, self.bits)))
        return graph.node(
            "MatMulNBits",
            inputs,
            out,
            domain=MICROSOFT,
            K=self.channels,
            N=len(self.integers),
            bits=self.bits,
            block_size=BLOCK_SIZE,
            accuracy_level=accuracy_level,
        )


def _symmetric(blocks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scales and the zero points of 8-bit blocks, (blocks, outputs)."""
    scales = _storable(np.abs(blocks).max(axis=1) / 127)
    return scales, np.full_like(scales, 128)


def _with_zero_points(
    blocks: NDArray[np.float32], importance: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scales and zero points with the least error on calibration rows, (blocks, outputs).

    Args:
        blocks: The weights, (blocks, block size, outputs).
        importance: The mean square of each input, (blocks, block size, 1).
        bits: The bits of a weight.
    """
    high = 2**bits - 1
    lowest, largest = np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)
    least = np.full(lowest.shape, np.inf, np.float32)
    scales, zero_points = np.ones_like(lowest), np.zeros_like(lowest)
    for part in _RANGES.astype(np.float32):
        scale = _storable((largest - lowest) * part / high)
        zero_point = np.clip(np.rint(-lowest * part / scale), 0, high)
        grid = Grid(scale[:, None], zero_point[:, None], 0, high)
        error = (np.square(grid.values(grid.integers(blocks)) - blocks) * importance).sum(axis=1)
        better = error < least
        least[better], scales[better], zero_points[better] = error[better], scale[better], zero_point[better]
    return scales, zero_points


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

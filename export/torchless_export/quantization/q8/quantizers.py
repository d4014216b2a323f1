"""The two quantizers that turn the input of a matrix into 8-bit integers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import Graph
from torchless_export.quantization.rounding import rounded

__all__ = ["SMALLEST", "ByChannel", "ByRow", "Floats", "Quantizer", "without_outlier_channels"]

Floats: TypeAlias = NDArray[Any]
"""Arrays of float32."""

SMALLEST = 1e-12

# The part of a channel's range that moves into the weights. With 1, the scaled ranges of all channels would be equal.
_SMOOTHING = 0.9
# Ranges are wider than in calibration by this factor, since other texts can exceed them.
_MARGIN = 1.1
_ZERO_POINTS = (0, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class ByChannel:
    """A fixed scale and a fixed centre for each channel; they are folded into the weights and the bias.

    Attributes:
        kept: False for the channels that stay in float32, (channels,).
        factor: The reciprocal of each channel's scale, and 0 for a channel that is not kept, (channels,).
        centre: The centre of each channel's range, (channels,).
    """

    kept: NDArray[np.bool_]
    factor: Floats
    centre: Floats
    scale = 1.0
    zero_point = 128
    scaled_rows = False

    @classmethod
    def fit(cls, rows: Floats, weights: Floats, kept: NDArray[np.bool_]) -> "ByChannel":
        """Fit to calibration rows, (rows, channels), and to the weights, (channels, outputs)."""
        low, high = rows.min(axis=0), rows.max(axis=0)
        half = np.maximum((high - low) / 2 * _MARGIN, 1e-5)
        heaviest = np.maximum(np.abs(weights).max(axis=1), 1e-5)
        scale = half**_SMOOTHING / heaviest ** (1 - _SMOOTHING)
        scale *= (half / scale)[kept].max() / 127
        centre = (high + low) / 2
        return cls(kept, np.where(kept, 1 / scale, 0).astype(np.float32), np.where(kept, centre, 0).astype(np.float32))

    def inputs(self, rows: Floats) -> Floats:
        """Return the values that are rounded to integers, without the scales of rows, (rows, channels)."""
        return np.asarray((rows - self.centre) * self.factor, np.float32)

    def weights(self, weights: Floats) -> Floats:
        """Return the weights that the integers are multiplied by, (channels, outputs)."""
        scale = np.divide(1, self.factor, out=np.zeros_like(self.factor), where=self.kept)
        return np.asarray(weights * scale[:, None])

    def constant(self, weights: Floats) -> Floats:
        """Return the term to add to the product of each row, (outputs,)."""
        return np.asarray(self.centre @ weights)

    def product(self, rows: Floats, weights: Floats) -> Floats:
        """Return an estimate of the quantized product, (rows, outputs)."""
        integers = np.clip(np.rint(self.inputs(rows)), -128, 127)
        exact = rows[:, ~self.kept] @ weights[~self.kept]
        return np.asarray(integers @ rounded(self.weights(weights)) + self.constant(weights) + exact)

    def write(self, graph: Graph, name: str) -> Iterator[Any]:
        """Yield the nodes that compute `{name}.q8.inputs` from an input."""
        factor = graph.constant(f"{name}.q8.factor", self.factor)
        offset = graph.constant(f"{name}.q8.offset", -self.centre * self.factor)
        yield graph.node("Mul", [name, factor], f"{name}.q8.scaled")
        yield graph.node("Add", [f"{name}.q8.scaled", offset], f"{name}.q8.inputs")


@dataclass(frozen=True, slots=True)
class ByRow:
    """A scale for each row: the row's largest value.

    Attributes:
        kept: False for the channels that stay in float32, (channels,).
        zero_point: The zero point of the integers; it can be small if negative values are small.
        floor: The smallest scale of a row that does not clip the negative values of calibration. 0 if the scale is the
            largest magnitude, and the integers are symmetric.
    """

    kept: NDArray[np.bool_]
    zero_point: int
    floor: float
    scaled_rows = True

    @property
    def scale(self) -> float:
        return 1 / (255 - self.zero_point)

    @classmethod
    def fit(cls, rows: Floats, kept: NDArray[np.bool_]) -> "ByRow":
        """Fit to calibration rows, (rows, channels)."""
        values = rows[:, kept]
        lowest, largest = max(0.0, -float(values.min())), values.max(axis=1)
        candidates = [cls(kept, 128, 0)]
        if lowest * 4 <= largest.max():
            candidates += [
                cls(kept, zero, lowest * _MARGIN * (255 - zero) / max(zero, 1) or SMALLEST)
                for zero in _ZERO_POINTS
                if zero or not lowest
            ]
        return min(candidates, key=lambda item: float(np.square(item.scale * item.largest(rows)).mean()))

    def largest(self, rows: Floats) -> Floats:
        """Return the scale of each row, (rows, 1)."""
        values = rows * self.kept if self.floor else np.abs(rows * self.kept)
        return np.asarray(np.maximum(values.max(axis=1, keepdims=True), max(self.floor, SMALLEST)))

    def inputs(self, rows: Floats) -> Floats:
        """Return the values that are rounded to integers, without the scales of rows, (rows, channels)."""
        return np.asarray(rows * self.kept)

    def weights(self, weights: Floats) -> Floats:
        """Return the weights that the integers are multiplied by, (channels, outputs)."""
        return np.asarray(weights * self.kept[:, None])

    def constant(self, weights: Floats) -> Floats:
        """Return the term to add to the product of each row, (outputs,)."""
        return np.zeros(weights.shape[1], np.float32)

    def product(self, rows: Floats, weights: Floats) -> Floats:
        """Return an estimate of the quantized product, (rows, outputs)."""
        step = self.scale * self.largest(rows)
        integers = np.clip(np.rint(self.inputs(rows) / step), -self.zero_point, 255 - self.zero_point)
        exact = rows[:, ~self.kept] @ weights[~self.kept]
        return np.asarray(integers * step @ rounded(self.weights(weights)) + exact)

    def write(self, graph: Graph, name: str) -> Iterator[Any]:
        """Yield the nodes that compute `{name}.q8.inputs` and the rows' scales, `{name}.q8.largest`, from an input."""
        values = name
        if not self.kept.all():
            values = f"{name}.q8.kept"
            yield graph.node("Mul", [name, graph.constant(f"{name}.q8.mask", self.kept.astype(np.float32))], values)
        floor = graph.constant(f"{name}.q8.floor", np.array(max(self.floor, SMALLEST), np.float32))
        compared = values
        if not self.floor:
            compared = f"{name}.q8.magnitude"
            yield graph.node("Abs", [values], compared)
        yield graph.reduce_max(compared, f"{name}.q8.maximum")
        yield graph.node("Max", [f"{name}.q8.maximum", floor], f"{name}.q8.largest")
        yield graph.node("Div", [values, f"{name}.q8.largest"], f"{name}.q8.inputs")


Quantizer: TypeAlias = ByChannel | ByRow
"""Either quantizer: an input is about its integers, minus the zero point, times the scale, and times the row's scale if any."""


def without_outlier_channels(rows: Floats, weights: Floats, count: int) -> NDArray[np.bool_]:
    """Return which channels to keep: all but those with the largest product of range and weight.

    Args:
        rows: Calibration rows, (rows, channels).
        weights: The weights that multiply them, (channels, outputs).
        count: The number of channels to exclude.

    Returns:
        False for the excluded channels, (channels,).

    Source: Dettmers et al., "LLM.int8()", arXiv 2208.07339, which finds them anew in each batch.
    """
    reach = np.ptp(rows, axis=0) * np.abs(weights).max(axis=1)
    kept = np.ones(len(reach), np.bool_)
    kept[np.argsort(-reach, kind="stable")[:count]] = False
    return kept

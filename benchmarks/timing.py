"""What times come to: medians with quartiles, and ratios of what was measured in the same round."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

__all__ = ["ratio", "spread", "summary"]


def ratio(slow: Sequence[Sequence[float]], fast: Sequence[Sequence[float]]) -> float:
    """Return how many times faster the second is: the median over the rounds of each round's own ratio.

    Args:
        slow: For each round the times of its calls.
        fast: The same of another peer, in the same rounds.
    """
    return median(median(a) / median(b) for a, b in zip(slow, fast, strict=True))


def spread(times: Sequence[float]) -> dict[str, Any]:
    """Return the median and the quartiles of times, in their unit."""
    if len(times) < 2:
        return {"median": times[0], "quartiles": [times[0], times[0]]}
    lower, _, upper = quantiles(times, n=4, method="inclusive")
    return {"median": median(times), "quartiles": [lower, upper]}


def summary(rounds: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Return the figures of some peers on one input.

    Args:
        rounds: By peer, for each round the times of its calls in milliseconds.

    Returns:
        `ms`: by peer the median and quartiles of all its calls; `times_faster`: by peer, how many times faster it is than
        each other.
    """
    return {
        "ms": {name: spread([time for item in times for time in item]) for name, times in rounds.items()},
        "times_faster": {
            name: {other: ratio(rounds[other], times) for other in rounds if other != name}
            for name, times in rounds.items()
        },
    }

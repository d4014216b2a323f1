"""Statistics of times: medians with quartiles, and ratios of times from the same round."""

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

__all__ = ["ratio", "spread", "summary"]


def ratio(slow: Sequence[Sequence[float]], fast: Sequence[Sequence[float]]) -> float:
    """Return how many times faster the second peer is: the median of the ratios of all rounds.

    Args:
        slow: The times of the calls of a peer, by round.
        fast: The times of another peer in the same rounds.
    """
    return median(median(a) / median(b) for a, b in zip(slow, fast, strict=True))


def spread(times: Sequence[float]) -> dict[str, Any]:
    """Return the median and the quartiles of times, in the unit of the times."""
    if len(times) < 2:
        return {"median": times[0], "quartiles": [times[0], times[0]]}
    lower, _, upper = quantiles(times, n=4, method="inclusive")
    return {"median": median(times), "quartiles": [lower, upper]}


def summary(rounds: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Return the figures of peers on one input.

    Args:
        rounds: By peer, the times of its calls in each round, in milliseconds.

    Returns:
        `ms`: by peer, the median and the quartiles of all calls. `times_faster`: by peer, how many times faster it is than
        each other peer.
    """
    return {
        "ms": {name: spread([time for item in times for time in item]) for name, times in rounds.items()},
        "times_faster": {
            name: {peer: ratio(rounds[peer], times) for peer in rounds if peer != name}
            for name, times in rounds.items()
        },
    }

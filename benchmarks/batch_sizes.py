"""A quick search for the best batch size of a peer, before the measurement."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contest import Contest
from benchmarks.timing import spread

__all__ = ["BATCH_SIZES", "best_batch_sizes", "texts_per_second"]

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_SEARCH_SIZES = (1, 8, 16, 32, 64)


def best_batch_sizes(
    contest: Contest, names: Sequence[str], texts: list[str], *, sizes: Sequence[int] = _SEARCH_SIZES
) -> tuple[dict[str, int | None], dict[str, dict[str, float]]]:
    """Find the best batch size of each peer.

    Args:
        contest: The peers.
        names: The names of the peers to search for.
        texts: A part of the texts of the measurement.
        sizes: The sizes to try. A size above the number of texts is skipped.

    Returns:
        The best size by peer, and the texts per second by peer and size.
    """
    found: dict[str, dict[str, float]] = {}
    print(f"  searching for the best batch sizes on {len(texts)} texts", flush=True)
    for size in (size for size in sizes if size <= len(texts)):
        present = [name for name in names if name in contest]
        rounds = contest.rounds(
            [texts], rounds=1, warm_up=[texts[:8]], names=present, batch_sizes=dict.fromkeys(present, size)
        )
        for name, rate in texts_per_second(rounds, len(texts)).items():
            found.setdefault(name, {})[str(size)] = rate["median"]
    return {name: int(max(rates, key=rates.__getitem__)) for name, rates in found.items()}, found


def texts_per_second(rounds: Mapping[str, Sequence[Sequence[float]]], texts: int) -> dict[str, Any]:
    """Return the median and the quartiles of the rate, by peer.

    Args:
        rounds: By peer, the times of its calls in each round, in milliseconds.
        texts: The number of texts in a call.
    """
    return {
        name: spread([1000 * texts / ms for times in peer_rounds for ms in times])
        for name, peer_rounds in rounds.items()
    }

"""The batch size that serves a peer best: a quick search before it is measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contest import Contest
from benchmarks.timing import spread

__all__ = ["BATCH_SIZES", "best", "texts_a_second"]

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_SEARCHED = (1, 8, 16, 32, 64)


def best(
    contest: Contest, names: Sequence[str], texts: list[str], *, sizes: Sequence[int] = _SEARCHED
) -> tuple[dict[str, int | None], dict[str, dict[str, float]]]:
    """Find each peer's best batch size.

    Args:
        contest: Where the peers are.
        names: Whose to look for.
        texts: A part of what will be measured.
        sizes: What to try; a size above the number of texts is left out.

    Returns:
        By peer the best size, and by peer and size the texts a second.
    """
    found: dict[str, dict[str, float]] = {}
    print(f"  looking for the best batch sizes on {len(texts)} texts", flush=True)
    for size in (size for size in sizes if size <= len(texts)):
        present = [name for name in names if name in contest]
        rounds = contest.rounds(
            [texts], rounds=1, warm_up=[texts[:8]], names=present, batch_sizes=dict.fromkeys(present, size)
        )
        for name, rate in texts_a_second(rounds, len(texts)).items():
            found.setdefault(name, {})[str(size)] = rate["median"]
    return {name: int(max(rates, key=rates.__getitem__)) for name, rates in found.items()}, found


def texts_a_second(rounds: Mapping[str, Sequence[Sequence[float]]], texts: int) -> dict[str, Any]:
    """Return by peer the median and quartiles of its rate.

    Args:
        rounds: By peer, for each round the times in milliseconds of its calls with all the texts.
        texts: How many there are in a call.
    """
    return {name: spread([1000 * texts / time for item in times for time in item]) for name, times in rounds.items()}

"""Several models in one process: how much the others slow the busy one."""

from typing import Any

from benchmarks.contest import Contest
from benchmarks.one_text import by_length
from benchmarks.peers import Peer
from benchmarks.table import Table

OTHERS = 5
TOKENS = (16, 128)
DTYPES = ("fp32", "q8")

PEERS = tuple(
    Peer(
        name=f"torchless, {dtype}{suffix}",
        engine="torchless",
        model="distilbert-torchless",
        settings={"dtype": dtype, **settings},
    )
    for dtype in DTYPES
    for suffix, settings in (("", {}), (", five others called", {"others": OTHERS}))
)


def measure() -> dict[str, Any]:
    """Time a pipeline alone in its process, and one beside five others that are each called once before each of its calls."""
    with Contest(PEERS) as contest:
        return {
            "model": "DistilBERT-base's shape, random weights",
            "inputs": by_length(contest, "distilbert", TOKENS),
            "skipped": contest.skipped,
            "failed": contest.failed,
        }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the times alone and beside the others."""
    rows = []
    for dtype in DTYPES:
        for tokens, one in figures["inputs"].items():
            alone = f"torchless, {dtype}"
            beside = f"{alone}, five others called"
            if {alone, beside} <= one["ms"].keys():
                slower = one["times_faster"][alone][beside]
                times = (f"{one['ms'][name]['median']:.2f}" for name in (alone, beside))
                rows.append((f"{dtype}, {tokens} tokens", *times, f"{slower:.2f}×"))
    header = ("", "alone, ms", "beside five others, ms", "slower")
    return [Table(title="A busy model among others in one process", header=header, rows=rows)]

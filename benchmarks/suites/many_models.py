"""Several models in one process: how much the others slow the busy one."""

from typing import Any

from benchmarks.one_text import distilbert_by_length
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
    for suffix, settings in (
        ("", {}),
        (", five others idle", {"others": OTHERS}),
        (", five others called between", {"others": OTHERS, "call_others": True}),
    )
)


def measure() -> dict[str, Any]:
    """Time a pipeline alone in its process, beside five that are idle, and beside five called before each of its calls.

    Those that are called leave no thread at work, but other weights in the CPU's caches.
    """
    return distilbert_by_length(PEERS, TOKENS)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the times alone and beside the others."""
    rows = []
    for dtype in DTYPES:
        for tokens, item in figures["inputs"].items():
            names = [peer.name for peer in PEERS if peer.name.startswith(f"torchless, {dtype}")]
            if set(names) <= item["ms"].keys():
                slower = (item["times_faster"][names[0]].get(name, 1.0) for name in names)
                times = (item["ms"][name]["median"] for name in names)
                cells = (f"{ms:.2f} ({ratio:.2f}×)" for ms, ratio in zip(times, slower, strict=True))
                rows.append((f"{dtype}, {tokens} tokens", *cells))
    header = ("", "alone, ms", "five others idle", "five others called between")
    return [Table(title="A busy model among others in one process", header=header, rows=rows)]

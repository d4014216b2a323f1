"""Several models in one process: how much idle models slow down a busy model."""

from typing import Any

from benchmarks.peers import Peer
from benchmarks.single_text import distilbert_by_length
from benchmarks.table import Table

EXTRA_PIPELINES = 5
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
        (", five others idle", {"extra_pipelines": EXTRA_PIPELINES}),
        (", five others called between", {"extra_pipelines": EXTRA_PIPELINES, "call_extra": True}),
    )
)


def measure() -> dict[str, Any]:
    """Time a pipeline alone in its process, with five idle pipelines, and with five that are called before each of its calls.

    A called pipeline keeps no thread busy, but its weights are then in the CPU caches.
    """
    return distilbert_by_length(PEERS, TOKENS)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the table of times alone and with the other pipelines."""
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
    return [Table(title="A busy model with five other models in one process", header=header, rows=rows)]

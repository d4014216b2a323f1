"""A fresh process each time: how long from the first import to the first answer, in how much memory, and how much to install."""

from typing import Any

from benchmarks.checkpoints import CheckpointError
from benchmarks.installed import installed_bytes
from benchmarks.peers import Peer, PeerError, Process, ours
from benchmarks.table import Table
from benchmarks.timing import spread, summary

ROUNDS = 7
TEXT = "I've been waiting for a HuggingFace course my whole life."

PEERS = (
    Peer(name="transformers.pipeline", engine="transformers_pipeline", model="distilbert"),
    *ours("distilbert-torchless"),
)
INSTALLED = {"torchless": ("torchless",), "transformers.pipeline": ("torch", "transformers")}


def measure() -> dict[str, Any]:
    """Start each peer anew, in turns; the first round, which warms the disk, is not measured."""
    absences = {peer.name: peer.absence() for peer in PEERS}
    skipped = {name: absence for name, absence in absences.items() if absence}
    failed: dict[str, str] = {}
    present = [peer for peer in PEERS if peer.name not in skipped]
    times: dict[str, list[list[float]]] = {peer.name: [] for peer in present}
    peaks: dict[str, list[float]] = {peer.name: [] for peer in present}
    for number in range(ROUNDS + 1):
        print(f"  round {number} of {ROUNDS}", flush=True)
        for peer in present:
            if peer.name in failed:
                continue
            try:
                milliseconds, peak = _first_answer(peer)
            except (CheckpointError, PeerError) as error:
                failed[peer.name] = str(error)
                del times[peer.name], peaks[peer.name]
                print(f"  {peer.name} failed: {error}", flush=True)
                continue
            if number:
                times[peer.name].append([milliseconds])
                peaks[peer.name].append(peak)
    found = summary(times)
    memory = {name: spread(each) for name, each in peaks.items()}
    return {
        "model": "DistilBERT-base's shape, random weights",
        "inputs": {
            "first_answer": {
                **found,
                "seconds": {name: spread([item / 1000 for (item,) in each]) for name, each in times.items()},
            }
        },
        "peak_bytes": memory,
        "peak_memory_of": {
            name: {other: memory[name]["median"] / memory[other]["median"] for other in memory if other != name}
            for name in memory
        },
        "installed": _installed(),
        "skipped": skipped,
        "failed": failed,
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return seconds and memory by peer, and the installed sizes."""
    item, rows = figures["inputs"]["first_answer"], []
    for name, seconds in item["seconds"].items():
        times = item["times_faster"][name].get(PEERS[0].name)
        share = figures["peak_memory_of"][name].get(PEERS[0].name)
        rows.append(
            (
                name,
                "{:.2f} ({:.2f}–{:.2f})".format(seconds["median"], *seconds["quartiles"]),
                "–" if times is None else f"{times:.1f}×",
                f"{figures['peak_bytes'][name]['median'] / 1e6:.0f}",
                "–" if share is None else f"{share:.0%}",
            )
        )
    sizes = figures["installed"]["bytes"]
    installed = [(name, "–" if size is None else f"{size / 1e6:.0f}") for name, size in sizes.items()]
    header = ("", "seconds to the first answer", "times faster", "peak memory, MB", "of PyTorch's")
    return [
        Table(title="A fresh process, from import to first answer", header=header, rows=rows),
        Table(title="What pip installs", header=("", "MB"), rows=installed),
    ]


def _first_answer(peer: Peer) -> tuple[float, float]:
    """Return the milliseconds from before the first import to the first answer, and the peak of memory in bytes."""
    with Process(peer.command()) as process:
        (milliseconds,) = process.times_ms([TEXT])
        return process.load_ms + milliseconds, process.peak_bytes


def _installed() -> dict[str, Any]:
    sizes = {name: installed_bytes(packages) for name, packages in INSTALLED.items()}
    ours, theirs = sizes["torchless"], sizes["transformers.pipeline"]
    return {"bytes": sizes, **({"torchless_of_pytorch": ours / theirs} if ours and theirs else {})}

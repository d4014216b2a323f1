"""Cold start in a new process: the time from the first import to the first answer, the memory, and the installed size."""

from typing import Any

from benchmarks.checkpoints import ConversionError
from benchmarks.installed import installed_bytes
from benchmarks.peers import Peer, PeerError, Process, torchless_peers
from benchmarks.table import Table
from benchmarks.timing import spread, summary

ROUNDS = 7
TEXT = "I've been waiting for a HuggingFace course my whole life."

PEERS = (
    Peer(name="transformers.pipeline", engine="transformers_pipeline", model="distilbert"),
    *torchless_peers("distilbert-torchless"),
)
INSTALLED = {"torchless": ("torchless",), "transformers.pipeline": ("torch", "transformers")}


def measure() -> dict[str, Any]:
    """Start a new process of each peer, in turns. The first round fills the disk cache and is not measured."""
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
            except (ConversionError, PeerError) as error:
                failed[peer.name] = str(error)
                del times[peer.name], peaks[peer.name]
                print(f"  {peer.name} failed: {error}", flush=True)
                continue
            if number:
                times[peer.name].append([milliseconds])
                peaks[peer.name].append(peak)
    found = summary(times)
    memory = {name: spread(peer_peaks) for name, peer_peaks in peaks.items()}
    return {
        "model": "DistilBERT-base's shape, random weights",
        "inputs": {
            "first_answer": {
                **found,
                "seconds": {name: spread([ms / 1000 for (ms,) in rounds]) for name, rounds in times.items()},
            }
        },
        "peak_bytes": memory,
        "peak_memory_ratio": {
            name: {peer: memory[name]["median"] / memory[peer]["median"] for peer in memory if peer != name}
            for name in memory
        },
        "installed": _installed(),
        "skipped": skipped,
        "failed": failed,
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the tables of seconds and memory by peer, and of the installed sizes."""
    item, rows = figures["inputs"]["first_answer"], []
    for name, seconds in item["seconds"].items():
        times = item["times_faster"][name].get(PEERS[0].name)
        share = figures["peak_memory_ratio"][name].get(PEERS[0].name)
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
    header = ("", "seconds to the first answer", "times faster", "peak memory, MB", "relative to PyTorch")
    return [
        Table(title="A new process, from the import to the first answer", header=header, rows=rows),
        Table(title="Installed size", header=("", "MB"), rows=installed),
    ]


def _first_answer(peer: Peer) -> tuple[float, float]:
    """Return the milliseconds from the first import to the first answer, and the peak memory in bytes."""
    with Process(peer.command()) as process:
        (milliseconds,) = process.times_ms([TEXT])
        return process.load_ms + milliseconds, process.peak_bytes


def _installed() -> dict[str, Any]:
    sizes = {name: installed_bytes(packages) for name, packages in INSTALLED.items()}
    torchless, pytorch = sizes["torchless"], sizes["transformers.pipeline"]
    return {"bytes": sizes, **({"torchless_to_pytorch": torchless / pytorch} if torchless and pytorch else {})}

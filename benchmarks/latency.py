"""One text at a time: how long until its answer."""

from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from rich.table import Table

from benchmarks.checkpoints import distilbert_base
from benchmarks.peers import Peer, load_pytorch, load_torchless

SIXTEEN_TOKENS = "I've been waiting for a HuggingFace course my whole life."
ROUNDS = 20
CALLS_A_ROUND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The calls of one peer, in milliseconds, round by round."""

    peer: str
    rounds_ms: list[list[float]]

    @property
    def p50_ms(self) -> float:
        return median(time for one in self.rounds_ms for time in one)

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        lower, _, upper = quantiles([time for one in self.rounds_ms for time in one], n=4)
        return lower, upper


def measure() -> list[Latency]:
    """Time 16 tokens through PyTorch and through torchless, in turns."""
    checkpoint, exported = distilbert_base()
    with Peer("transformers.pipeline, PyTorch", load_pytorch, checkpoint) as pytorch, \
            Peer("torchless, fp32", load_torchless, exported) as ours:  # fmt: skip
        peers = (pytorch, ours)
        print("Warming up", flush=True)
        for peer in peers:
            peer.times_ms(SIXTEEN_TOKENS, CALLS_A_ROUND)
        print(f"Measuring {ROUNDS} rounds of {CALLS_A_ROUND} calls each, in turns", flush=True)
        rounds = [[peer.times_ms(SIXTEEN_TOKENS, CALLS_A_ROUND) for peer in peers] for _ in range(ROUNDS)]
    return [Latency(peer=peer.name, rounds_ms=[one[index] for one in rounds]) for index, peer in enumerate(peers)]


def ratio(slow: Latency, fast: Latency) -> float:
    """Return how many times faster the second is: the median over the rounds of each round's own ratio."""
    return median(median(a) / median(b) for a, b in zip(slow.rounds_ms, fast.rounds_ms, strict=True))


def report(latencies: list[Latency]) -> tuple[dict[str, Any], list[Table]]:
    """Return the figures for the file, and the tables for the screen."""
    reference = latencies[0]
    table = Table("one text of 16 tokens", "p50 ms", "quartiles ms", "faster")
    figures = {}
    for latency in latencies:
        lower, upper = latency.quartiles_ms
        times = ratio(reference, latency)
        table.add_row(latency.peer, f"{latency.p50_ms:.2f}", f"{lower:.2f} to {upper:.2f}", f"{times:.2f}×")
        figures[latency.peer] = {"p50_ms": latency.p50_ms, "quartiles_ms": [lower, upper], "times_faster": times}
    return {"model": "DistilBERT-base shape, random weights", "tokens": 16, "peers": figures}, [table]

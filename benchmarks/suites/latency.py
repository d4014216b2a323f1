"""Latency of a single text, by its length."""

from typing import Any

from benchmarks.peers import Peer, torchless_peers
from benchmarks.single_text import distilbert_by_length
from benchmarks.table import Table

TOKENS = (16, 64, 128, 256)

PEERS = (
    Peer(name="transformers.pipeline", engine="transformers_pipeline", model="distilbert"),
    Peer(
        name="transformers.pipeline, bf16",
        engine="transformers_pipeline",
        model="distilbert",
        settings={"dtype": "bfloat16"},
    ),
    Peer(
        name="transformers.pipeline, torch.compile",
        engine="transformers_pipeline",
        model="distilbert",
        settings={"compiled": True},
    ),
    Peer(name="optimum, fp32", engine="optimum", model="distilbert-optimum", settings={"file_name": "model.onnx"}),
    Peer(
        name="optimum, int8",
        engine="optimum",
        model="distilbert-optimum",
        settings={"file_name": "model_quantized.onnx"},
    ),
    Peer(
        name="transformers.js, q8",
        engine="transformers_js",
        model="distilbert-transformers-js",
        settings={"dtype": "q8"},
    ),
    Peer(name="OpenVINO, int8", engine="openvino", model="distilbert-openvino"),
    *torchless_peers("distilbert-torchless"),
)


def measure() -> dict[str, Any]:
    """Time each peer on one text of each length, in turns."""
    return distilbert_by_length(PEERS, TOKENS)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the tables of times by length, and of ratios to the reference."""
    inputs = figures["inputs"]
    return [
        Table(
            title="Milliseconds per text: median (quartiles)",
            header=("", *(f"{tokens} tokens" for tokens in inputs)),
            rows=[(peer.name, *(_time(item, peer.name) for item in inputs.values())) for peer in PEERS],
        ),
        Table(
            title="Times faster than transformers.pipeline",
            header=("", *(f"{tokens} tokens" for tokens in inputs)),
            rows=[(peer.name, *(_times(item, peer.name) for item in inputs.values())) for peer in PEERS[1:]],
        ),
    ]


def _time(figures: dict[str, Any], name: str) -> str:
    if name not in figures["ms"]:
        return "–"
    item = figures["ms"][name]
    return "{:.2f} ({:.2f}–{:.2f})".format(item["median"], *item["quartiles"])


def _times(figures: dict[str, Any], name: str) -> str:
    times = figures["times_faster"].get(name, {}).get(PEERS[0].name)
    return "–" if times is None else f"{times:.2f}×"

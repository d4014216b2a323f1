"""8-bit quantization: time and accuracy of torchless's q8, ONNX Runtime's dynamic int8 and OpenVINO's int8."""

from typing import Any

import numpy as np

from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer, torchless_peers
from benchmarks.single_text import by_length
from benchmarks.table import Table
from torchless_export.sample import sample_texts

TOKENS = (16, 64, 128)
SHAPES = {"MiniLM-L6": "sentiment", "DistilBERT-base": "distilbert"}
GRAPHS = {
    "torchless, int8": "model_int8.onnx",
    "torchless, q8": "model_quantized.onnx",
    "torchless, fp32": "model.onnx",
    "OpenVINO, int8": "model.bin",
}
EXACT, INT8, OPENVINO = "torchless, fp32", "torchless, int8", "OpenVINO, int8"


def peers(model: str) -> tuple[Peer, ...]:
    """Return the peers of a model."""
    openvino = Peer(name=OPENVINO, engine="openvino", model=f"{model}-openvino")
    return (*torchless_peers(f"{model}-torchless", ("int8", "q8", "fp32")), openvino)


def measure() -> dict[str, Any]:
    """Time each dtype in turns on two shapes, and compare the answers of a real model with fp32."""
    shapes: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for shape, model in SHAPES.items():
        print(f"  {shape}", flush=True)
        with Contest(peers(model)) as contest:
            shapes[shape] = by_length(contest, f"{model}-torchless", TOKENS)
            if model == "sentiment":
                answers = _answers(contest)
            skipped |= contest.skipped
            failed |= contest.failed
    return {"shapes": shapes, "answers": answers, "skipped": skipped, "failed": failed}


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the tables of times by shape, and of the differences of answers."""
    rows = []
    for shape, by_tokens in figures["shapes"].items():
        for peer in peers(SHAPES[shape]):
            cells = (_time(item, peer.name) for item in by_tokens.values())
            rows.append((f"{shape}: {peer.name}", *cells))
    times = Table(
        title="Milliseconds per text (relative to int8 in the same rounds)",
        header=("", *(f"{tokens} tokens" for tokens in TOKENS)),
        rows=rows,
    )
    answers = Table(
        title="Answers of the sentiment model to 1,000 texts, compared with fp32",
        header=("", "labels agree", "mean |Δp|", "max |Δp|", "max |Δp| in batches of 8", "size relative to fp32"),
        rows=[
            (
                name,
                f"{item['agreement']:.1%}",
                f"{item['mean_abs_diff']:.4f}",
                f"{item['max_abs_diff']:.3f}",
                "–" if item["batched_max_abs_diff"] is None else f"{item['batched_max_abs_diff']:.3g}",
                f"{item['size_ratio']:.0%}",
            )
            for name, item in figures["answers"].items()
        ],
    )
    return [times, answers]


def _time(figures: dict[str, Any], name: str) -> str:
    if name not in figures["ms"]:
        return "–"
    ratio = 1.0 if name == INT8 else figures["times_faster"].get(INT8, {}).get(name)
    median = figures["ms"][name]["median"]
    return f"{median:.2f}" if ratio is None else f"{median:.2f} ({ratio:.2f}×)"


def _answers(contest: Contest) -> dict[str, Any]:
    """Return the differences to the probabilities of fp32 by peer, for single texts and for unsorted batches of 8."""
    texts = sample_texts()
    batches = [texts[start : start + 8] for start in range(0, len(texts), 8)]
    alone = {name: _probabilities(contest.answers(name, texts, batch_size=1)) for name in [*contest]}
    batched = {name: _probabilities(contest.answers(name, batches, batch_size=8)) for name in alone if name != OPENVINO}
    exact = alone.get(EXACT)
    if exact is None:
        return {}
    fp32_bytes = _weights(EXACT).stat().st_size
    found: dict[str, Any] = {}
    for name, scores in alone.items():
        if scores is None:
            continue
        batched_scores = batched.get(name)
        found[name] = {
            "agreement": float(((scores > 0.5) == (exact > 0.5)).mean()),
            "mean_abs_diff": float(np.abs(scores - exact).mean()),
            "max_abs_diff": float(np.abs(scores - exact).max()),
            "batched_max_abs_diff": None if batched_scores is None else float(np.abs(scores - batched_scores).max()),
            "size_ratio": _weights(name).stat().st_size / fp32_bytes,
        }
    if {"torchless, q8", OPENVINO} <= found.keys():
        difference = found["torchless, q8"]["agreement"] - found[OPENVINO]["agreement"]
        found["torchless, q8"]["agreement_above_openvino"] = round(difference, 6)
    return found


def _probabilities(answers: list[Any] | None) -> Any:
    """Return the probability of the label POSITIVE for each text, shape (texts,)."""
    if answers is None:
        return None
    flat = [item for answer in answers for item in answer]
    return np.array([item["score"] if item["label"] == "POSITIVE" else 1 - item["score"] for item in flat])


def _weights(name: str) -> Any:
    if name == OPENVINO:
        return checkpoint("sentiment-openvino") / GRAPHS[name]
    return checkpoint("sentiment-torchless") / "onnx" / GRAPHS[name]

"""What 8 bits cost and save: torchless's q8 beside ONNX Runtime's dynamic int8, in time and in answers."""

from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.checkpoints import distilbert_base, sentiment
from benchmarks.peers import Peer, load_torchless
from torchless import pipeline
from torchless_export.sample import sample_texts

DTYPES = ("int8", "q8", "fp32")
TOKENS = (16, 64, 128)
ROUNDS = 15
CALLS_A_ROUND = 10


def measure() -> dict[str, Any]:
    """Time each dtype in turns on two shapes, and count what the answers of a real model come to."""
    _, distilbert = distilbert_base(DTYPES)
    minilm = sentiment(DTYPES)
    return {
        "times": {"MiniLM-L6": _times(minilm), "DistilBERT-base": _times(distilbert)},
        "answers": _answers(minilm),
    }


def report(figures: dict[str, Any]) -> tuple[dict[str, Any], list[Table]]:
    """Return the figures for the file, and the tables for the screen."""
    times = Table("ms a text (of int8's, in the same rounds)", *(f"{tokens} tokens" for tokens in TOKENS))
    for shape, by_dtype in figures["times"].items():
        for dtype in DTYPES:
            cells = (f"{one['p50_ms']:.2f} ({one['of_int8']:.2f}×)" for one in by_dtype[dtype])
            times.add_row(f"{shape}, {dtype}", *cells)
    answers = Table(
        "1,000 texts against fp32", "labels agree", "mean |Δp|", "max |Δp|", "in batches of 8, |Δp|", "size"
    )
    for dtype, one in figures["answers"].items():
        answers.add_row(
            dtype,
            f"{one['agreement']:.1%}",
            f"{one['mean_abs_diff']:.4f}",
            f"{one['max_abs_diff']:.3f}",
            f"{one['batched_max_abs_diff']:.3g}",
            f"{one['size_of_fp32']:.0%}",
        )
    return figures, [times, answers]


def _times(folder: Path) -> dict[str, list[dict[str, float]]]:
    peers = [Peer(dtype, partial(load_torchless, dtype=dtype), folder) for dtype in DTYPES]
    found: dict[str, list[dict[str, float]]] = {dtype: [] for dtype in DTYPES}
    for tokens in TOKENS:
        text = " ".join(["film"] * (tokens - 2))  # a token a word, and the two that frame a text
        for peer in peers:
            peer.times_ms(text, CALLS_A_ROUND)
        rounds = [[peer.times_ms(text, CALLS_A_ROUND) for peer in peers] for _ in range(ROUNDS)]
        for index, peer in enumerate(peers):
            found[peer.name].append(
                {
                    "p50_ms": median(time for one in rounds for time in one[index]),
                    "of_int8": median(median(one[index]) / median(one[0]) for one in rounds),
                }
            )
    for peer in peers:
        peer.__exit__()
    return found


def _answers(folder: Path) -> dict[str, dict[str, float]]:
    texts = sample_texts()
    alone, batched = (
        {dtype: _scores(pipeline("text-classification", folder, dtype=dtype), texts, size) for dtype in DTYPES}
        for size in (1, 8)
    )
    exact, fp32_bytes = alone["fp32"], (folder / "onnx" / "model.onnx").stat().st_size
    names = {"int8": "model_int8.onnx", "q8": "model_quantized.onnx", "fp32": "model.onnx"}
    return {
        dtype: {
            "agreement": float(((scores > 0.5) == (exact > 0.5)).mean()),
            "mean_abs_diff": float(np.abs(scores - exact).mean()),
            "max_abs_diff": float(np.abs(scores - exact).max()),
            "batched_max_abs_diff": float(np.abs(scores - batched[dtype]).max()),
            "size_of_fp32": (folder / "onnx" / names[dtype]).stat().st_size / fp32_bytes,
        }
        for dtype, scores in alone.items()
    }


def _scores(pipe: Any, texts: list[str], batch_size: int) -> Any:
    """Return the probability of the label POSITIVE for each text, (texts,)."""
    batches = (texts[start : start + batch_size] for start in range(0, len(texts), batch_size))
    answers = [answer for batch in batches for answer in pipe(batch, top_k=None, batch_size=batch_size)]
    return np.array([next(one["score"] for one in labels if one["label"] == "POSITIVE") for labels in answers])

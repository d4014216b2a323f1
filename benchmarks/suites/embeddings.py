"""Embeddings of sentences by all-MiniLM-L6-v2: how many a second."""

from typing import Any

import numpy as np

from benchmarks.batch_sizes import best, texts_a_second
from benchmarks.contest import Contest
from benchmarks.peers import Peer, ours
from benchmarks.table import Table
from benchmarks.texts import short_texts
from benchmarks.timing import summary

ROUNDS = 5
WARM_UP_TEXTS = 64
SEARCHED_ON = 512
COMPARED = 200

THEIRS = (
    Peer(name="sentence-transformers", engine="sentence_transformers", model="embeddings"),
    Peer(
        name="sentence-transformers, bf16",
        engine="sentence_transformers",
        model="embeddings",
        settings={"dtype": "bfloat16"},
    ),
    Peer(
        name="sentence-transformers, ONNX",
        engine="sentence_transformers",
        model="embeddings-onnx",
        settings={"backend": "onnx", "file_name": "model.onnx"},
    ),
    Peer(
        name="sentence-transformers, ONNX int8",
        engine="sentence_transformers",
        model="embeddings-onnx",
        settings={"backend": "onnx", "file_name": "model_qint8_avx512_vnni.onnx"},
    ),
)
_EMBEDS = {"task": "feature-extraction", "pooling": "auto", "return_tensors": "np"}
OURS = ours("embeddings-torchless", **_EMBEDS)
# By what may differ from PyTorch in fp32: the cosine of an embedding and the reference's.
LEAST_COSINE = {"fp32": 0.99999, "other": 0.95}


def measure() -> dict[str, Any]:
    """Compare the peers' embeddings, then time them in turns, sentence-transformers at its best batch size."""
    sentences = short_texts()
    with Contest((*THEIRS, *OURS)) as contest:
        cosines = _cosines(contest, sentences[:COMPARED])
        sizes, searched = best(contest, [peer.name for peer in THEIRS], sentences[:SEARCHED_ON])
        print(f"  {len(sentences)} sentences: {ROUNDS} rounds", flush=True)
        rounds = contest.rounds([sentences], rounds=ROUNDS, warm_up=[sentences[:WARM_UP_TEXTS]], batch_sizes=sizes)
        return {
            "model": "all-MiniLM-L6-v2",
            "inputs": {
                "sentences": {
                    **summary(rounds),
                    "texts": len(sentences),
                    "texts_a_second": texts_a_second(rounds, len(sentences)),
                    "batch_sizes": sizes,
                    "searched": searched,
                }
            },
            "least_cosine": cosines,
            "skipped": contest.skipped,
            "failed": contest.failed,
        }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return sentences a second, and how near the embeddings are."""
    item = figures["inputs"]["sentences"]
    rows = []
    for name, rate in item["texts_a_second"].items():
        times = item["times_faster"][name].get(THEIRS[0].name)
        cosine = figures["least_cosine"].get(name)
        rows.append(
            (
                name,
                str(item["batch_sizes"].get(name) or "its own"),
                "{:.0f} ({:.0f}–{:.0f})".format(rate["median"], *rate["quartiles"]),
                "–" if times is None else f"{times:.2f}×",
                "–" if cosine is None else f"{cosine:.5f}",
            )
        )
    header = ("", "batch size", "sentences a second", "times faster", "least cosine")
    return [Table(title=f"Embeddings of {item['texts']:,} sentences", header=header, rows=rows)]


def _cosines(contest: Contest, sentences: list[str]) -> dict[str, float]:
    """Return by peer the least cosine of its embeddings and those of sentence-transformers on PyTorch."""
    reference = contest.answers(THEIRS[0].name, [sentences])
    found: dict[str, float] = {}
    if reference is None:
        return found
    for name in [*contest]:
        answers = contest.answers(name, [sentences])
        if answers is None:
            continue
        found[name] = float((_unit(answers[0]) * _unit(reference[0])).sum(axis=1).min())
        if found[name] < LEAST_COSINE["other" if name.endswith(("8", "bf16")) else "fp32"]:
            contest.exclude(name, f"its embeddings are others: a cosine of {found[name]:.5f}")
    return found


def _unit(rows: Any) -> Any:
    array = np.asarray(rows, np.float64)  # (texts, hidden)
    return array / np.linalg.norm(array, axis=1, keepdims=True)

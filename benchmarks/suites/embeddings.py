"""Sentence embeddings per second by all-MiniLM-L6-v2."""

from typing import Any

import numpy as np

from benchmarks.batch_sizes import best_batch_sizes, texts_per_second
from benchmarks.contest import Contest
from benchmarks.peers import Peer, torchless_peers
from benchmarks.table import Table
from benchmarks.texts import short_texts
from benchmarks.timing import summary

ROUNDS = 5
WARM_UP_TEXTS = 64
SEARCH_TEXTS = 512
COMPARED = 200

SENTENCE_TRANSFORMERS = (
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
_OPTIONS = {"task": "feature-extraction", "pooling": "auto", "return_tensors": "np"}
OURS = torchless_peers("embeddings-torchless", **_OPTIONS)
# The smallest allowed cosine between an embedding and that of PyTorch in fp32.
MIN_COSINE = {"fp32": 0.99999, "reduced": 0.95}


def measure() -> dict[str, Any]:
    """Compare the embeddings of the peers, then time the peers in turns, sentence-transformers at its best batch size."""
    sentences = short_texts()
    with Contest((*SENTENCE_TRANSFORMERS, *OURS)) as contest:
        cosines = _cosines(contest, sentences[:COMPARED])
        sizes, searched = best_batch_sizes(
            contest, [peer.name for peer in SENTENCE_TRANSFORMERS], sentences[:SEARCH_TEXTS]
        )
        print(f"  {len(sentences)} sentences: {ROUNDS} rounds", flush=True)
        rounds = contest.rounds([sentences], rounds=ROUNDS, warm_up=[sentences[:WARM_UP_TEXTS]], batch_sizes=sizes)
        return {
            "model": "all-MiniLM-L6-v2",
            "inputs": {
                "sentences": {
                    **summary(rounds),
                    "texts": len(sentences),
                    "texts_per_second": texts_per_second(rounds, len(sentences)),
                    "batch_sizes": sizes,
                    "searched": searched,
                }
            },
            "min_cosine": cosines,
            "skipped": contest.skipped,
            "failed": contest.failed,
        }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the table of sentences per second, and of the smallest cosines."""
    item = figures["inputs"]["sentences"]
    rows = []
    for name, rate in item["texts_per_second"].items():
        times = item["times_faster"][name].get(SENTENCE_TRANSFORMERS[0].name)
        cosine = figures["min_cosine"].get(name)
        rows.append(
            (
                name,
                str(item["batch_sizes"].get(name) or "automatic"),
                "{:.0f} ({:.0f}–{:.0f})".format(rate["median"], *rate["quartiles"]),
                "–" if times is None else f"{times:.2f}×",
                "–" if cosine is None else f"{cosine:.5f}",
            )
        )
    header = ("", "batch size", "sentences per second", "times faster", "smallest cosine")
    return [Table(title=f"Embeddings of {item['texts']:,} sentences", header=header, rows=rows)]


def _cosines(contest: Contest, sentences: list[str]) -> dict[str, float]:
    """Return the smallest cosine between the embeddings of a peer and of sentence-transformers on PyTorch, by peer."""
    reference = contest.answers(SENTENCE_TRANSFORMERS[0].name, [sentences])
    found: dict[str, float] = {}
    if reference is None:
        return found
    for name in [*contest]:
        answers = contest.answers(name, [sentences])
        if answers is None:
            continue
        found[name] = float((_unit(answers[0]) * _unit(reference[0])).sum(axis=1).min())
        if found[name] < MIN_COSINE["reduced" if name.endswith(("8", "bf16")) else "fp32"]:
            contest.exclude(name, f"its embeddings differ from those of PyTorch: the cosine is {found[name]:.5f}")
    return found


def _unit(rows: Any) -> Any:
    array = np.asarray(rows, np.float64)  # (texts, hidden)
    return array / np.linalg.norm(array, axis=1, keepdims=True)

"""Soak test: requests of every kind to one server. It compares the memory at the end with the memory after the warm-up."""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.checkpoints import checkpoint
from benchmarks.load import Load, LoadError, Post
from benchmarks.memory import resident_bytes_of
from benchmarks.servers import running
from benchmarks.table import Table
from benchmarks.texts import long_texts, short_texts

CONNECTIONS = 32
REQUESTS = 100_000
SAMPLE_EVERY = 1000
WARM, END = (0.2, 0.3), (0.9, 1.0)  # the ranges of requests whose memory samples are compared
MAX_WORDS = 320  # about 400 tokens
NAME = "torchless, q8, served"

# Percentages of the requests. The remaining requests have a single short text.
ATTACKS = 5
_LONG, _SEVERAL, _MALFORMED, _DISCONNECTING = 4, 3, 2, 2
_SHORT_TEXTS = 1_000


def measure() -> dict[str, Any]:
    """Send requests to a server of two models and sample its memory. Skip if the system does not report the memory."""
    models = [f"{name}={checkpoint(f'{name}-torchless')}" for name in ("sentiment", "embeddings")]
    print(f"  {REQUESTS:,} requests over {CONNECTIONS} connections", flush=True)
    figures: dict[str, Any] = {"model": "all-MiniLM-L6-v2: sentiment and embeddings, q8", "skipped": {}, "failed": {}}
    try:
        return figures | run_soak(models, requests=REQUESTS, sample_every=SAMPLE_EVERY, attacks=ATTACKS)
    except FileNotFoundError as error:
        return figures | {"skipped": {NAME: f"{error.filename} does not exist"}}
    except LoadError as error:
        return figures | {"failed": {NAME: str(error)}}


def run_soak(models: Sequence[str], *, requests: int, sample_every: int, attacks: int = 0) -> dict[str, Any]:
    """Send requests to a server and return the figures.

    Args:
        models: The models to serve: `sentiment=FOLDER` and `embeddings=FOLDER`, both with q8.
        requests: The number of requests.
        sample_every: The number of requests between two memory samples. No request runs during a sample.
        attacks: The percentage of requests that try to cost much.

    Returns:
        `resident_bytes`, the memory samples; `growth`, the median at the end divided by the median after the warm-up; and
        `requests_per_second`.

    Raises:
        FileNotFoundError: The system does not report the memory of another process.
        LoadError: An answer does not have the expected status.
    """
    posts = mixed_posts(attacks=attacks)
    samples = []
    with (
        running(*models, "--dtype", "q8", "--log-format", "none") as (port, process),
        Load(port, connections=CONNECTIONS) as load,
    ):
        start = perf_counter()
        for _ in range(requests // sample_every):
            load.bodies(islice(posts, sample_every), count=sample_every)
            samples.append(resident_bytes_of(process))
        took_s = perf_counter() - start
    return {
        "requests": requests,
        "resident_bytes": samples,
        "growth": median(_part(samples, END)) / median(_part(samples, WARM)),
        "requests_per_second": requests / took_s,
    }


def mixed_posts(*, seed: int = 0, attacks: int = 0) -> Iterator[Post]:
    """Yield requests without end: short texts, long texts, several texts, malformed requests, and clients that disconnect.

    Args:
        seed: The same seed gives the same requests.
        attacks: The percentage of requests that try to cost much.
    """
    generator = random.Random(seed)
    short = short_texts(_SHORT_TEXTS)
    long = [" ".join(text.split()[:MAX_WORDS]) for text in long_texts()]
    kinds = [_LONG, _SEVERAL, _MALFORMED, _DISCONNECTING, attacks]
    while True:
        (kind,) = generator.choices(
            ("long", "several", "malformed", "disconnecting", "attack", "short"), (*kinds, 100 - sum(kinds))
        )
        if kind in _OTHER_POSTS:
            yield generator.choice(_OTHER_POSTS[kind])
            continue
        texts = generator.sample(long if kind == "long" else short, generator.randint(2, 8) if kind == "several" else 1)
        path, body = generator.choice(_INTERFACES)(texts)
        yield Post(path=path, body=json.dumps(body).encode(), disconnects=kind == "disconnecting")


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the table of the memory over time."""
    if "growth" not in figures:
        return []
    samples, requests = figures["resident_bytes"], figures["requests"]
    rows = [
        (
            f"{round(requests * part):,} requests",
            f"{samples[min(int(part * len(samples)), len(samples) - 1)] / 1e6:.1f}",
        )
        for part in (0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1)
    ]
    growth, rate = figures["growth"], figures["requests_per_second"]
    title = f"Memory of the server at {rate:.0f} requests per second: {growth - 1:+.1%} from {WARM[0]:.0%} to the end"
    return [Table(title=title, header=("after", "MB"), rows=rows)]


def _part(samples: Sequence[int], bounds: tuple[float, float]) -> Sequence[int]:
    begin, end = (round(len(samples) * bound) for bound in bounds)
    return samples[begin : max(end, begin + 1)]


def _hugging_face(texts: list[str]) -> tuple[str, dict[str, Any]]:
    return "/models/sentiment", {"inputs": texts, "parameters": {"top_k": len(texts)}}


def _predict(texts: list[str]) -> tuple[str, dict[str, Any]]:
    return "/predict", {"inputs": [[text] for text in texts]}


def _embed(texts: list[str]) -> tuple[str, dict[str, Any]]:
    return "/embed", {"inputs": texts, "truncate": True}


def _openai(texts: list[str]) -> tuple[str, dict[str, Any]]:
    return "/v1/embeddings", {"model": "embeddings", "input": texts}


def _inference_protocol(texts: list[str]) -> tuple[str, dict[str, Any]]:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return "/v2/models/sentiment/infer", {"inputs": [tensor]}


_INTERFACES = (_hugging_face, _predict, _embed, _openai, _inference_protocol)
_MALFORMED_POSTS = (
    Post(path="/models/sentiment", body=b'{"inputs": ', status=400),
    Post(path="/models/sentiment", body=b'{"inputs": 3}', status=422),
    Post(path="/models/other", body=b'{"inputs": "a"}', status=404),
    Post(path="/nowhere", body=b"{}", status=404),
    Post(path="/embed", body=b'{"inputs": []}', status=413),
    Post(path="/v1/embeddings", body=b'{"model": "embeddings", "input": "\xff"}', status=400),
    Post(path="/v2/models/sentiment/infer", body=b'{"inputs": "a"}', status=400),
)
_SHAPE = b",".join([b"9223372036854775807"] * 60_000)
_ATTACK_POSTS = (
    Post(
        path="/v2/models/sentiment/infer",
        body=b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [%b], "data": ["a"]}]}' % _SHAPE,
        status=400,
    ),
    Post(path="/models/sentiment", body=b'{"inputs": "a", "parameters": {"top_k": 1%b}}' % (b"0" * 400), status=400),
    Post(path="/models/sentiment", body=b'{"inputs": "a", "parameters": {"%b": 1}}' % (b"x" * 500_000), status=422),
    Post(path="/models/sentiment", body=b'{"inputs": [%b""]}' % (b"[]," * 300_000), status=400),
    Post(path="/embed", body=b'{"inputs": [%b"a"]}' % (b'"a",' * 60_000), status=413),
    Post(path="/tokenize", body=b'{"inputs": "%b"}' % (b"!" * 1_000_000), status=413),
    Post(path="/decode", body=b'{"ids": [%b1]}' % (b"1," * 500_000), status=413),
    Post(path="/v1/embeddings", body=b'{"model": "%b", "input": "a"}' % (b"x" * 500_000), status=404),
)
_OTHER_POSTS = {"malformed": _MALFORMED_POSTS, "attack": _ATTACK_POSTS}

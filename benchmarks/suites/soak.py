"""A long day: requests of every kind to one server, and what memory it has at the end beside what it had once it was warm."""

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
WARM, END = (0.2, 0.3), (0.9, 1.0)  # the parts of the requests whose samples are compared
LONGEST_WORDS = 320  # about 400 tokens
NAME = "torchless, q8, served"

# In a hundred requests. The others are for one short text.
_LONG, _SEVERAL, _MALFORMED, _LEAVING = 4, 3, 2, 2
_OF_SHORT = 1_000


def measure() -> dict[str, Any]:
    """Ask a server of two models, and look at its memory now and then; where the system does not tell it, skip."""
    models = [f"{name}={checkpoint(f'{name}-torchless')}" for name in ("sentiment", "embeddings")]
    print(f"  {REQUESTS:,} requests over {CONNECTIONS} connections", flush=True)
    figures: dict[str, Any] = {"model": "all-MiniLM-L6-v2: sentiment and embeddings, q8", "skipped": {}, "failed": {}}
    try:
        return figures | soaked(models, requests=REQUESTS, sample_every=SAMPLE_EVERY)
    except FileNotFoundError as error:
        return figures | {"skipped": {NAME: f"{error.filename} is not there"}}
    except LoadError as error:
        return figures | {"failed": {NAME: str(error)}}


def soaked(models: Sequence[str], *, requests: int, sample_every: int) -> dict[str, Any]:
    """Return what became of a server.

    Args:
        models: What it serves: `sentiment=FOLDER` and `embeddings=FOLDER`, both with q8.
        requests: How many it is asked.
        sample_every: After how many of them to look at its memory, while nothing is under way.

    Returns:
        `resident_bytes`, its memory, a sample each; `growth`, the end's median beside the one when it was warm; and
        `requests_a_second`.

    Raises:
        FileNotFoundError: The system does not tell what memory another process has.
        LoadError: A request was not answered as it should be.
    """
    posts = mixed()
    samples = []
    with (
        running(*models, "--dtype", "q8", "--log-format", "none") as (port, process),
        Load(port, connections=CONNECTIONS) as load,
    ):
        begun = perf_counter()
        for _ in range(requests // sample_every):
            load.bodies(islice(posts, sample_every), count=sample_every)
            samples.append(resident_bytes_of(process))
        took_s = perf_counter() - begun
    return {
        "requests": requests,
        "resident_bytes": samples,
        "growth": median(_part(samples, END)) / median(_part(samples, WARM)),
        "requests_a_second": requests / took_s,
    }


def mixed(*, seed: int = 0) -> Iterator[Post]:
    """Yield requests without end: short texts, some long or several, nonsense, and some whose client goes.

    Args:
        seed: The same seed gives the same requests.
    """
    chance = random.Random(seed)
    short = short_texts(_OF_SHORT)
    long = [" ".join(text.split()[:LONGEST_WORDS]) for text in long_texts()]
    kinds = [_LONG, _SEVERAL, _MALFORMED, _LEAVING]
    while True:
        (kind,) = chance.choices(("long", "several", "malformed", "leaving", "short"), (*kinds, 100 - sum(kinds)))
        if kind == "malformed":
            yield chance.choice(_NONSENSE)
            continue
        texts = chance.sample(long if kind == "long" else short, chance.randint(2, 8) if kind == "several" else 1)
        path, body = chance.choice(_INTERFACES)(texts)
        yield Post(path=path, body=json.dumps(body).encode(), leaves=kind == "leaving")


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the memory at some times, and the growth."""
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
    growth, rate = figures["growth"], figures["requests_a_second"]
    title = f"The server's memory, {rate:.0f} requests a second: {growth - 1:+.1%} from {WARM[0]:.0%} on to the end"
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
_NONSENSE = (
    Post(path="/models/sentiment", body=b'{"inputs": ', status=400),
    Post(path="/models/sentiment", body=b'{"inputs": 3}', status=422),
    Post(path="/models/other", body=b'{"inputs": "a"}', status=404),
    Post(path="/nowhere", body=b"{}", status=404),
    Post(path="/embed", body=b'{"inputs": []}', status=413),
    Post(path="/v1/embeddings", body=b'{"model": "embeddings", "input": "\xff"}', status=400),
    Post(path="/v2/models/sentiment/infer", body=b'{"inputs": "a"}', status=400),
)

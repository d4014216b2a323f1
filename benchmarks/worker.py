"""One peer in a process of its own: `python -m benchmarks.worker ENGINE SETTINGS`, then JSON, a line a request.

It says first how long loading took, from before the first import. Then each request names inputs, and each answer has the
time of each call in milliseconds, or the answers themselves, or an error.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from benchmarks.engines import ENGINES
from benchmarks.loaded import Loaded
from benchmarks.memory import peak_bytes

__all__ = ["main", "replies"]


def replies(loaded: Loaded, requests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Answer requests, one by one.

    Args:
        loaded: What answers.
        requests: Each has `inputs`, a list of what to call with in turn; `repeats`, how often to go through it;
            `warm_up`, what to call with before that, unmeasured; `batch_size`; and `answers`, whether to send them.

    Yields:
        `times_ms`, a time a call, or `answers`, one a call; and the peak of the process's memory in bytes.
    """
    for request in requests:
        try:
            yield _reply(loaded, **request) | {"peak_bytes": peak_bytes()}
        except Exception as error:  # noqa: BLE001 - whatever a library raises is told, and the next request may work
            yield {"error": _described(error)}


def _reply(
    loaded: Loaded, *, inputs: list[Any], repeats: int, warm_up: list[Any], batch_size: int | None, answers: bool
) -> dict[str, Any]:
    for item in warm_up:
        loaded.answer(item, batch_size)
    if answers:
        return {"answers": [loaded.answer(item, batch_size) for item in inputs]}
    times_ms = []
    for item in inputs * repeats:
        loaded.between()
        start = perf_counter()
        loaded.answer(item, batch_size)
        times_ms.append(1000 * (perf_counter() - start))
    return {"times_ms": times_ms}


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> None:
    engine, settings = sys.argv[1], json.loads(sys.argv[2])
    replying = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no reply

    def say(reply: dict[str, Any]) -> None:
        replying.write(json.dumps(reply, default=lambda value: value.tolist()) + "\n")
        replying.flush()

    cores = settings.pop("cores", None)
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        settings["threads"] = cores
    start = perf_counter()
    try:
        loaded = ENGINES[engine](**settings)
    except Exception as error:  # noqa: BLE001 - told, and the process ends
        say({"error": _described(error)})
        sys.exit(1)
    say({"load_ms": 1000 * (perf_counter() - start)})
    for reply in replies(loaded, map(json.loads, sys.stdin)):
        say(reply)


if __name__ == "__main__":
    main()

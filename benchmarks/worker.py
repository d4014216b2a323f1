"""The process of a peer: `python -m benchmarks.worker ENGINE SETTINGS`, which reads one JSON request per line.

The first reply is the time of loading, including the imports. Each request then has inputs. Each reply has the times of the calls
in milliseconds, or the answers, or an error.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from benchmarks.engines import ENGINES
from benchmarks.loaded_model import LoadedModel
from benchmarks.memory import peak_bytes

__all__ = ["main", "replies"]


def replies(loaded: LoadedModel, requests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Answer requests one by one.

    Args:
        loaded: The model.
        requests: Each has `inputs`, the inputs of the calls; `repeats`, how many times to repeat them; `warm_up`, the inputs
            of calls before the measurement; `batch_size`; and `answers`, whether to return answers instead of times.

    Yields:
        `times_ms` or `answers`, one item per call, and `peak_bytes`, the peak memory of the process.
    """
    for request in requests:
        try:
            yield _reply(loaded, **request) | {"peak_bytes": peak_bytes()}
        except Exception as error:  # noqa: BLE001 - any error of a library is reported, and the next request may work
            yield {"error": _error_text(error)}


def _reply(
    loaded: LoadedModel, *, inputs: list[Any], repeats: int, warm_up: list[Any], batch_size: int | None, answers: bool
) -> dict[str, Any]:
    for item in warm_up:
        loaded.answer(item, batch_size)
    if answers:
        return {"answers": [loaded.answer(item, batch_size) for item in inputs]}
    times_ms = []
    for item in inputs * repeats:
        loaded.before_call()
        start = perf_counter()
        loaded.answer(item, batch_size)
        times_ms.append(1000 * (perf_counter() - start))
    return {"times_ms": times_ms}


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> None:
    engine, settings = sys.argv[1], json.loads(sys.argv[2])
    reply_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to standard error, not among the replies

    def send(reply: dict[str, Any]) -> None:
        reply_stream.write(json.dumps(reply, default=lambda value: value.tolist()) + "\n")
        reply_stream.flush()

    cores = settings.pop("cores", None)
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        settings["threads"] = cores
    start = perf_counter()
    try:
        loaded = ENGINES[engine](**settings)
    except Exception as error:  # noqa: BLE001 - reported, and the process ends
        send({"error": _error_text(error)})
        sys.exit(1)
    send({"load_ms": 1000 * (perf_counter() - start)})
    for reply in replies(loaded, map(json.loads, sys.stdin)):
        send(reply)


if __name__ == "__main__":
    main()

"""Who is measured: each peer in a process of its own, so that no idle thread pool slows the one whose turn it is."""

import multiprocessing as mp
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Self


def load_pytorch(folder: Path) -> Callable[[Any], Any]:
    """Load `transformers.pipeline` on PyTorch, as its users call it."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    return transformers.pipeline("text-classification", model=str(folder), device="cpu")


def load_torchless(folder: Path, dtype: str = "fp32") -> Callable[[Any], Any]:
    """Load torchless."""
    from torchless import pipeline

    return pipeline("text-classification", folder, dtype=dtype)


class Peer:
    """A pipeline in its own process, asked in turns.

    Args:
        name: For the report.
        load: One of this module's functions.
        folder: What it loads.
    """

    def __init__(self, name: str, load: Callable[[Path], Callable[[Any], Any]], folder: Path) -> None:
        self.name = name
        context = mp.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, load, folder), daemon=True)
        self._process.start()
        theirs.close()

    def times_ms(self, inputs: Any, repeats: int) -> list[float]:
        """Return the time of each of some calls on the same inputs, in milliseconds."""
        self._connection.send((inputs, repeats))
        times: list[float] = self._connection.recv()
        return times

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.join(timeout=10)


def _serve(connection: Connection, load: Callable[[Path], Callable[[Any], Any]], folder: Path) -> None:
    pipe = load(folder)
    while True:
        try:
            inputs, repeats = connection.recv()
        except EOFError:
            return
        times_ms = []
        for _ in range(repeats):
            start = perf_counter()
            pipe(inputs)
            times_ms.append(1000 * (perf_counter() - start))
        connection.send(times_ms)

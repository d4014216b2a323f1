"""The peers: an engine with its settings, in a process that is frozen while another peer is measured."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from benchmarks.checkpoints import ROOT, checkpoint

__all__ = ["Peer", "PeerError", "Process", "available_threads", "torchless_peers"]

_NODE_PACKAGES = ROOT / "tests" / "interop" / "node"
_PACKAGES = {
    "torchless": ("onnxruntime", "tokenizers"),
    "transformers_pipeline": ("torch", "transformers"),
    "pytorch_loop": ("torch", "transformers"),
    "optimum": ("torch", "transformers", "optimum"),
    "openvino": ("openvino", "nncf"),
    "sentence_transformers": ("torch", "sentence_transformers"),
    "torchless_generator": ("onnxruntime",),
    "torchless_profiled": ("onnxruntime",),
    "pytorch_generator": ("torch", "transformers"),
    "optimum_generator": ("torch", "transformers", "optimum"),
    "ctranslate2_generator": ("ctranslate2",),
    "torchless_served": ("litestar", "uvicorn"),
    "fastapi_served": ("torch", "transformers", "fastapi", "uvicorn"),
}


class PeerError(Exception):
    """A peer did not answer. The message is its error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An engine with a model and its settings.

    Attributes:
        name: The name in tables and plots: the library and the variant.
        engine: A name of `engines.ENGINES`, or `transformers_js`.
        model: The name of a checkpoint.
        settings: The arguments of the engine except the folder and the threads. `cores` limits the cores of the process.
    """

    name: str
    engine: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def absence(self) -> str | None:
        """Return what is missing for this peer and how to install it, or None if the peer can be measured."""
        if self.engine == "transformers_js":
            if shutil.which("node") is None:
                return "Node.js is not installed; install version 20 or newer"
            return (
                None if (_NODE_PACKAGES / "node_modules").is_dir() else "transformers.js is not installed; make interop"
            )
        missing = [name for name in _PACKAGES[self.engine] if find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed; pip install 'torchless[bench]'"
        if self.settings.get("compiled") and not (shutil.which("g++") or shutil.which("clang++")):
            return "torch.compile needs a C++ compiler; install g++"
        return None

    def command(self) -> list[str]:
        """Return the command that starts the process. Make the checkpoint if it is missing."""
        settings = {"folder": str(checkpoint(self.model)), "threads": available_threads(), **self.settings}
        if self.engine == "transformers_js":
            settings["packages"] = str(_NODE_PACKAGES)
            return [
                shutil.which("node") or "node",
                str(Path(__file__).parent / "transformers_js.mjs"),
                json.dumps(settings),
            ]
        return [sys.executable, "-m", "benchmarks.worker", self.engine, json.dumps(settings)]


def torchless_peers(model: str, dtypes: Sequence[str] = ("fp32", "q8"), **settings: Any) -> tuple[Peer, ...]:
    """Return a torchless peer for each dtype.

    Args:
        model: The name of a checkpoint.
        dtypes: The variants.
        settings: The options of the pipelines.
    """
    return tuple(
        Peer(name=f"torchless, {dtype}", engine="torchless", model=model, settings={"dtype": dtype, **settings})
        for dtype in dtypes
    )


class Process:
    """A process that answers a line of JSON with a line of JSON, and is frozen between requests.

    The threads of an idle peer may spin for tens of milliseconds after its last answer, which slows the next peer. So the
    process and its child processes run only during a request.

    Args:
        command: The command to start. Its first line of output says that the model is loaded.

    Raises:
        PeerError: The model cannot be loaded.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # Python keeps the compiled modules, as in an installation, so a cold start does not compile them again.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = inherited | {
            "TOKENIZERS_PARALLELISM": "true",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=environment,
            process_group=0,
        )
        try:
            self.load_ms: float = self._read()["load_ms"]
        except PeerError:
            self.close()
            raise

    def times_ms(
        self, inputs: Sequence[Any], *, repeats: int = 1, warm_up: Sequence[Any] = (), batch_size: int | None = None
    ) -> list[float]:
        """Return the time of each call, in milliseconds.

        Args:
            inputs: The input of each call: a text or a list of texts.
            repeats: How many times to repeat the inputs.
            warm_up: The inputs of calls before the measurement.
            batch_size: None lets the engine choose.

        Raises:
            PeerError: The peer fails, or its process ends.
        """
        times: list[float] = self._request(inputs, repeats, warm_up, batch_size, answers=False)["times_ms"]
        return times

    def answers(self, inputs: Sequence[Any], *, batch_size: int | None = None) -> list[Any]:
        """Return the answer of each call.

        Args:
            inputs: The input of each call: a text or a list of texts.
            batch_size: None lets the engine choose.

        Raises:
            PeerError: The peer fails, or its process ends.
        """
        answers: list[Any] = self._request(inputs, 1, (), batch_size, answers=True)["answers"]
        return answers

    def close(self) -> None:
        """End the process."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(
        self, inputs: Sequence[Any], repeats: int, warm_up: Sequence[Any], batch_size: int | None, *, answers: bool
    ) -> dict[str, Any]:
        request = {
            "inputs": list(inputs),
            "repeats": repeats,
            "warm_up": list(warm_up),
            "batch_size": batch_size,
            "answers": answers,
        }
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._exit_message()) from None
        reply = self._read()
        self.peak_bytes: int = reply["peak_bytes"]
        return reply

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process and its child processes, such as a server. They may outlive the process."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read(self) -> dict[str, Any]:
        """Return the next reply and freeze the process."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(self._exit_message())
        self._signal(signal.SIGSTOP)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply

    def _exit_message(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with {code}" + (f": {lines[-1]}" if lines else "")


@cache
def available_threads() -> int:
    """Return the number of threads of each peer. A child process determines it, so that this process never loads ONNX Runtime."""
    program = "from torchless.ort.available_cpus import available_cpus; print(available_cpus())"
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)

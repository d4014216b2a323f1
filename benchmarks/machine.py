"""The conditions of a measurement: CPU, threads, load and versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers import available_threads

__all__ = ["conditions"]

_PACKAGES = (
    "torchless", "numpy", "onnxruntime", "tokenizers",
    "torch", "transformers", "optimum", "optimum-onnx", "sentence-transformers", "openvino", "nncf", "ctranslate2",
)  # fmt: skip


def conditions() -> dict[str, Any]:
    """Return the current conditions. The version of a package that is not installed is None."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": available_threads(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""`make bench`: measure, print, and keep the figures in `benchmarks/results/`."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import latency
from torchless.threads import available_cpus

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return what the figures depend on: CPU, threads, load and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    packages = ("torchless", "torch", "transformers", "tokenizers", "onnxruntime", "numpy")
    return {
        "cpu": model,
        "threads": available_cpus(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def main() -> None:
    console = Console(soft_wrap=True)
    conditions = machine()
    figures, table = latency.report(latency.measure())
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latency.json"
    path.write_text(json.dumps({"machine": conditions, **figures}, indent=2) + "\n", encoding="utf-8")
    console.print(f"{conditions['cpu']}, {conditions['threads']} threads each. Kept in {path}", highlight=False)


if __name__ == "__main__":
    main()

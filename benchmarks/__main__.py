"""`make bench`: measure, print, and keep the figures in `benchmarks/results/`."""

import argparse
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import latency, quantisation
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


SUITES: dict[str, Callable[[], tuple[dict[str, Any], list[Table]]]] = {
    "latency": lambda: latency.report(latency.measure()),
    "quantisation": lambda: quantisation.report(quantisation.measure()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=tuple(SUITES), help="what to measure; by default all")
    console = Console(soft_wrap=True)
    for name in parser.parse_args().suites or SUITES:
        conditions = machine()
        figures, tables = SUITES[name]()
        for table in tables:
            console.print(table)
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.json"
        path.write_text(json.dumps({"machine": conditions, **figures}, indent=2) + "\n", encoding="utf-8")
        console.print(f"{conditions['cpu']}, {conditions['threads']} threads each. Kept in {path}", highlight=False)


if __name__ == "__main__":
    main()

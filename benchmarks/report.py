"""The report: the tables of all suites in Markdown, from the stored figures."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.checkpoints import RESULTS
from benchmarks.goals import GOALS, verdict, verdicts_table
from benchmarks.suites import (
    cold_start,
    embeddings,
    generation,
    latency,
    many_models,
    quantization,
    serving,
    soak,
    throughput,
)

__all__ = ["SUITES", "figures_of", "render"]

SUITES: dict[str, ModuleType] = {
    "latency": latency,
    "throughput": throughput,
    "embeddings": embeddings,
    "cold_start": cold_start,
    "many_models": many_models,
    "quantization": quantization,
    "generation": generation,
    "serving": serving,
    "soak": soak,
}
"""The suites by name, as `make bench ONLY=` takes them."""


def figures_of(suite: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Return the stored figures of a suite, or None if it was not measured."""
    path = results / f"{suite}.json"
    if not path.exists():
        return None
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def render(results: Path = RESULTS) -> str:
    """Return the report of all measured suites in Markdown.

    Args:
        results: The folder of the JSON files.
    """
    parts = [
        "# Benchmarks",
        "`make bench` writes this report. The peers take turns in rounds. A ratio is the median of the ratios of all rounds.",
    ]
    verdicts = []
    for name, suite in SUITES.items():
        figures = figures_of(name, results)
        if figures is None:
            continue
        parts += [f"## {name.replace('_', ' ').capitalize()}", suite.__doc__ or "", _conditions(figures)]
        for table in suite.tables(figures):
            parts += [f"**{table.title}**", table.markdown()]
        parts += [f"Skipped: {peer}, {reason}." for peer, reason in figures["skipped"].items()]
        parts += [f"Failed: {peer}: {error}" for peer, error in figures["failed"].items()]
        verdicts += [verdict(goal, figures) for goal in GOALS if goal.suite == name]
    parts += ["## Goals", verdicts_table(verdicts).markdown()]
    return "\n\n".join(parts) + "\n"


def _conditions(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    model = f"{figures['model']}. " if "model" in figures else ""
    return (
        f"{model}{machine['cpu']}, {machine['threads']} threads per peer, load {machine['load_before']:.2f} before; "
        f"Python {machine['python']}, {versions}."
    )

"""The report: every suite's tables in Markdown, from the figures that are kept."""

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
    quantisation,
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
    "quantisation": quantisation,
    "generation": generation,
    "serving": serving,
    "soak": soak,
}
"""By the name that `make bench ONLY=` takes."""


def figures_of(suite: str, results: Path = RESULTS) -> dict[str, Any] | None:
    """Return a suite's kept figures; None if it was not measured."""
    path = results / f"{suite}.json"
    if not path.exists():
        return None
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def render(results: Path = RESULTS) -> str:
    """Return the report of all suites that were measured, in Markdown.

    Args:
        results: The folder of their JSON files.
    """
    parts = ["# Benchmarks", "Made by `make bench`. Ratios are medians over rounds in turns, each round with its own."]
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
        f"{model}{machine['cpu']}, {machine['threads']} threads each, load {machine['load_before']:.2f} before; "
        f"Python {machine['python']}, {versions}."
    )

"""Plots of the figures, as PNG and SVG."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.report import figures_of

__all__ = ["COLOURS", "draw"]

COLOURS = {
    "transformers.pipeline": "#6b7280",
    "transformers.pipeline, bf16": "#9ca3af",
    "transformers.pipeline, torch.compile": "#4b5563",
    "optimum, fp32": "#c4a000",
    "optimum, int8": "#a16207",
    "transformers.js, q8": "#15803d",
    "OpenVINO, int8": "#7c3aed",
    "torchless, fp32": "#fb923c",
    "torchless, q8": "#dc2626",
    "torchless, q4": "#9f1239",
    "PyTorch": "#64748b",
    "PyTorch, bf16": "#94a3b8",
    "PyTorch, torch.compile": "#475569",
    "CTranslate2, fp32": "#0891b2",
    "CTranslate2, int8": "#155e75",
}
"""The colour of each peer, the same in every plot: PyTorch is grey, torchless is red."""

_TORCHLESS, _REFERENCE = "torchless", "transformers.pipeline"


def draw(results: Path) -> list[Path]:
    """Draw the plots of the measured suites.

    Args:
        results: The folder of the JSON files, and of the plots.

    Returns:
        The written files. There are none for a suite that was not measured.
    """
    written = []
    plots: Mapping[str, tuple[str, Callable[[Figure, dict[str, Any]], None]]] = {
        "latency_by_length": ("latency", _latency),
        "throughput_by_batch": ("throughput", _throughput),
        "cold_start": ("cold_start", _cold_start),
        "memory": ("cold_start", _memory),
        "tokens_per_second": ("generation", _generation),
    }
    style: Any = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "torchless"}
    for name, (suite, plot) in plots.items():
        figures = figures_of(suite, results)
        if figures is None:
            continue
        with mpl.rc_context(style):
            canvas = Figure(figsize=(8, 4.8), layout="constrained")
            plot(canvas, figures)
            for ending in ("png", "svg"):
                path = results / f"{name}.{ending}"
                canvas.savefig(path, dpi=160)
                written.append(path)
    return written


def _latency(canvas: Figure, figures: dict[str, Any]) -> None:
    axes = canvas.subplots()
    inputs = figures["inputs"]
    tokens = [int(item) for item in inputs]
    lines = {}
    for name, colour in COLOURS.items():
        points = [(int(key), item["ms"][name]["median"]) for key, item in inputs.items() if name in item["ms"]]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, **_stroke(name))
            lines[name] = points[-1]
    axes.set(xscale="log", yscale="log", xlim=(tokens[0] * 0.9, tokens[-1] * 4.2))
    axes.xaxis.set_major_locator(FixedLocator(tokens))
    axes.set_xticks(tokens, [str(item) for item in tokens])
    _plain_ticks(axes, (2, 5, 10, 20, 50, 100, 200))
    axes.set_xlabel("tokens in the text")
    axes.set_title("Milliseconds to answer one text", loc="left")
    axes.spines["bottom"].set_bounds(tokens[0], tokens[-1])
    axes.xaxis.set_label_coords(0.3, -0.08)
    for (name, (x, _)), y in zip(lines.items(), _apart([y for _, y in lines.values()], ratio=1.13), strict=True):
        axes.text(x * 1.08, y, name, color=COLOURS[name], va="center", weight=_weight(name))


def _throughput(canvas: Figure, figures: dict[str, Any]) -> None:
    axes = canvas.subplots()
    searched = figures["inputs"]["short"]["searched"]
    labels: dict[str, float] = {}
    sizes = sorted({int(size) for rates in figures["policies"].values() for size in rates if size != "planned"})
    for name, rates in {**searched, **figures["policies"]}.items():
        if name not in COLOURS:
            continue
        points = [(int(size), rate) for size, rate in rates.items() if size != "planned"]
        axes.plot(*zip(*points, strict=True), color=COLOURS[name], marker="o", markersize=4, **_stroke(name))
        labels[f"{name}, batch_size"] = points[-1][1]
        if "planned" in rates:
            axes.axhline(rates["planned"], color=COLOURS[name], linestyle="--", linewidth=1.5, xmax=0.62)
            labels[f"{name}, planned by tokens (dashed)"] = rates["planned"]
    axes.set(xscale="log", yscale="log", xlim=(sizes[0] * 0.85, sizes[-1] * 14))
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.set_xticks(sizes, [str(item) for item in sizes])
    _plain_ticks(axes, (20, 50, 100, 200, 500, 1000, 2000))
    axes.set_xlabel("batch_size")
    axes.spines["bottom"].set_bounds(sizes[0], sizes[-1])
    axes.xaxis.set_label_coords(0.3, -0.08)
    mean_tokens = figures["inputs"]["short"]["mean_tokens"]
    axes.set_title(f"Texts per second, {mean_tokens:.0f} tokens on average", loc="left")
    for (label, _), y in zip(labels.items(), _apart([*labels.values()], ratio=1.15), strict=True):
        name = next(item for item in sorted(COLOURS, key=len, reverse=True) if label.startswith(item))
        axes.text(sizes[-1] * 1.15, y, label, color=COLOURS[name], va="center", weight=_weight(name), fontsize=9.5)


def _cold_start(canvas: Figure, figures: dict[str, Any]) -> None:
    item = figures["inputs"]["first_answer"]
    values = {name: seconds["median"] for name, seconds in item["seconds"].items()}
    ratios = {name: faster.get(_REFERENCE) for name, faster in item["times_faster"].items()}
    _bars(canvas, values, ratios, "Seconds from the import to the first answer, in a new process", "{:.2f} s")


def _memory(canvas: Figure, figures: dict[str, Any]) -> None:
    values = {name: item["median"] / 1e6 for name, item in figures["peak_bytes"].items()}
    ratios = {
        name: 1 / shares[_REFERENCE] for name, shares in figures["peak_memory_ratio"].items() if _REFERENCE in shares
    }
    _bars(canvas, values, ratios, "Peak memory of a new process up to its first answer", "{:.0f} MB")


def _generation(canvas: Figure, figures: dict[str, Any]) -> None:
    item = figures["inputs"]["gpt2"]
    values = {name: rate["median"] for name, rate in item["tokens_per_second"].items()}
    ratios = {name: faster.get("PyTorch") for name, faster in item["times_faster"].items()}
    _bars(
        canvas, values, ratios, "Tokens per second, one text, the shape of GPT-2 small", "{:.0f}", comparison="as many"
    )


def _bars(
    canvas: Figure,
    values: Mapping[str, float],
    ratios: Mapping[str, float | None],
    title: str,
    label: str,
    comparison: str = "less",
) -> None:
    """Draw one bar per peer, with its value and its ratio to the reference."""
    canvas.set_size_inches(8, 1.2 + 0.6 * len(values))
    axes = canvas.subplots()
    names = [*values][::-1]
    bars = axes.barh(names, [values[name] for name in names], color=[COLOURS[name] for name in names], height=0.6)
    labels = [
        label.format(values[name]) + (f"   ({ratios[name]:.1f}× {comparison})" if ratios.get(name) else "")
        for name in names
    ]
    axes.bar_label(bars, labels, padding=6)
    axes.set_title(title, loc="left")
    axes.spines["bottom"].set_visible(False)
    axes.xaxis.set_major_locator(NullLocator())
    axes.tick_params(left=False)
    axes.set_xlim(0, 1.25 * max(values.values()))


def _plain_ticks(axes: Axes, values: tuple[int, ...]) -> None:
    lowest, highest = axes.get_ylim()
    shown = [value for value in values if lowest <= value <= highest]
    axes.set_yticks(shown, [f"{value:,}" for value in shown])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


def _apart(values: list[float], *, ratio: float) -> Iterator[float]:
    """Move labels on a log axis apart until neighbours have at least a ratio between them."""
    order = sorted(range(len(values)), key=values.__getitem__)
    placed = dict(zip(order, (values[index] for index in order), strict=True))
    for _ in range(200):
        for below, above in pairwise(order):
            gap = placed[above] / placed[below]
            if gap < ratio:
                push = (ratio / gap) ** 0.5
                placed[below] /= push
                placed[above] *= push
    return iter([placed[index] for index in range(len(values))])


def _stroke(name: str) -> dict[str, Any]:
    return {"linewidth": 2.6 if name.startswith(_TORCHLESS) else 1.6}


def _weight(name: str) -> str:
    return "bold" if name.startswith(_TORCHLESS) else "normal"

"""The goals of the project: each is a bound on a figure of a suite. `make bench CHECK=1` checks them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.table import Table

__all__ = ["GOALS", "Goal", "Verdict", "verdict", "verdicts_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A bound on a figure.

    Attributes:
        suite: The suite that measures the figure.
        name: A description of the comparison.
        path: The keys that lead to the figure in the JSON of the suite.
        at_least: The lower bound.
        at_most: The upper bound.
        unit: The unit of the figure.
    """

    suite: str
    name: str
    path: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"

    def figure(self, figures: Mapping[str, Any]) -> float | None:
        """Return the figure, or None if a peer was absent or failed."""
        found: Any = figures
        for key in self.path:
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return None if found is None else float(found)

    @property
    def bound(self) -> str:
        """The bound as text."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}{self.unit}"
        return f"≤ {self.at_most:g}{self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a goal.

    Attributes:
        goal: The goal.
        figure: The measured figure, or None.
    """

    goal: Goal
    figure: float | None

    @property
    def met(self) -> bool:
        """Whether the figure is within its bound. A goal without a figure is not met."""
        if self.figure is None:
            return False
        if self.goal.at_least is not None and self.figure < self.goal.at_least:
            return False
        return self.goal.at_most is None or self.figure <= self.goal.at_most

    @property
    def word(self) -> str:
        """The verdict as text."""
        if self.figure is None:
            return "not measured"
        return "met" if self.met else "missed"


_PARITY = 0.97
"""The bound for "as fast as": two equal engines differ by up to 3 % from run to run."""


def _faster(suite: str, name: str, key: str, dtype: str, peer: str, at_least: float) -> Goal:
    return Goal(
        suite=suite, name=name, path=("inputs", key, "times_faster", f"torchless, {dtype}", peer), at_least=at_least
    )


GOALS = (
    _faster("latency", "16 tokens, fp32, vs transformers.pipeline", "16", "fp32", "transformers.pipeline", 2.5),
    _faster("latency", "16 tokens, q8, vs transformers.pipeline", "16", "q8", "transformers.pipeline", 7),
    _faster("latency", "16 tokens, q8, vs optimum's int8", "16", "q8", "optimum, int8", 1.2),
    _faster("latency", "16 tokens, q8, vs transformers.js's q8", "16", "q8", "transformers.js, q8", 1.2),
    *(
        Goal(
            suite="latency",
            name=f"{tokens} tokens, q8, time relative to OpenVINO's int8",
            path=("inputs", str(tokens), "times_faster", "OpenVINO, int8", "torchless, q8"),
            at_most=1.15,
        )
        for tokens in (16, 64, 128, 256)
    ),
    Goal(
        suite="quantization",
        name="q8, labels that agree with fp32",
        path=("answers", "torchless, q8", "agreement"),
        at_least=0.995,
        unit="",
    ),
    Goal(
        suite="quantization",
        name="q8, labels that agree with fp32, above OpenVINO's int8",
        path=("answers", "torchless, q8", "agreement_above_openvino"),
        at_least=0.001,  # one text of 1,000
        unit="",
    ),
    Goal(
        suite="quantization",
        name="q8, largest change of a score in a batch",
        path=("answers", "torchless, q8", "batched_max_abs_diff"),
        at_most=0,
        unit="",
    ),
    _faster(
        "throughput",
        "2,000 short texts, fp32, vs PyTorch's best batch size",
        "short",
        "fp32",
        "transformers.pipeline",
        3.8,
    ),
    _faster(
        "throughput", "2,000 short texts, q8, vs PyTorch's best batch size", "short", "q8", "transformers.pipeline", 10
    ),
    _faster(
        "throughput", "200 long texts, fp32, vs PyTorch's best batch size", "long", "fp32", "transformers.pipeline", 1.9
    ),
    _faster(
        "throughput", "200 long texts, q8, vs PyTorch's best batch size", "long", "q8", "transformers.pipeline", 4.5
    ),
    *(
        Goal(
            suite="throughput",
            name=f"2 cores vs 1, {dtype}",
            path=("cores", "times_faster", f"torchless, {dtype}", f"torchless, {dtype}, one core"),
            at_least=1.85,
        )
        for dtype in ("fp32", "q8")
    ),
    _faster(
        "embeddings",
        "2,000 sentences, q8, vs sentence-transformers on PyTorch",
        "sentences",
        "q8",
        "sentence-transformers",
        4,
    ),
    _faster(
        "embeddings",
        "2,000 sentences, fp32, vs sentence-transformers' ONNX backend",
        "sentences",
        "fp32",
        "sentence-transformers, ONNX",
        1.3,
    ),
    _faster(
        "cold_start",
        "import to first answer, q8, vs transformers.pipeline",
        "first_answer",
        "q8",
        "transformers.pipeline",
        15,
    ),
    Goal(
        suite="cold_start",
        name="import to first answer, q8",
        path=("inputs", "first_answer", "seconds", "torchless, q8", "median"),
        at_most=0.25,
        unit=" s",
    ),
    Goal(
        suite="cold_start",
        name="peak memory, q8, relative to transformers.pipeline",
        path=("peak_memory_ratio", "torchless, q8", "transformers.pipeline"),
        at_most=0.25,
    ),
    Goal(
        suite="cold_start",
        name="installed size, relative to torch and transformers",
        path=("installed", "torchless_to_pytorch"),
        at_most=0.2,
    ),
    *(
        Goal(
            suite="many_models",
            name=f"time with five other models idle, {dtype} (an additional goal)",
            path=("inputs", "16", "times_faster", f"torchless, {dtype}", f"torchless, {dtype}, five others idle"),
            at_most=1.05,
        )
        for dtype in ("fp32", "q8")
    ),
    *(
        _faster("generation", f"{shape}, {dtype}, vs {peer}", model, dtype, peer, at_least)
        for model, shape in (("gpt2", "GPT-2 small's shape"), ("llama", "a llama's shape"))
        for dtype, peer, at_least in (
            ("fp32", "PyTorch", 2.2),
            ("fp32", "CTranslate2, fp32", _PARITY),
            ("q8", "PyTorch", 5),
            ("q8", "CTranslate2, int8", 2.2),
            ("q4", "PyTorch", 6.5),
        )
    ),
    *(
        _faster("generation", f"{shape}, 4 beams, {dtype}, vs PyTorch", model, dtype, "PyTorch", at_least)
        for model, shape in (("t5", "T5-small's shape"), ("bart", "BART-base's shape"))
        for dtype, at_least in (("fp32", 2.5), ("q8", 5))
    ),
    *(
        Goal(
            suite="generation",
            name=f"eight prompts in a batch vs one, {dtype}",
            path=("batched", f"torchless, {dtype}", "times"),
            at_least=4,
        )
        for dtype in ("fp32", "q8")
    ),
    *(
        Goal(
            suite="generation",
            name=f"share of the time outside of ONNX Runtime, {dtype}",
            path=("outside", f"torchless, {dtype}"),
            at_most=0.06,
            unit="",
        )
        for dtype in ("fp32", "q8", "q4")
    ),
    *(
        Goal(
            suite="generation",
            name=f"memory after 200 short calls relative to 50, {dtype} (an additional goal)",
            path=("growth", f"torchless, {dtype}"),
            at_most=1.02,
        )
        for dtype in ("fp32", "q8", "q4")
    ),
    *(
        Goal(
            suite="serving",
            name=f"one connection, {dtype}: time added to a call of the pipeline",
            path=("inputs", "latency", "added_ms", f"torchless, {dtype}", "median"),
            at_most=0.7,
            unit=" ms",
        )
        for dtype in ("fp32", "q8")
    ),
    *(
        Goal(
            suite="serving",
            name=f"64 connections, {dtype}: texts per second relative to the pipeline",
            path=("inputs", "throughput", "pipeline_share", f"torchless, {dtype}"),
            at_least=0.8,
        )
        for dtype in ("fp32", "q8")
    ),
    *(
        _faster(
            "serving",
            f"64 connections, {dtype}, vs transformers.pipeline behind FastAPI",
            "reference",
            f"{dtype}, served",
            "transformers.pipeline behind FastAPI",
            3,
        )
        for dtype in ("fp32", "q8")
    ),
    Goal(
        suite="soak",
        name="memory after 100,000 requests of every kind relative to 20,000 to 30,000",
        path=("growth",),
        at_most=1.05,
    ),
)
"""The goals of the design, and two additional goals."""


def verdict(goal: Goal, figures: Mapping[str, Any]) -> Verdict:
    """Check a goal against the figures of its suite."""
    return Verdict(goal=goal, figure=goal.figure(figures))


def verdicts_table(verdicts: Iterable[Verdict]) -> Table:
    """Return a table of the goals with their figures."""
    rows = [
        (
            f"{item.goal.suite}: {item.goal.name}",
            item.goal.bound,
            "–" if item.figure is None else f"{item.figure:.3g}{item.goal.unit}",
            item.word,
        )
        for item in verdicts
    ]
    return Table(title="Goals", header=("goal", "bound", "figure", "verdict"), rows=rows)

"""Every variant against PyTorch, on real text: the gate that an export must pass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import ExportError
from torchless.folder.manifest import Verification
from torchless.tasks import Task
from torchless_export.source.loading import LoadedModel
from torchless_export.verification.cases import CASES, FP32_TOLERANCE, Difference, exported_pipeline, reference_pipeline

__all__ = ["Measurement", "Reference", "check", "failure", "measure", "reference_answers", "verify"]

Track: TypeAlias = Callable[[Sequence[Any], str], Iterable[Any]]

_WORST_TEXTS = 5


@dataclass(frozen=True, slots=True)
class Reference:
    """PyTorch's answers to inputs made of texts, and the median time of one in milliseconds."""

    texts: Sequence[Any]
    answers: Sequence[Any]
    ms_per_text: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A variant's answers to the same inputs, how each differs from PyTorch's, and what that comes to."""

    verification: Verification
    differences: Sequence[Difference]
    answers: Sequence[Any]


def reference_answers(loaded: LoadedModel, task: Task, texts: Sequence[str], track: Track) -> Reference:
    """Answer texts with `transformers.pipeline` on the model that is exported.

    Args:
        loaded: The model and its tokenizer.
        task: The task.
        texts: They are cut to what the model takes.
        track: Wraps a loop over texts, to show its progress.
    """
    inputs = [CASES[task.graph].make_input(text, loaded.tokenizer.mask_token or "") for text in texts]
    answers, ms_per_text = _timed(reference_pipeline(loaded, task), task, inputs, track, "PyTorch")
    return Reference(inputs, answers, ms_per_text)


def measure(folder: Path, task: Task, dtype: str, reference: Reference, track: Track) -> Measurement:
    """Answer the same texts with torchless, and compare.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
        reference: PyTorch's answers.
        track: Wraps a loop over texts, to show its progress.
    """
    with np.errstate(all="ignore"):  # a graph that overflows is the gate's to judge
        watch, case = _Watch(), CASES[task.graph]
        pipe = exported_pipeline(folder, task, dtype, watch.keep)
        inputs = [case.force(*pair) for pair in zip(reference.texts, reference.answers, strict=True)]
        answers, ms_per_text = _timed(pipe, task, inputs, track, dtype, after=watch.look)
        differences = [
            case.compare(expected, got) if finite else Difference(0.0, np.array([np.nan]))
            for expected, got, finite in zip(reference.answers, answers, watch.finite, strict=True)
        ]
    values = np.concatenate([difference.values.ravel() for difference in differences] or [np.zeros(0)])
    result = Verification(
        texts=len(differences),
        agreement=fmean(difference.agreement for difference in differences),
        max_abs_diff=float(values.max(initial=0)),
        mean_abs_diff=float(values.mean()) if values.size else 0.0,
        ms_per_text=round(ms_per_text, 3),
        reference_ms_per_text=round(reference.ms_per_text, 3),
    )
    return Measurement(result, differences, answers)


def failure(dtype: str, measured: Measurement, *, min_agreement: float) -> str | None:
    """Return why a variant may not be published; None if it may.

    Args:
        dtype: The variant. fp32 must agree entirely, and no score may differ by more than `FP32_TOLERANCE`.
        measured: How it answered.
        min_agreement: What any other must reach, 0 to 1.
    """
    result = measured.verification
    broken = sum(not np.isfinite(difference.values).all() for difference in measured.differences)
    far = f"max |Δ| {result.max_abs_diff:.2g}"
    if broken:
        return f"{dtype} answers {broken} of {result.texts} texts with what is no number (NaN or infinite)"
    if dtype == "fp32" and not (result.agreement == 1 and result.max_abs_diff <= FP32_TOLERANCE):
        differing = sum(difference.agreement < 1 for difference in measured.differences)
        return f"{dtype} gives other answers than PyTorch on {differing} of {result.texts} texts, {far}"
    if result.agreement < min_agreement:
        return (
            f"{dtype} agrees with PyTorch on {result.agreement:.2%} of {result.texts} texts, and {min_agreement:.2%} "
            f"are asked for; {far}"
        )
    return None


def check(
    dtype: str, reference: Reference, measured: Measurement, *, min_agreement: float, calibrated: bool = False
) -> None:
    """Raise unless a variant may be published: the gate.

    Args:
        dtype: The variant.
        reference: PyTorch's answers.
        measured: The variant's.
        min_agreement: What any other than fp32 must reach, 0 to 1.
        calibrated: Whether it was made with texts that could be others.

    Raises:
        ExportError: It may not. The error names the worst texts.
    """
    problem = failure(dtype, measured, min_agreement=min_agreement)
    if problem is None:
        return
    if dtype == "fp32":
        hint = "Report it with the model's name: the conversion of this architecture is at fault."
    else:
        calibrate = " calibrate with texts of your own (--calibrate-with FILE)," if calibrated else ""
        hint = f"Leave {dtype} out of --dtype,{calibrate} or accept less with --min-agreement."
    raise ExportError(
        f"Verification failed: {problem}. The worst texts:\n{_worst(dtype, reference, measured)}\n",
        hint=f"Nothing was written. {hint}",
    )


def verify(
    folder: Path, task: Task, dtype: str, reference: Reference, track: Track, *, min_agreement: float, calibrated: bool
) -> Verification:
    """Measure a variant, and return what the manifest says of it if it may be published.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
        reference: PyTorch's answers.
        track: Wraps a loop over texts, to show its progress.
        min_agreement: What any other variant than fp32 must reach, 0 to 1.
        calibrated: Whether the variant was made with texts that could be others.

    Raises:
        ExportError: It may not be published.
    """
    measured = measure(folder, task, dtype, reference, track)
    check(dtype, reference, measured, min_agreement=min_agreement, calibrated=calibrated)
    return measured.verification


def _worst(dtype: str, reference: Reference, measured: Measurement) -> str:
    """Return a line for each of the texts whose answers differ most: both answers."""

    def badness(index: int) -> tuple[bool, float, float]:
        difference = measured.differences[index]
        broken = not np.isfinite(difference.values).all()
        return broken, -difference.agreement, float(difference.values.max(initial=0))

    indices = sorted(range(len(measured.differences)), key=badness, reverse=True)[:_WORST_TEXTS]
    return "\n".join(
        f"  {_short(repr(reference.texts[index]))}: PyTorch {_short(reference.answers[index])}, "
        f"{dtype} {_short(measured.answers[index])}"
        for index in indices
    )


class _Watch:
    """Looks at the outputs of a graph: what a task makes of them may hide that they are no numbers.

    Attributes:
        finite: For each input that was answered, whether they were.
    """

    def __init__(self) -> None:
        self.finite: list[bool] = []
        self._seen: list[NDArray[Any]] = []

    def keep(self, _graph: Path, _feeds: Mapping[str, NDArray[Any]], arrays: Sequence[NDArray[Any]]) -> None:
        """Keep what a run answers until it is looked at."""
        self._seen += arrays

    def look(self) -> None:
        """Look at what was computed since the last look. Minus infinity is a logit that a model may mean."""
        self.finite.append(all(bool((array < np.inf).all()) for array in self._seen))
        self._seen.clear()


def _timed(
    pipe: Callable[..., Any],
    task: Task,
    texts: Sequence[Any],
    track: Track,
    title: str,
    after: Callable[[], None] = lambda: None,
) -> tuple[list[Any], float]:
    """Return the answers, one text at a time after a warm-up, and the median time in milliseconds.

    What comes `after` each text is not timed.
    """
    options = CASES[task.graph].options
    answers, times_ms = [], []
    pipe(texts[0], **options)
    for text in track(texts, title):
        start = perf_counter()
        answers.append(pipe(text, **options))
        times_ms.append(1000 * (perf_counter() - start))
        after()
    return answers, median(times_ms)


def _short(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= 120 else f"{text[:119]}…"

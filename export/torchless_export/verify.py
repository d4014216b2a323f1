"""Every variant against PyTorch, on real text: the gate that an export must pass."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np

from torchless.checkpoint import Verification
from torchless.errors import ExportError
from torchless.tasks import Task
from torchless_export.cases import CASES, FP32_TOLERANCE, Difference, exported_pipeline, reference_pipeline
from torchless_export.source import LoadedModel

__all__ = ["Measurement", "Reference", "measure", "reference_answers", "verify"]

Track: TypeAlias = Callable[[Sequence[Any], str], Iterable[Any]]


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
    asked = [CASES[task.graph].ask(text, loaded.tokenizer.mask_token or "") for text in texts]
    answers, ms_per_text = _timed(reference_pipeline(loaded, task), task, asked, track, "PyTorch")
    return Reference(asked, answers, ms_per_text)


def measure(folder: Path, task: Task, dtype: str, reference: Reference, track: Track) -> Measurement:
    """Answer the same texts with torchless, and compare.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
        reference: PyTorch's answers.
        track: Wraps a loop over texts, to show its progress.
    """
    pipe = exported_pipeline(folder, task, dtype)
    answers, ms_per_text = _timed(pipe, task, reference.texts, track, dtype)
    compare = CASES[task.graph].compare
    differences = [compare(expected, got) for expected, got in zip(reference.answers, answers, strict=True)]
    result = Verification(
        texts=len(differences),
        agreement=fmean(difference.agreement for difference in differences),
        max_abs_diff=max(float(difference.values.max()) for difference in differences),
        mean_abs_diff=float(np.concatenate([difference.values.ravel() for difference in differences]).mean()),
        ms_per_text=round(ms_per_text, 3),
        reference_ms_per_text=round(reference.ms_per_text, 3),
    )
    return Measurement(result, differences, answers)


def verify(folder: Path, task: Task, dtype: str, reference: Reference, track: Track) -> Verification:
    """Measure a variant, and return what the manifest says of it if it may be published.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
        reference: PyTorch's answers.
        track: Wraps a loop over texts, to show its progress.

    Raises:
        ExportError: fp32 differs from PyTorch: a final answer, or a score by more than `FP32_TOLERANCE`.
    """
    measured = measure(folder, task, dtype, reference, track)
    result, differences = measured.verification, measured.differences
    if dtype == "fp32" and not (result.agreement == 1 and result.max_abs_diff <= FP32_TOLERANCE):
        worst = max(
            range(len(differences)),
            key=lambda index: (-differences[index].agreement, float(differences[index].values.max())),
        )
        raise ExportError(
            f"Verification failed: {dtype} gives other answers than PyTorch on "
            f"{sum(difference.agreement < 1 for difference in differences)} of {result.texts} texts, "
            f"max |Δ| {result.max_abs_diff:.2g}. The worst: {reference.texts[worst]!r}: "
            f"PyTorch {_short(reference.answers[worst])}, {dtype} {_short(measured.answers[worst])}.",
            hint="Nothing was written. Report it with the model's name: the conversion of this architecture is at fault.",
        )
    return result


def _timed(
    pipe: Callable[..., Any], task: Task, texts: Sequence[Any], track: Track, title: str
) -> tuple[list[Any], float]:
    """Return the answers, one text at a time after a warm-up, and the median time in milliseconds."""
    options = CASES[task.graph].options
    answers, times_ms = [], []
    pipe(texts[0], **options)
    for text in track(texts, title):
        start = perf_counter()
        answers.append(pipe(text, **options))
        times_ms.append(1000 * (perf_counter() - start))
    return answers, median(times_ms)


def _short(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= 120 else f"{text[:119]}…"

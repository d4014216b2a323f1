"""Every variant against PyTorch, on real text: the gate that an export must pass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import torchless
from torchless.checkpoint import Verification
from torchless.errors import ExportError
from torchless.tasks import Task
from torchless_export.source import LoadedModel

__all__ = ["FP32_TOLERANCE", "Reference", "reference_answers", "verify"]

FP32_TOLERANCE = 1e-4
"""How far an fp32 score may be from PyTorch's; for hidden states, relative to their scale."""

Track: TypeAlias = Callable[[Sequence[str], str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Reference:
    """PyTorch's answers to texts, and the median time of one in milliseconds."""

    texts: Sequence[str]
    answers: Sequence[Any]
    ms_per_text: float


@dataclass(frozen=True, slots=True)
class _Difference:
    same: bool
    values: NDArray[np.floating]


def reference_answers(loaded: LoadedModel, task: Task, texts: Sequence[str], track: Track) -> Reference:
    """Answer texts with `transformers.pipeline` on the model that is exported.

    Args:
        loaded: The model and its tokenizer.
        task: The task.
        texts: They are cut to what the model takes.
        track: Wraps a loop over texts, to show its progress.
    """
    import transformers

    pipe = transformers.pipeline(task.name, model=loaded.model, tokenizer=loaded.tokenizer, device="cpu")
    answers, ms_per_text = _timed(pipe, task, texts, track, "PyTorch")
    return Reference(texts, answers, ms_per_text)


def verify(folder: Path, task: Task, dtype: str, reference: Reference, track: Track) -> Verification:
    """Answer the same texts with torchless, and compare.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
        reference: PyTorch's answers.
        track: Wraps a loop over texts, to show its progress.

    Returns:
        What the manifest says of this variant.

    Raises:
        ExportError: fp32 differs from PyTorch: a final answer, or a score by more than `FP32_TOLERANCE`.
    """
    pipe = torchless.pipeline(task.name, folder, dtype=dtype)
    answers, ms_per_text = _timed(pipe, task, reference.texts, track, dtype)
    compare = _COMPARISONS[task.name]
    differences = [compare(expected, got) for expected, got in zip(reference.answers, answers, strict=True)]
    largest = [float(difference.values.max()) for difference in differences]
    result = Verification(
        texts=len(differences),
        agreement=fmean(difference.same for difference in differences),
        max_abs_diff=max(largest),
        mean_abs_diff=float(np.concatenate([difference.values.ravel() for difference in differences]).mean()),
        ms_per_text=round(ms_per_text, 3),
        reference_ms_per_text=round(reference.ms_per_text, 3),
    )
    if dtype == "fp32" and not (result.agreement == 1 and result.max_abs_diff <= FP32_TOLERANCE):
        worst = max(range(len(differences)), key=lambda index: (not differences[index].same, largest[index]))
        raise ExportError(
            f"Verification failed: {dtype} gives other answers than PyTorch on "
            f"{sum(not difference.same for difference in differences)} of {result.texts} texts, "
            f"max |Δ| {result.max_abs_diff:.2g}. The worst: {reference.texts[worst]!r}: "
            f"PyTorch {_short(reference.answers[worst])}, {dtype} {_short(answers[worst])}.",
            hint="Nothing was written. Report it with the model's name: the conversion of this architecture is at fault.",
        )
    return result


def _timed(
    pipe: Callable[..., Any], task: Task, texts: Sequence[str], track: Track, title: str
) -> tuple[list[Any], float]:
    """Return the answers, one text at a time after a warm-up, and the median time in milliseconds."""
    options = _OPTIONS[task.name]
    answers, times_ms = [], []
    pipe(texts[0], **options)
    for text in track(texts, title):
        start = perf_counter()
        answers.append(pipe(text, **options))
        times_ms.append(1000 * (perf_counter() - start))
    return answers, median(times_ms)


def _compare_labels(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> _Difference:
    scores = {one["label"]: one["score"] for one in got}
    values = np.array([abs(one["score"] - scores[one["label"]]) for one in expected])  # (labels,)
    return _Difference(expected[0]["label"] == got[0]["label"], values)


def _compare_hidden_states(expected: Any, got: Any) -> _Difference:
    ours, theirs = np.asarray(got[0]), np.asarray(expected[0])  # (tokens, hidden)
    cosines = (ours * theirs).sum(-1) / (np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1))  # (tokens,)
    return _Difference(bool(cosines.min() >= 0.99), np.abs(ours - theirs) / np.abs(theirs).max())


_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "feature-extraction": {"truncation": True},
    "text-classification": {"truncation": True, "top_k": None},
}
_COMPARISONS: Mapping[str, Callable[[Any, Any], _Difference]] = {
    "feature-extraction": _compare_hidden_states,
    "text-classification": _compare_labels,
}


def _short(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= 120 else f"{text[:119]}…"

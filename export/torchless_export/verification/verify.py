"""Every variant against PyTorch, on real text: the gate that an export must pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from torchless.errors import ExportError, InputError, ScoreError
from torchless.folder.manifest import Verification
from torchless.tasks import Task
from torchless_export.source.loading import LoadedModel
from torchless_export.source.model_state import ModelState
from torchless_export.verification.answers import (
    ExportedPipe,
    OutputWatch,
    ReferencePipe,
    Track,
    timed_answers,
)
from torchless_export.verification.cases import (
    CASES,
    FP32_TOLERANCE,
    Case,
    Decode,
    Difference,
    exported_pipeline,
    reference_pipeline,
)
from torchless_export.verification.samples import Sample, short
from torchless_export.verification.session_hooks import add_session_hook

__all__ = [
    "Measurement",
    "Reference",
    "check",
    "failure",
    "least_agreement",
    "measure",
    "reference_answers",
    "with_float32_tolerance",
]

_MIN_AGREEMENT, _MIN_DECODER_AGREEMENT, _MIN_DECODER_AGREEMENT_4_BITS = 0.99, 0.9, 0.8
_WORST_TEXTS = 5
# Two computations in float32 lie on both sides of the exact one, and some texts are worse than those that were looked at.
_FLOAT32_ERRORS = 4


@dataclass(frozen=True, slots=True)
class Reference:
    """PyTorch's answers.

    Attributes:
        samples: What was answered.
        answers: An answer for each.
        ms_per_text: The median time of one, in milliseconds.
        decode: Turns token ids into text, for messages.
        in_float64: Answers samples again, in float64.
        tolerance: How far an fp32 score may be from PyTorch's; for hidden states and logits, relative to their scale.
    """

    samples: Sequence[Sample]
    answers: Sequence[Any]
    ms_per_text: float
    decode: Decode = str
    in_float64: Callable[[Sequence[Sample]], Sequence[Any]] | None = None
    tolerance: float = FP32_TOLERANCE


@dataclass(frozen=True, slots=True)
class Measurement:
    """A variant's answers to the same samples.

    Attributes:
        verification: What the differences come to.
        differences: How each answer differs from PyTorch's.
        answers: An answer for each sample.
        batch_dependent: Whether an answer depends on the rows that share its batch.
    """

    verification: Verification
    differences: Sequence[Difference]
    answers: Sequence[Any]
    batch_dependent: bool = False


def reference_answers(loaded: LoadedModel, task: Task, samples: Sequence[Sample], track: Track) -> Reference:
    """Answer samples with `transformers.pipeline` on the model that is exported.

    Args:
        loaded: The model and its tokenizer.
        task: The task.
        samples: The samples.
        track: Wraps a loop over samples, to show its progress.

    Raises:
        ExportError: PyTorch cannot answer a sample.
    """
    pipe = ReferencePipe(reference_pipeline(loaded, task), loaded.tokenizer)

    def in_float64(samples: Sequence[Sample]) -> Sequence[Any]:
        loaded.state.restore()
        loaded.model.double()
        try:
            state = ModelState(loaded.model)
            return timed_answers(pipe, task, samples, lambda samples, _: samples, "PyTorch", before=state.restore)[0]
        finally:
            loaded.model.float()

    answers, ms_per_text = timed_answers(pipe, task, samples, track, "PyTorch", before=loaded.state.restore)
    return Reference(samples, answers, ms_per_text, loaded.tokenizer.decode, in_float64)


def measure(folder: Path, task: Task, dtype: str, reference: Reference, track: Track) -> Measurement:
    """Answer the same samples with torchless, and compare.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
        reference: PyTorch's answers.
        track: Wraps a loop over samples, to show its progress.
    """
    with np.errstate(all="ignore"):  # a graph that overflows is the gate's to judge
        watch, case = OutputWatch(), CASES[task.graph]
        pipe = exported_pipeline(folder, task, dtype)
        for session in pipe.model.sessions:
            add_session_hook(session, watch.keep)
        forced = zip(reference.samples, reference.answers, strict=True)
        samples = [replace(sample, inputs=case.force(sample.inputs, answer)) for sample, answer in forced]
        answers, ms_per_text = timed_answers(ExportedPipe(pipe), task, samples, track, dtype, after=watch.look)
        differences = [
            _difference(case, expected, got, finite=finite)
            for expected, got, finite in zip(reference.answers, answers, watch.finite, strict=True)
        ]
        batch_dependent = pipe.model.batch_dependent
    values = np.concatenate([difference.values.ravel() for difference in differences] or [np.zeros(0)])
    usual = [index for index, sample in enumerate(reference.samples) if sample.kind is None]
    result = Verification(
        texts=len(usual),
        agreement=fmean(differences[index].agreement for index in usual),
        kinds=_least_by_kind(reference.samples, differences),
        max_abs_diff=float(values.max(initial=0)),
        mean_abs_diff=float(values.mean()) if values.size else 0.0,
        ms_per_text=round(ms_per_text, 3),
        reference_ms_per_text=round(reference.ms_per_text, 3),
        lengths=tuple(sample.length for sample in reference.samples if sample.length is not None),
        perplexity=_perplexity([answers[index] for index in usual]),
        reference_perplexity=_perplexity([reference.answers[index] for index in usual]),
    )
    return Measurement(result, differences, answers, batch_dependent)


def least_agreement(dtype: str, task: Task, min_agreement: float | None) -> float:
    """Return the least agreement of a variant other than fp32.

    Args:
        dtype: The variant.
        task: The task. A decoder's next tokens have a lower limit, since many are nearly as likely as the first.
        min_agreement: What the user accepts, 0 to 1; None for the default.
    """
    if min_agreement is not None:
        return min_agreement
    if not task.cached:
        return _MIN_AGREEMENT
    return _MIN_DECODER_AGREEMENT_4_BITS if dtype.startswith("q4") else _MIN_DECODER_AGREEMENT


def failure(dtype: str, reference: Reference, measured: Measurement, *, min_agreement: float) -> str | None:
    """Return why a variant may not be published; None if it may.

    Args:
        dtype: The variant. fp32 must agree entirely, and no score may differ by more than the reference's tolerance.
        reference: PyTorch's answers.
        measured: How the variant answered.
        min_agreement: What any other must reach, 0 to 1.
    """
    result = measured.verification
    broken = sum(not np.isfinite(difference.values).all() for difference in measured.differences)
    far = f"max |Δ| {result.max_abs_diff:.2g}"
    if broken:
        return f"{dtype} answers {broken} of {len(measured.differences)} texts with NaN or infinite values"
    if dtype == "fp32":
        failed = _failed(reference, measured)
        if not failed:
            return None
        frozen = _frozen_length(reference, failed)
        if frozen is not None:
            agreeing, differing = frozen
            return (
                f"fp32 agrees with PyTorch up to {agreeing} tokens, and gives other answers at {differing} tokens, {far}: this "
                "model computes longer texts in another way, which its graph does not hold"
            )
        return f"fp32 gives other answers than PyTorch on {len(failed)} of {len(measured.differences)} texts, {far}"
    if result.agreement < min_agreement:
        return (
            f"{dtype} agrees with PyTorch on {result.agreement:.2%} of {result.texts} texts, and the least is "
            f"{min_agreement:.2%}; {far}"
        )
    return None


def check(
    dtype: str,
    reference: Reference,
    measured: Measurement,
    task: Task,
    *,
    min_agreement: float,
    calibrated: bool = False,
) -> Verification:
    """Return what the manifest says of a variant if it may be published: the gate.

    Args:
        dtype: The variant.
        reference: PyTorch's answers.
        measured: The variant's.
        task: The task.
        min_agreement: What any other than fp32 must reach, 0 to 1.
        calibrated: Whether it was made with texts that the user may choose.

    Raises:
        ExportError: It may not. The error names the worst texts.
    """
    if dtype == "fp32":
        reference = with_float32_tolerance(reference, measured, task)
    problem = failure(dtype, reference, measured, min_agreement=min_agreement)
    if problem is None:
        return replace(measured.verification, tolerance=reference.tolerance if dtype == "fp32" else None)
    frozen = _frozen_length(reference, _failed(reference, measured)) if dtype == "fp32" else None
    if frozen is not None:
        hint = f"Export it for texts of up to {frozen[0]} tokens: --max-tokens {frozen[0]}"
    elif dtype == "fp32":
        hint = "Report it with the model's name: the conversion of this architecture is at fault."
    else:
        calibrate = " calibrate with texts of your own (--calibrate-with FILE)," if calibrated else ""
        hint = (
            f"Leave {dtype} out of --dtype,{calibrate} accept less with --min-agreement, or keep the others with "
            "--keep-passing."
        )
    worst = _worst(dtype, reference, measured, CASES[task.graph].describe)
    raise ExportError(
        f"Verification failed: {problem}. The worst texts:\n{worst}\n",
        hint=f"Nothing was written. {hint}",
    )


def with_float32_tolerance(reference: Reference, measured: Measurement, task: Task) -> Reference:
    """Return a reference whose tolerance is what float32 itself costs, where that is more than `FP32_TOLERANCE`.

    Args:
        reference: PyTorch's answers, in float32.
        measured: How fp32 answered.
        task: The task.
    """
    values = [float(difference.values.max(initial=0)) for difference in measured.differences]
    far = [index for index in np.argsort(values)[::-1][:_WORST_TEXTS] if values[index] > FP32_TOLERANCE]
    if not far or reference.in_float64 is None or not np.isfinite(values).all():
        return reference
    compare = CASES[task.graph].compare
    exact = reference.in_float64([reference.samples[index] for index in far])
    errors = [compare(answer, reference.answers[index]).values.max() for answer, index in zip(exact, far, strict=True)]
    return replace(reference, tolerance=max(FP32_TOLERANCE, _FLOAT32_ERRORS * float(max(errors))))


def _failed(reference: Reference, measured: Measurement) -> list[int]:
    """Return the samples that fp32 answers otherwise than PyTorch, by their indices."""
    return [
        index
        for index, difference in enumerate(measured.differences)
        if difference.agreement < 1 or difference.values.max(initial=0) > reference.tolerance
    ]


def _frozen_length(reference: Reference, failed: Sequence[int]) -> tuple[int, int] | None:
    """Return the longest length that agrees below the first that fails, and that one; None if other texts fail, too."""
    lengths = [reference.samples[index].length for index in failed]
    known = [length for length in lengths if length is not None]
    if not known or len(known) < len(lengths):
        return None
    shorter = [
        sample.length for sample in reference.samples if sample.length is not None and sample.length < min(known)
    ]
    return (max(shorter), min(known)) if shorter else None


def _least_by_kind(samples: Sequence[Sample], differences: Sequence[Difference]) -> dict[str, float]:
    """Return the least similarity of an answer to PyTorch's, for each kind of text."""
    least: dict[str, float] = {}
    for sample, difference in zip(samples, differences, strict=True):
        if sample.kind is not None:
            least[sample.kind] = round(min(difference.similarity, least.get(sample.kind, 1.0)), 6)
    return least


def _perplexity(answers: Sequence[Any]) -> float | None:
    """Return the perplexity of the texts that a decoder alone was given; None for other tasks."""
    scored = [answer for answer in answers if getattr(answer, "scored_tokens", 0)]
    if not scored:
        return None
    return exp(
        sum(answer.negative_log_likelihood for answer in scored) / sum(answer.scored_tokens for answer in scored)
    )


def _worst(
    dtype: str, reference: Reference, measured: Measurement, describe: Callable[[Any, Any, Decode], tuple[str, str]]
) -> str:
    """Return a line for each of the texts whose answers differ most: both answers."""

    def badness(index: int) -> tuple[bool, float, float]:
        difference = measured.differences[index]
        broken = not np.isfinite(difference.values).all()
        return broken, -difference.agreement, float(difference.values.max(initial=0))

    def line(index: int) -> str:
        expected, got = reference.answers[index], measured.answers[index]
        if isinstance(got, InputError):
            expected_text, exported_text = describe(expected, expected, reference.decode)[0], got.problem
        else:
            expected_text, exported_text = describe(expected, got, reference.decode)
        return f"  {reference.samples[index]}: PyTorch {short(expected_text)}, {dtype} {short(exported_text)}"

    indices = sorted(range(len(measured.differences)), key=badness, reverse=True)[:_WORST_TEXTS]
    return "\n".join(map(line, indices))


def _difference(case: Case, expected: Any, got: Any, *, finite: bool) -> Difference:
    if isinstance(got, ScoreError) or not finite:
        return Difference(0.0, np.array([np.nan]), 0.0)
    return Difference(1.0, np.zeros(0), 1.0) if isinstance(got, InputError) else case.compare(expected, got)

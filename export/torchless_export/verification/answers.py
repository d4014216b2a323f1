"""Answers of PyTorch and of an export, one sample at a time, with what each costs and what goes wrong."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import ExportError, InputError, ScoreError, TorchlessError, TruncationWarning
from torchless.tasks import Task
from torchless_export.verification.cases import CASES, Answerer
from torchless_export.verification.samples import Sample, batches, cut_to, short

__all__ = ["ExportedPipe", "OutputWatch", "ReferencePipe", "Track", "timed_answers"]

Track: TypeAlias = Callable[[Sequence[Any], str], Iterable[Any]]
"""Wraps a loop over items under a title, to show its progress."""


@dataclass(frozen=True, slots=True)
class ReferencePipe:
    """Answers with PyTorch, and says which input it cannot answer."""

    pipe: Callable[..., Any]
    tokenizer: Any

    def __call__(self, inputs: Any, **options: Any) -> Any:
        try:
            return self.pipe(inputs, **options)
        except TorchlessError:
            raise
        except Exception as error:  # each architecture has its own errors
            reason = short(next(iter(str(error).splitlines()), ""))
            hint = (
                'Set the inputs that the model takes in tokenizer_config.json: "model_input_names": ["input_ids", '
                '"attention_mask"]'
                if "token_type_ids" in reason
                else "Check that transformers.pipeline answers it from this checkpoint."
            )
            raise ExportError(
                f"PyTorch cannot answer {Sample(inputs, None)}: {type(error).__name__}: {reason}", hint=hint
            ) from error


@dataclass(frozen=True, slots=True)
class ExportedPipe:
    """Answers with torchless. It returns the error of a pair that the graph has no input for, and of scores that are no numbers."""

    pipe: Answerer

    @property
    def tokenizer(self) -> Any:
        return self.pipe.tokenizer

    def __call__(self, inputs: Any, **options: Any) -> Any:
        try:
            return self.pipe(inputs, **options)
        except ScoreError as error:  # the gate counts them
            return error
        except InputError as error:
            if isinstance(inputs, Mapping) and "text_pair" in inputs:
                return error
            # The message of ONNX Runtime names an operator, and means nothing to who exports.
            reason = "ONNX Runtime does not run it on a text of this length." if error.__cause__ else error.problem
            raise ExportError(
                f"The graph cannot answer {Sample(inputs, None)}, which PyTorch answers: {reason}",
                hint="Choose a checkpoint of another architecture. The conversion of this one is at fault.",
            ) from error


class OutputWatch:
    """Looks at the outputs of a graph: the answer that a task makes of them may hide NaN.

    Attributes:
        finite: For each input that was answered, whether all outputs are numbers.
    """

    def __init__(self) -> None:
        self.finite: list[bool] = []
        self._seen: list[NDArray[Any]] = []

    def keep(self, _graph: Path, _feeds: Mapping[str, NDArray[Any]], arrays: Sequence[NDArray[Any]]) -> None:
        """Keep the outputs of a run until `look`."""
        self._seen += arrays

    def look(self, inputs: int) -> None:
        """Note whether the outputs since the last look are numbers. Minus infinity is a logit that a model may mean.

        Args:
            inputs: How many inputs they answer.
        """
        self.finite += [all(bool((array < np.inf).all()) for array in self._seen)] * inputs
        self._seen.clear()


def timed_answers(
    pipe: Any,
    task: Task,
    samples: Sequence[Sample],
    track: Track,
    title: str,
    before: Callable[[], None] = lambda: None,
    after: Callable[[int], object] = lambda _: None,
) -> tuple[list[Any], float]:
    """Return the answers, and the median time in milliseconds of the texts that are answered alone.

    What is called `before` and `after` each batch is not timed, nor are texts that were made for their length. `after` is given
    the number of samples in the batch.
    """
    case = CASES[task.graph]
    answers: list[Any] = []
    times_ms = []
    for batch in track(list(batches(samples)), title):
        first = batch[0]
        inputs = [sample.inputs for sample in batch] if case.in_batches else first.inputs
        by_length = {case.length_option: first.length} if case.length_option and first.length else {}
        before()
        with cut_to(pipe.tokenizer, first.max_tokens), warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # both sides cut
            start = perf_counter()
            answer = pipe(inputs, **case.options, **by_length)
            if first.length is None and first.batch is None:
                times_ms.append(1000 * (perf_counter() - start))
        answers += answer if isinstance(answer, list) and case.in_batches else [answer] * len(batch)
        after(len(batch))
    return answers, median(times_ms or [0.0])

"""What every pipeline shares: inputs of any form become rows, rows become outputs, outputs become results."""

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torchless.batching.policy import chunks
from torchless.batching.prompt_scheduler import PromptScheduler
from torchless.batching.rows import Row, RowChunk, RowOutput
from torchless.batching.scheduler import Scheduler
from torchless.errors import ScoreError, TruncationWarning, check_whole_number
from torchless.models.model import Model
from torchless.pipelines.finiteness import outputs_are_finite, scores_are_finite
from torchless.pipelines.options import updated
from torchless.tasks import Task
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import Truncation

__all__ = ["Pipeline", "Prepared"]

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Inputs as rows, for a caller that runs the rows itself.

    Attributes:
        rows: The rows of all inputs, in their order.
        results: From the rows' outputs to one result for each input.
    """

    rows: Sequence[Row]
    results: Callable[[Sequence[RowOutput]], list[Any]]


class Pipeline(ABC, Generic[OptionsT]):
    """Three steps around rows: `preprocess`, `forward`, `postprocess`.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        task_name: The name that the caller gave the task, where it has several: `translation_en_to_de` for `translation`.
        batch_size: The most rows in a batch; by default only its tokens are bounded, and a model whose answers depend on
            the batch runs its rows one by one.
        options: The task's options, which each call may change for itself.

    Attributes:
        task: The row of the table of tasks.
        options_class: The class of the task's options.
        options: The options that hold unless a call changes them.
        too_long_hint: The hint for a text that is longer than the model takes, `{limit}` tokens.

    Raises:
        OptionError: There is no such option, or its value is not possible.
    """

    task: ClassVar[Task]
    options_class: ClassVar[type[Any]]
    too_long_hint: ClassVar[str] = "Cut it with truncation=True, max_length={limit} (or less)."

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        *,
        task_name: str | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.task_name = task_name or self.task.name
        _check_batch_size(batch_size)
        self._scheduler = self._make_scheduler(max_batch_rows=batch_size)
        self.options: OptionsT = self.with_options(self.options_class(), options)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Answer one input with one result, a list with a list, an iterator with an iterator.

        Args:
            inputs: One input; a list of inputs; or an iterator, which is read only as results are asked for.
            batch_size: The most rows in a batch.
            options: The task's options, for this call.

        Raises:
            InputError: An input cannot be answered.
            OptionError: There is no such option, or its value is not possible.
        """
        chosen = self.with_options(self.options, options)
        _check_batch_size(batch_size)
        largest = self._scheduler.max_chunk_inputs
        if isinstance(inputs, Iterator):
            return self._lazy_results(self._answer(chunks(inputs, largest=largest), chosen, batch_size, counted=True))
        items = inputs if isinstance(inputs, list) else [inputs]
        in_chunks = chunks(items, first=largest, largest=largest)
        answers = list(self._answer(in_chunks, chosen, batch_size, counted=isinstance(inputs, list)))
        _warn_of_truncation(_Truncated.total(truncated for truncated, _ in answers), stacklevel=4)
        results = list(chain.from_iterable(results for _, results in answers))
        return results if isinstance(inputs, list) else results[0]

    def prepare(self, inputs: Sequence[Any], /, **options: Any) -> Prepared:
        """Do all of a call but running the model, so that rows of many calls can share its runs.

        Args:
            inputs: Any number of single inputs.
            options: The task's options, for these inputs.

        Raises:
            InputError: An input cannot be answered.
            OptionError: There is no such option, or its value is not possible.
        """
        chosen = self.with_options(self.options, options)
        rows_of_inputs = self._rows_of_inputs(inputs, chosen)
        rows = list(chain.from_iterable(rows_of_inputs))
        first = 0 if len(inputs) > 1 else None
        return Prepared(rows, lambda outputs: self._results(inputs, rows_of_inputs, outputs, chosen, first=first))

    def preprocess(self, text: Any, options: OptionsT | None = None) -> Sequence[Row]:
        """Turn one input into its rows.

        Args:
            text: A single input of the task.
            options: The task's options; by default the pipeline's.

        Raises:
            InputError: The input cannot be answered.
        """
        return self._preprocess(text, options or self.options)

    def forward(self, rows: Sequence[Row], *, batch_size: int | None = None) -> list[RowOutput]:
        """Run rows through the model, planned into batches by their length.

        Args:
            rows: Rows of any inputs.
            batch_size: The most rows in a batch.

        Returns:
            Each row's arrays without padding, in the order of the rows.

        Raises:
            InputError: A row is longer than the model takes.
        """
        self._check_lengths(rows)
        return self._scheduler.run(rows, max_batch_rows=batch_size)

    def postprocess(
        self, text: Any, rows: Sequence[Row], outputs: Sequence[RowOutput], options: OptionsT | None = None
    ) -> Any:
        """Turn the outputs of one input's rows into its result.

        Args:
            text: The input.
            rows: Its rows.
            outputs: The outputs of its rows.
            options: The task's options; by default the pipeline's.
        """
        return self._postprocess(text, rows, outputs, options or self.options)

    @abstractmethod
    def _preprocess(self, text: Any, options: OptionsT) -> Sequence[Row]:
        """Turn one input into its rows."""

    @abstractmethod
    def _postprocess(self, text: Any, rows: Sequence[Row], outputs: Sequence[RowOutput], options: OptionsT) -> Any:
        """Turn the outputs of one input's rows into its result."""

    def _make_scheduler(self, *, max_batch_rows: int | None) -> Scheduler | PromptScheduler:
        """Return what runs the rows."""
        return Scheduler(self.model, self.tokenizer, max_batch_rows=max_batch_rows)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a row that both the tokenizer and the model declare; None if neither has a limit."""
        limits = (self.tokenizer.max_tokens, self.model.max_tokens)
        return min((limit for limit in limits if limit is not None), default=None)

    def with_options(self, options: OptionsT, changes: Mapping[str, Any]) -> OptionsT:
        """Return options with some of them changed.

        Raises:
            OptionError: There is no such option, or its value is not possible.
        """
        return updated(options, changes, called=type(self).__name__)

    def example_inputs(self) -> list[Any]:
        """Return inputs to try the pipeline with."""
        mask = self.tokenizer.mask_token or ""
        return [example.format(mask=mask) if isinstance(example, str) else example for example in self.task.examples]

    @property
    def example_options(self) -> Mapping[str, Any]:
        """The options to try the pipeline with."""
        return self.task.options

    def encode(
        self, text: Any, truncation: Truncation | None, *, add_special_tokens: bool = True, **encoding: bool
    ) -> Row:
        """Return the row of a text or of a (text, pair) tuple; the row knows whether the text was cut.

        Raises:
            InputError: The text cannot be encoded.
        """
        first, *others = self.encode_windows(text, truncation, add_special_tokens=add_special_tokens, **encoding)
        return Row(first.encoding, cut=bool(others))

    def encode_windows(
        self, text: Any, truncation: Truncation | None, *, add_special_tokens: bool = True, **encoding: bool
    ) -> list[Row]:
        """Return rows that together cover a text or a (text, pair) tuple: one, or several windows of it.

        Raises:
            InputError: The text cannot be encoded.
        """
        (whole,) = self.tokenizer.encode_batch(
            [text], truncation=truncation, add_special_tokens=add_special_tokens, **encoding
        )
        return [Row(whole), *(map(Row, whole.overflowing) if truncation else ())]

    def _answer(
        self, input_chunks: Iterable[list[Any]], options: OptionsT, batch_size: int | None, *, counted: bool
    ) -> Iterator[tuple["_Truncated", list[Any]]]:
        """Yield the results of each chunk of inputs; an error says an input's index where they are `counted`."""
        first = 0 if counted else None
        encoded: deque[tuple[list[Any], list[Sequence[Row]]]] = deque()

        def row_chunks() -> Iterator[RowChunk]:
            for inputs in input_chunks:
                rows_of_inputs = self._rows_of_inputs(inputs, options)
                encoded.append((inputs, rows_of_inputs))
                is_full = len(inputs) == self._scheduler.max_chunk_inputs
                yield RowChunk(list(chain.from_iterable(rows_of_inputs)), is_full)

        chunks_of_outputs = self._scheduler.run_chunks(row_chunks(), max_batch_rows=batch_size)
        while True:
            try:
                outputs = next(chunks_of_outputs)
            except StopIteration:
                return
            except ScoreError as error:  # of a generation
                inputs, rows_of_inputs = encoded[0]
                index = bisect_right(list(accumulate(map(len, rows_of_inputs))), error.row)
                raise ScoreError(inputs[index], index=None if first is None else first + index) from error
            inputs, rows_of_inputs = encoded.popleft()
            results = self._results(inputs, rows_of_inputs, outputs, options, first=first)
            yield _Truncated.of(rows_of_inputs), results
            first = None if first is None else first + len(inputs)

    def _lazy_results(self, answers: Iterable[tuple["_Truncated", list[Any]]]) -> Iterator[Any]:
        for truncated, results in answers:
            _warn_of_truncation(truncated, stacklevel=3)
            yield from results

    def _rows_of_inputs(self, inputs: Sequence[Any], options: OptionsT) -> list[Sequence[Row]]:
        rows_of_inputs = [self._preprocess(text, options) for text in inputs]
        for rows in rows_of_inputs:
            self._check_lengths(rows)
        return rows_of_inputs

    def _results(
        self,
        inputs: Sequence[Any],
        rows_of_inputs: Sequence[Sequence[Row]],
        outputs: Sequence[RowOutput],
        options: OptionsT,
        *,
        first: int | None,
    ) -> list[Any]:
        """Return the result of each input. The first has the index `first`, which errors say; None says no index.

        Raises:
            ScoreError: The model answered an input with values that are not numbers.
        """
        remaining = iter(outputs)
        results = []
        for index, (text, rows) in enumerate(zip(inputs, rows_of_inputs, strict=True)):
            outputs_of_rows = [next(remaining) for _ in rows]
            if self.task.cached or outputs_are_finite(outputs_of_rows, tuple(self.model.outputs.values())):
                result = self._postprocess(text, rows, outputs_of_rows, options)
                if scores_are_finite(result):
                    results.append(result)
                    continue
            raise ScoreError(text, index=None if first is None else first + index)
        return results

    def _check_lengths(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.model.check_length(len(row), hint=self.too_long_hint)


class _Truncated(NamedTuple):
    """How many of some inputs were cut, and to how many tokens at most."""

    inputs: int
    cut: int
    max_tokens: int

    @staticmethod
    def of(rows_of_inputs: Sequence[Sequence[Row]]) -> "_Truncated":
        cut = [rows for rows in rows_of_inputs if any(row.cut for row in rows)]
        return _Truncated(len(rows_of_inputs), len(cut), max((len(row) for rows in cut for row in rows), default=0))

    @staticmethod
    def total(parts: Iterable["_Truncated"]) -> "_Truncated":
        counted = list(parts)
        return _Truncated(
            sum(part.inputs for part in counted),
            sum(part.cut for part in counted),
            max((part.max_tokens for part in counted), default=0),
        )


def _warn_of_truncation(truncated: _Truncated, *, stacklevel: int) -> None:
    if truncated.cut:
        warnings.warn(
            f"{truncated.cut} of {truncated.inputs} inputs were cut to {truncated.max_tokens} tokens; the answers do not "
            "cover the rest. Where the task has them, windows= or stride= cover a whole text.",
            TruncationWarning,
            stacklevel=stacklevel,
        )


def _check_batch_size(batch_size: int | None) -> None:
    check_whole_number("batch_size", batch_size, at_least=1, hint="Give a number of rows, or None.")

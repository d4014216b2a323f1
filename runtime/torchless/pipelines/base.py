"""The base class of the pipelines: inputs become rows, rows become outputs, and outputs become results."""

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, ClassVar, Generic, Self, TypeVar

from torchless.batching.policy import chunks
from torchless.batching.prompt_scheduler import PromptScheduler
from torchless.batching.rows import Row, RowChunk, RowOutput
from torchless.batching.scheduler import Scheduler
from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, ScoreError, check_whole_number
from torchless.models.model import Model
from torchless.pipelines.finiteness import outputs_are_finite, scores_are_finite
from torchless.pipelines.options import updated
from torchless.pipelines.pickling import LOADED_PARTS, load_once, recipe_of
from torchless.pipelines.truncation_warning import warn_of_truncation
from torchless.tasks import Task
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import Truncation

__all__ = ["Pipeline", "Prepared"]

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows of inputs, for a caller that runs the rows itself.

    Attributes:
        rows: The rows of all inputs, in the order of the inputs.
        results: A function from the outputs of the rows to the results, one for each input.
    """

    rows: Sequence[Row]
    results: Callable[[Sequence[RowOutput]], list[Any]]


class Pipeline(ABC, Generic[OptionsT]):
    """A pipeline has three steps: `preprocess`, `forward` and `postprocess`.

    Args:
        model: The model.
        tokenizer: The tokenizer of the model.
        task_name: The name of the task in the call, if the task has several names: `translation_en_to_de` for
            `translation`.
        batch_size: The most rows in a batch; by default only the tokens of a batch are limited, and a model whose outputs
            depend on the batch runs one row at a time.
        options: The task's options; each call may change them for itself.

    Attributes:
        task: The row of the table of tasks.
        options_class: The class of the task's options.
        options: The options of the constructor; a call uses them unless it changes them.
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
        self.batch_size = batch_size
        _check_batch_size(batch_size)
        self._scheduler = self._make_scheduler(max_batch_rows=batch_size)
        self.options: OptionsT = self.with_options(self.options_class(), options)

    def __reduce__(self) -> tuple[Any, ...]:
        recipe = self.__dict__.get("_recipe")
        if recipe is None or not vars(self).keys().isdisjoint(LOADED_PARTS):
            recipe = recipe_of(self)
        state = {name: value for name, value in vars(self).items() if name not in {*LOADED_PARTS, "_recipe"}}
        return _unloaded, (type(self), recipe), state

    def __copy__(self) -> Self:
        """Return another pipeline with the same model and tokenizer."""
        copy = object.__new__(type(self))
        copy.__dict__.update(vars(self))
        return copy

    def __getattr__(self, name: str) -> Any:
        """Load the model and the tokenizer of a pipeline that came out of a pickle, the first time that they are used."""
        if name in LOADED_PARTS and (recipe := self.__dict__.get("_recipe")) is not None:
            model, tokenizer = load_once(recipe)
            # A value that the caller has set since stays.
            self.__dict__.setdefault("model", model)
            self.__dict__.setdefault("tokenizer", tokenizer)
            self.__dict__.setdefault("_scheduler", self._make_scheduler(max_batch_rows=self.batch_size))
            self.__dict__.pop("_recipe", None)
        if name in self.__dict__:  # also if another thread has just loaded it
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Return one result for one input, a list for a list, and an iterator for an iterator.

        Args:
            inputs: One input; a list of inputs; or an iterator, which is read only as far as the next results need.
            batch_size: The most rows in a batch.
            options: The task's options, for this call.

        Raises:
            InputError: An input cannot be processed.
            OptionError: There is no such option, or its value is not possible.
        """
        chosen = self.with_options(self.options, options)
        _check_batch_size(batch_size)
        largest = self._scheduler.max_chunk_inputs
        if isinstance(inputs, Iterator):
            return self._lazy_results(self._run(chunks(inputs, largest=largest), chosen, batch_size, has_index=True))
        items = inputs if isinstance(inputs, list) else [inputs]
        results: list[Any] = []
        cut_lengths: list[int] = []
        item_chunks = chunks(items, first=largest, largest=largest)
        for chunk_results, chunk_cut_lengths in self._run(
            item_chunks, chosen, batch_size, has_index=isinstance(inputs, list)
        ):
            results += chunk_results
            cut_lengths += chunk_cut_lengths
        warn_of_truncation(cut_lengths, len(items), stacklevel=4)
        return results if isinstance(inputs, list) else results[0]

    def prepare(self, inputs: Sequence[Any], /, **options: Any) -> Prepared:
        """Do the steps of a call except `forward`, so that rows of several calls can share a batch.

        Args:
            inputs: Any number of single inputs.
            options: The task's options, for these inputs.

        Raises:
            InputError: An input cannot be processed.
            OptionError: There is no such option, or its value is not possible.
        """
        chosen = self.with_options(self.options, options)
        first = 0 if len(inputs) > 1 else None
        rows_of_inputs = self._rows_of_inputs(inputs, chosen, first=first)
        rows = list(chain.from_iterable(rows_of_inputs))
        return Prepared(rows, lambda outputs: self._results(inputs, rows_of_inputs, outputs, chosen, first=first))

    def preprocess(self, text: Any, options: OptionsT | None = None) -> Sequence[Row]:
        """Turn one input into its rows.

        Args:
            text: A single input of the task.
            options: The task's options; by default the pipeline's.

        Raises:
            InputError: The input cannot be processed.
        """
        return self._preprocess(text, options or self.options)

    def forward(self, rows: Sequence[Row], *, batch_size: int | None = None) -> list[RowOutput]:
        """Run rows through the model, in batches of similar length.

        Args:
            rows: Rows of any inputs.
            batch_size: The most rows in a batch.

        Returns:
            The arrays of each row without padding, in the order of the rows.

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
            rows: The rows of the input.
            outputs: The outputs of the rows.
            options: The task's options; by default the pipeline's.
        """
        return self._postprocess(text, rows, outputs, options or self.options)

    @abstractmethod
    def _preprocess(self, text: Any, options: OptionsT) -> Sequence[Row]:
        """Turn one input into its rows."""

    @abstractmethod
    def _postprocess(self, text: Any, rows: Sequence[Row], outputs: Sequence[RowOutput], options: OptionsT) -> Any:
        """Turn the outputs of one input's rows into its result."""

    def _count_values(self, rows: Sequence[Row], options: OptionsT) -> int:
        """Return the number of values that the result of one input will hold, or a bound of it."""
        return len(rows)

    def _make_scheduler(self, *, max_batch_rows: int | None) -> Scheduler | PromptScheduler:
        """Return the scheduler that runs the rows."""
        return Scheduler(self.model, self.tokenizer, max_batch_rows=max_batch_rows)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a row that both the tokenizer and the model declare; None if neither has a limit."""
        limits = (self.tokenizer.max_tokens, self.model.max_tokens)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def context_length(self) -> int | None:
        """The most tokens of a text with its continuation, by the tokenizer and the context of the model; None if neither says it."""
        limits = (self.tokenizer.max_tokens, self.model.config.context_length)
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

    def encode(self, text: Any, truncation: Truncation | None, **encode_options: bool) -> Row:
        """Return the row of a text or of a (text, pair) tuple; the row records whether the text was cut.

        Args:
            text: The text or tuple.
            truncation: How a text is cut; None cuts nothing.
            encode_options: `add_special_tokens` and `is_split_into_words`, as for the tokenizer's `encode_batch`.

        Raises:
            InputError: The text cannot be encoded.
        """
        if truncation is None:
            ((encoding,), is_cut) = self.tokenizer.encode_batch([text], **encode_options), False
        else:
            encoding, is_cut = self.tokenizer.encode_truncated(text, truncation, **encode_options)
        CURRENT_LIMITS.get().admit_row(len(encoding))
        return Row(encoding, cut=is_cut)

    def encode_windows(self, text: Any, truncation: Truncation | None, **encode_options: bool) -> list[Row]:
        """Return the rows that cover a text or a (text, pair) tuple: one row, or several windows.

        Args:
            text: As for `encode`.
            truncation: As for `encode`.
            encode_options: As for `encode`.

        Raises:
            InputError: The text cannot be encoded.
        """
        if truncation is None:
            return [self.encode(text, None, **encode_options)]
        rows = list(map(Row, self.tokenizer.encode_windows(text, truncation, **encode_options)))
        for row in rows:
            CURRENT_LIMITS.get().admit_row(len(row))
        return rows

    def _run(
        self, input_chunks: Iterable[list[Any]], options: OptionsT, batch_size: int | None, *, has_index: bool
    ) -> Iterator[tuple[list[Any], list[int]]]:
        """Yield the results of each chunk of inputs, and the number of tokens of each input that was cut.

        If the inputs have an index, errors name it.
        """
        first = 0 if has_index else None
        encoded: deque[tuple[list[Any], list[Sequence[Row]]]] = deque()

        def row_chunks() -> Iterator[RowChunk]:
            read = 0
            for inputs in input_chunks:
                rows_of_inputs = self._rows_of_inputs(inputs, options, first=read if has_index else None)
                read += len(inputs)
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
            cut_lengths = [max(map(len, rows)) for rows in rows_of_inputs if any(row.cut for row in rows)]
            yield self._results(inputs, rows_of_inputs, outputs, options, first=first), cut_lengths
            first = None if first is None else first + len(inputs)

    def _lazy_results(self, result_chunks: Iterable[tuple[list[Any], list[int]]]) -> Iterator[Any]:
        for results, cut_lengths in result_chunks:
            warn_of_truncation(cut_lengths, len(results), stacklevel=3)
            yield from results

    def _rows_of_inputs(self, inputs: Sequence[Any], options: OptionsT, *, first: int | None) -> list[Sequence[Row]]:
        """Return the rows of each input. The first has the index `first`, which errors say; None says no index."""
        rows_of_inputs = []
        limits = CURRENT_LIMITS.get()
        for index, text in enumerate(inputs):
            limits.check()
            try:
                rows = self._preprocess(text, options)
                self._check_lengths(rows)
            except InputError as error:
                if first is None:
                    raise
                raise error.at(first + index) from error
            limits.admit_values(self._count_values(rows, options))
            rows_of_inputs.append(rows)
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
        limits, axes = CURRENT_LIMITS.get(), tuple(self.model.outputs.values())
        results = []
        for index, (text, rows) in enumerate(zip(inputs, rows_of_inputs, strict=True)):
            limits.check()
            outputs_of_rows = [next(remaining) for _ in rows]
            if self.task.cached or outputs_are_finite(outputs_of_rows, axes):
                result = self._postprocess(text, rows, outputs_of_rows, options)
                if scores_are_finite(result):
                    results.append(result)
                    continue
            raise ScoreError(text, index=None if first is None else first + index)
        return results

    def _too_long_hint(self, row: Row) -> str:
        """Return the hint for a row that is longer than the model takes, `{limit}` tokens."""
        return self.too_long_hint

    def _check_lengths(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.model.check_length(len(row), hint=self._too_long_hint(row))
        context = None if self.task.cached else self.model.config.context_length
        if context is not None and (tokens := max(map(len, rows), default=0)) > context:
            warnings.warn(
                f"A text has {tokens} tokens. The model was trained for {context}, and its answer to a longer text may be wrong. "
                + self.too_long_hint.format(limit=context),
                UserWarning,
                stacklevel=5,
            )


def _unloaded(pipeline_class: type[Pipeline[Any]], recipe: bytes) -> Pipeline[Any]:
    """Return a pipeline that is loaded once it is used."""
    pipeline = object.__new__(pipeline_class)
    pipeline.__dict__["_recipe"] = recipe
    return pipeline


def _check_batch_size(batch_size: int | None) -> None:
    check_whole_number("batch_size", batch_size, at_least=1, hint="Give a number of rows, or None.")

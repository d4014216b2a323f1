"""What every pipeline shares: inputs of any shape become rows, rows become outputs, outputs become results."""

import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torchless.batching.policy import windows
from torchless.batching.prompt_scheduler import PromptRun, PromptScheduler
from torchless.batching.rows import Row, RowOutput
from torchless.batching.scheduler import Run, Scheduler
from torchless.errors import TruncationWarning, check_whole_number
from torchless.models.auto import Model
from torchless.pipelines.options import updated
from torchless.tasks import Task
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import Truncation

__all__ = ["Pipeline", "Prepared"]

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Inputs on their way, for whoever runs their rows himself.

    Attributes:
        rows: Those of all inputs, in their order.
        results: From the rows' outputs to one result an input.
    """

    rows: Sequence[Row]
    results: Callable[[Sequence[RowOutput]], list[Any]]


class Pipeline(ABC, Generic[OptionsT]):
    """Three steps around rows: `preprocess`, `forward`, `postprocess`.

    Rows of tasks whose graph continues what it wrote are prompts: `forward` generates, and their options are in the rows.

    Args:
        model: The model, loaded.
        tokenizer: Its tokenizer.
        task_name: The name that the caller gave the task, where it has several: `translation_en_to_de` for `translation`.
        batch_size: The most rows a batch may have; by default only the tokens in it are bounded, and a model whose
            answers depend on the batch runs its rows one by one.
        options: The task's options, which each call may change for itself.

    Attributes:
        task: The row of the table that this class serves.
        options_class: The class of its options.
        options: What holds unless a call says otherwise.
        too_long_hint: What to do about a text that is longer than the model takes, `{limit}` tokens.

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
        scheduler = PromptScheduler if self.task.cached else Scheduler
        self._scheduler: Scheduler | PromptScheduler = scheduler(model, tokenizer, max_batch_rows=batch_size)
        self.options: OptionsT = self.with_options(self.options_class(), options)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Answer one input with one result, a list with a list, an iterator with an iterator.

        Args:
            inputs: One input; a list of inputs; or an iterator, read only as results are asked for.
            batch_size: The most rows a batch may have.
            options: The task's options, for this call.

        Raises:
            InputError: An input cannot be answered.
            OptionError: There is no such option, or its value is not possible.
        """
        chosen = self.with_options(self.options, options)
        _check_batch_size(batch_size)
        if isinstance(inputs, Iterator):
            return self._stream(inputs, chosen, batch_size)
        if not isinstance(inputs, list):
            return self._answer([inputs], chosen, batch_size)[0]
        if len(inputs) <= self._scheduler.window_inputs:
            return self._answer(inputs, chosen, batch_size)
        return self._answer_windows(inputs, chosen, batch_size)

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
        rows_of_inputs = [self.preprocess(text, chosen) for text in inputs]
        rows = [row for rows in rows_of_inputs for row in rows]
        self._check_lengths(rows)
        return Prepared(rows, lambda outputs: self._postprocessed(inputs, rows_of_inputs, outputs, chosen))

    @abstractmethod
    def preprocess(self, text: Any, options: OptionsT | None = None) -> Sequence[Row]:
        """Turn one input into its rows."""

    def forward(self, rows: Sequence[Row], *, batch_size: int | None = None) -> list[RowOutput]:
        """Run rows through the model, planned into batches by their length.

        Args:
            rows: Of any inputs.
            batch_size: The most rows a batch may have.

        Returns:
            Each row's arrays, padding cut off, in the order of the rows.

        Raises:
            InputError: A row is longer than the model takes.
        """
        self._check_lengths(rows)
        return self._scheduler.run(rows, max_batch_rows=batch_size)

    @abstractmethod
    def postprocess(
        self, text: Any, rows: Sequence[Row], outputs: Sequence[RowOutput], options: OptionsT | None = None
    ) -> Any:
        """Turn the outputs of one input's rows into its result."""

    @property
    def max_tokens(self) -> int | None:
        """The longest row in tokens that both the tokenizer and the model declare; None if neither has a limit."""
        limits = (self.tokenizer.max_tokens, self.model.config.max_tokens)
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
        return [one.format(mask=mask) if isinstance(one, str) else one for one in self.task.examples]

    def encode(
        self, text: Any, truncation: Truncation | None, *, add_special_tokens: bool = True, **encoding: bool
    ) -> Row:
        """Return the row of a text, or of a (text, pair) tuple; it knows whether the text was cut.

        Raises:
            InputError: It cannot be encoded.
        """
        first, *others = self.encode_windows(text, truncation, add_special_tokens=add_special_tokens, **encoding)
        return Row(first.encoding, cut=bool(others))

    def encode_windows(
        self, text: Any, truncation: Truncation | None, *, add_special_tokens: bool = True, **encoding: bool
    ) -> list[Row]:
        """Return rows that cover a text, or a (text, pair) tuple, whole: one, or as many as truncation makes of it.

        Raises:
            InputError: It cannot be encoded.
        """
        (whole,) = self.tokenizer.encode_batch(
            [text], truncation=truncation, add_special_tokens=add_special_tokens, **encoding
        )
        return [Row(whole), *(map(Row, whole.overflowing) if truncation else ())]

    def _answer(self, inputs: Sequence[Any], options: OptionsT, batch_size: int | None) -> list[Any]:
        rows_of_inputs = [self.preprocess(text, options) for text in inputs]
        _warn_of_cuts(_Cuts.of(rows_of_inputs))
        outputs = self.forward([row for rows in rows_of_inputs for row in rows], batch_size=batch_size)
        return self._postprocessed(inputs, rows_of_inputs, outputs, options)

    def _answer_windows(self, inputs: Sequence[Any], options: OptionsT, batch_size: int | None) -> list[Any]:
        largest = self._scheduler.window_inputs
        planned = windows(inputs, first=largest, largest=largest)
        cuts, results = zip(*self._answered(planned, options, batch_size), strict=True)
        _warn_of_cuts(_Cuts.total(cuts))
        return list(chain.from_iterable(results))

    def _stream(self, inputs: Iterable[Any], options: OptionsT, batch_size: int | None) -> Iterator[Any]:
        for cuts, results in self._answered(
            windows(inputs, largest=self._scheduler.window_inputs), options, batch_size
        ):
            _warn_of_cuts(cuts)
            yield from results

    def _answered(
        self, planned: Iterable[list[Any]], options: OptionsT, batch_size: int | None
    ) -> Iterator[tuple["_Cuts", list[Any]]]:
        """Yield the results of each window; while a full one runs, the next is encoded."""
        begun: deque[tuple[list[Any], list[Sequence[Row]], Run | PromptRun]] = deque()

        def finished() -> tuple[_Cuts, list[Any]]:
            window, rows_of_inputs, run = begun.popleft()
            return _Cuts.of(rows_of_inputs), self._postprocessed(window, rows_of_inputs, run.outputs(), options)

        for window in planned:
            rows_of_inputs = [self.preprocess(text, options) for text in window]
            rows = [row for rows in rows_of_inputs for row in rows]
            self._check_lengths(rows)
            begun.append((window, rows_of_inputs, self._scheduler.start(rows, max_batch_rows=batch_size)))
            if len(begun) > 1 or len(window) < self._scheduler.window_inputs:
                yield finished()
        while begun:
            yield finished()

    def _postprocessed(
        self,
        inputs: Sequence[Any],
        rows_of_inputs: Sequence[Sequence[Row]],
        outputs: Sequence[RowOutput],
        options: OptionsT,
    ) -> list[Any]:
        every = iter(outputs)
        return [
            self.postprocess(text, rows, [next(every) for _ in rows], options)
            for text, rows in zip(inputs, rows_of_inputs, strict=True)
        ]

    def _check_lengths(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.model.check_length(len(row), hint=self.too_long_hint)


class _Cuts(NamedTuple):
    """How many of some inputs were cut, and to how many tokens at most."""

    inputs: int
    cut: int
    max_tokens: int

    @staticmethod
    def of(rows_of_inputs: Sequence[Sequence[Row]]) -> "_Cuts":
        cut = [rows for rows in rows_of_inputs if any(row.cut for row in rows)]
        return _Cuts(len(rows_of_inputs), len(cut), max((len(row) for rows in cut for row in rows), default=0))

    @staticmethod
    def total(parts: Sequence["_Cuts"]) -> "_Cuts":
        inputs, cut, longest = zip(*parts, strict=True)
        return _Cuts(sum(inputs), sum(cut), max(longest))


def _warn_of_cuts(cuts: _Cuts) -> None:
    if cuts.cut:
        warnings.warn(
            f"{cuts.cut} of {cuts.inputs} inputs were cut to {cuts.max_tokens} tokens; the answers know nothing of the rest. "
            "Where the task has them, windows= or stride= cover a text whole.",
            TruncationWarning,
            stacklevel=5,
        )


def _check_batch_size(batch_size: int | None) -> None:
    check_whole_number("batch_size", batch_size, at_least=1, hint="Give a number of rows, or None.")

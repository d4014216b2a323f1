"""A model that the server serves, with the queue that all requests share."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from torchless.batching.batch_runner import BatchRunner
from torchless.batching.prompt_scheduler import PromptScheduler
from torchless.batching.queue import RowQueue
from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import InputError, TaskError
from torchless.generation.stopping import ShouldContinue, ending
from torchless.models.generative import GenerativeModel
from torchless.ort.session import single_threaded
from torchless.pipelines import Pipeline
from torchless.pipelines.base import Prepared
from torchless.server.concurrency_limiter import CURRENT_SLOT
from torchless.server.exceptions import LimitError, request_timeout
from torchless.server.metrics import ModelMetrics
from torchless.server.request_budget import BudgetError, RequestBudget, SmallBudget, check_stops, work_within
from torchless.server.settings import Settings

__all__ = ["ServedModel"]

# For each model. Tokenization and postprocessing hold Python's global lock most of the time: more would not be faster.
_STEP_THREADS = 2
_MAX_PROMPTS = 8  # in one batch of generation
_GENERATION_TOKENS = 1024  # the assumed cost of the steps after the prompts; their number is unknown before
_END: Any = object()
_DEFAULT_MAX_TOKENS = 4096  # for a model without a limit: the cost of attention grows with the square of the tokens
_MIN_REQUEST_TOKENS = 65_536  # the least default of the setting
# Up to these sizes a step takes some tenths of a millisecond, as two thread switches do, so it runs on the event loop.
_SHORT_BYTES = 1024
_SHORT_TOKENS = 256
_SHORT_VALUES = 4096
_SHORT_ROWS = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Checked(Prepared):
    """Rows that are within the limits.

    Attributes:
        tokens: The number of tokens of all rows.
        truncated: The number of rows that are shorter than their text.
    """

    tokens: int
    truncated: int


class ServedModel:
    """A model with the queue of the rows of all requests.

    Args:
        name: The name in requests.
        pipeline: The pipeline that answers.
        dtype: The variant.
        settings: The limits.

    Attributes:
        task: The name of the task.
        folder: The exported folder.
        max_input_tokens: The maximum number of tokens in a row.
    """

    def __init__(self, name: str, pipeline: Pipeline[Any], *, dtype: str, settings: Settings) -> None:
        self.name = name
        self.task = pipeline.task.name
        self.folder = pipeline.model.folder.path
        self.pipeline = pipeline
        self.dtype = dtype
        limits = (pipeline.model.max_tokens, settings.max_input_length)
        self.max_input_tokens = min((limit for limit in limits if limit is not None), default=_DEFAULT_MAX_TOKENS)
        self._max_inputs = settings.max_client_batch_size
        self._max_request_tokens = settings.max_request_tokens or max(
            _MIN_REQUEST_TOKENS, self._max_inputs * self.max_input_tokens
        )
        self._max_answer_values = settings.max_answer_values
        self._timeout_s = settings.request_timeout_s
        self._steps = ThreadPoolExecutor(_STEP_THREADS, thread_name_prefix=f"torchless-steps-{name}")
        self._metrics = ModelMetrics(name)
        self._run: Callable[[Sequence[Row], ShouldContinue], Sequence[RowOutput]]
        model, tokenizer = pipeline.model, pipeline.tokenizer
        if isinstance(model, GenerativeModel):
            prompts = PromptScheduler(model, tokenizer)
            self._run = lambda rows, should_continue: prompts.run(rows, should_continue=should_continue)
            self._queue = RowQueue(
                self._run,
                workers=1,
                max_batch_tokens=max(settings.max_batch_tokens, _MAX_PROMPTS),
                max_batch_rows=model.max_batch_rows(settings.max_batch_tokens) or _MAX_PROMPTS,
                run_tokens=_GENERATION_TOKENS,
                group=_generation_config,
                on_batch=self._metrics.count_batch,
            )
        else:
            runner = BatchRunner(model, tokenizer)
            self._run = lambda rows, _: runner.run(rows)
            self._queue = RowQueue(
                self._run,
                workers=model.session.workers,
                max_batch_tokens=settings.max_batch_tokens,
                max_batch_rows=model.max_batch_rows(settings.max_batch_tokens),
                on_batch=self._metrics.count_batch,
            )
        self._decode = partial(tokenizer.decode, clean_up_tokenization_spaces=False)
        self._metrics.watch(self._queue)
        # Streams share these threads: a thread generates one piece, and then serves another stream.
        self._streams = ThreadPoolExecutor(model.session.workers, thread_name_prefix=f"torchless-stream-{name}")

    async def answer(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """Answer inputs; the rows of all requests share batches. A cancelled call removes its rows from the queue.

        Args:
            inputs: Single inputs of the task.
            options: The options of the task.

        Returns:
            One result for each input, as the pipeline returns them for a list of inputs. The pipeline unwraps lists
            with a single item; this method does not.

        Raises:
            InputError: An input cannot be answered.
            LimitError: There are too many inputs, rows or tokens, or too many answers to them.
            OptionError: There is no such option, or its value is not possible.
            OverloadedError: The server works on too many tokens already.
        """
        self.check_count(inputs)
        with self._budget() as budget:
            prepared = await self._prepare(inputs, options, budget)
            outputs = await asyncio.wrap_future(await self._submit(prepared.rows, budget))

            def results() -> list[Any]:
                if self._generates:
                    self._metrics.count_generated(sum(map(self._generated_tokens, prepared.rows, outputs)))
                return prepared.results(outputs)

            if CURRENT_SLOT.get().tokens <= _SHORT_TOKENS and budget.values <= _SHORT_VALUES and not self._generates:
                return work_within(budget, results)
            return await self._step(results, budget)

    async def stream(self, item: Any, options: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """Yield the pieces of a generated text, as the `stream` of the pipeline does with `return_details`.

        Closing the generator stops the work.

        Args:
            item: A single input of the task.
            options: The options of the task.

        Raises:
            DeadlineError: The text is not finished within the time limit.
            InputError: The input cannot be answered.
            OptionError: There is no such option, or its value is not possible.
            OverloadedError: The server works on too many tokens already.
            TaskError: The task does not generate text.
        """
        start = getattr(self.pipeline, "stream", None)
        if start is None:
            raise TaskError(f"{self.name} is for {self.task}, which generates no text.", hint="Leave stream out.")
        with self._budget() as budget:
            await self._prepare([item], options, budget)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        options = {**options, "return_details": True}
        pieces: Iterator[Any] = await loop.run_in_executor(self._streams, lambda: start(item, **options))
        tokens = 0
        # The next piece is generated after the last one was sent: a slow client slows only its stream, and a stream that
        # is closed needs no other signal to end.
        while (piece := await loop.run_in_executor(self._streams, next, pieces, _END)) is not _END:
            self._metrics.count_generated(piece["generated_tokens"] - tokens)
            tokens = piece["generated_tokens"]
            yield piece
            if loop.time() > deadline:
                raise request_timeout(self._timeout_s)

    def check_count(self, inputs: Sequence[Any]) -> None:
        """Raise if a request has too many inputs.

        Raises:
            LimitError: There are too many inputs.
        """
        if len(inputs) > self._max_inputs:
            raise LimitError(
                f"The request has {len(inputs)} inputs, and the limit is {self._max_inputs}.",
                hint="Send several requests, or start the server with a larger --max-client-batch-size.",
            )

    def check_token_ids(self, token_ids: Sequence[int]) -> None:
        """Raise if an input has too many token ids, before they are turned into text.

        Raises:
            InputError: There are more ids than tokens in an input.
        """
        if len(token_ids) > self.max_input_tokens:
            raise InputError(
                f"An input has {len(token_ids)} token ids, and the limit of this server is {self.max_input_tokens}.",
                hint="Send fewer, or start the server with a larger --max-input-length.",
            )

    def warm(self) -> None:
        """Answer the examples of the task, so that the first request is fast, and an error appears before it.

        Raises:
            TorchlessError: The model cannot answer.
        """
        options = dict(self.pipeline.example_options) | ({"max_new_tokens": 1} if self.pipeline.task.cached else {})
        prepared = self.pipeline.prepare(self.pipeline.example_inputs(), **options)
        prepared.results(self._queue.submit(prepared.rows).result())
        with single_threaded(*self.pipeline.model.sessions):
            prepared.results(self._run(prepared.rows, lambda: True))

    async def run_step(self, work: Callable[[], T]) -> T:
        """Return the result of work with the pipeline, which runs on a thread of this model.

        Args:
            work: The work. It keeps to the limits of a request, and stops if the caller is cancelled.

        Raises:
            LimitError: It needs too many rows or tokens.
        """
        with self._budget() as budget:
            return await self._step(work, budget)

    def within_limits(self, work: Callable[[], T]) -> T:
        """Return the result of work on answers, which keeps to the limits of a request.

        Args:
            work: The work. It may be done on any thread.

        Raises:
            LimitError: It makes too many values.
        """
        with self._budget() as budget:
            return work_within(budget, work)

    def close(self, timeout_s: float) -> None:
        """Finish the queued rows, and end the threads.

        Args:
            timeout_s: The most seconds to wait for the rows.
        """
        self._queue.close(timeout_s)
        for threads in (self._steps, self._streams):
            threads.shutdown(wait=False, cancel_futures=True)

    @property
    def _generates(self) -> bool:
        return self.pipeline.task.cached

    @contextmanager
    def _budget(self) -> Iterator[RequestBudget]:
        """Return the budget of a request; at the end of the block, its work stops wherever it runs."""
        budget = RequestBudget(
            max_tokens=self._max_request_tokens, max_width=self.max_input_tokens, max_values=self._max_answer_values
        )
        try:
            yield budget
        finally:
            budget.end()

    async def _prepare(self, inputs: Sequence[Any], options: Mapping[str, Any], budget: RequestBudget) -> "_Checked":
        """Return the inputs as rows, after the limits are checked."""
        begin = perf_counter()
        slot = CURRENT_SLOT.get()
        prepare = partial(self._prepare_checked, inputs, options)
        prepared = None
        if slot.body_bytes <= _SHORT_BYTES and not self._generates and all(map(_is_scalar, options.values())):
            prepared = _within_small(prepare, budget)
        if prepared is None:
            prepared = await self._step(prepare, budget)
        self._metrics.count_tokenization(perf_counter() - begin)
        slot.acquire_tokens(prepared.tokens)
        slot.truncated += prepared.truncated
        return prepared

    def _prepare_checked(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> "_Checked":
        prepared = self.pipeline.prepare(inputs, **options)
        self._check_limits(prepared.rows)
        tokens, truncated = sum(map(len, prepared.rows)), sum(row.cut for row in prepared.rows)
        return _Checked(prepared.rows, prepared.results, tokens, truncated)

    async def _submit(self, rows: Sequence[Row], budget: RequestBudget) -> Future[list[RowOutput]]:
        """Add rows to the queue, on a thread if they are many; they leave it if the request ends."""

        def submit() -> Future[list[RowOutput]]:
            outputs = self._queue.submit(rows)
            budget.watch(outputs)
            return outputs

        is_short = len(rows) <= _SHORT_ROWS and not self._generates
        return submit() if is_short else await self._step(submit, budget)

    async def _step(self, work: Callable[[], T], budget: RequestBudget) -> T:
        """Return the result of some work, which runs on a thread of this model within the budget."""
        return await asyncio.get_running_loop().run_in_executor(self._steps, work_within, budget, work)

    def _generated_tokens(self, row: Row, sequences: RowOutput) -> int:
        """Return the number of generated tokens, without the prompt, which begins the sequences of a decoder."""
        if not isinstance(row, Prompt):
            return 0
        prompt_tokens = 1 if self.pipeline.task.encoder_decoder else len(row.ids)
        if len(sequences) == 1:
            return len(sequences[0]) - prompt_tokens
        # Several sequences are padded to one length.
        return sum(ending(ids.tolist(), prompt_tokens, row.config, decode=self._decode).tokens for ids in sequences)

    def _check_limits(self, rows: Sequence[Row]) -> None:
        for config in {id(row.config): row.config for row in rows if isinstance(row, Prompt)}.values():
            check_stops(config)
        sequences = sum(
            max(row.config.num_beams, row.config.num_return_sequences) for row in rows if isinstance(row, Prompt)
        )
        if sequences > self._max_inputs:
            raise LimitError(
                f"The request needs {sequences} sequences, and the limit is {self._max_inputs}.",
                hint="Request fewer beams or answers, or start the server with a larger --max-client-batch-size.",
            )
        max_tokens = max(map(len, rows), default=0)
        if max_tokens > self.max_input_tokens:
            raise InputError(
                f"The text has {max_tokens} tokens, and the limit of this server is {self.max_input_tokens}.",
                hint=f"Cut it with truncation=True, max_length={self.max_input_tokens}, or start the server with a "
                "larger --max-input-length.",
            )


def _within_small(work: Callable[[], T], budget: RequestBudget) -> T | None:
    """Return the result of work that takes little time on the event loop, otherwise None."""
    small = SmallBudget()
    try:
        result = work_within(small, work)
    except BudgetError:
        return None
    budget.admit_values(small.values)
    return result


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _generation_config(row: Row) -> str:
    """Return the configuration of a prompt: only prompts with equal configurations share a batch."""
    return repr(row.config) if isinstance(row, Prompt) else ""

"""What is served: models, each with its queue, that answer whoever asks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from torchless.batching.batch_runner import BatchRunner
from torchless.batching.prompt_scheduler import PromptScheduler
from torchless.batching.queue import RowQueue
from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import InputError, TaskError, nearest
from torchless.generation.stopping import ShouldContinue, ending
from torchless.models.generative import GenerativeModel
from torchless.ort.session import single_threaded
from torchless.pipelines import Pipeline, pipeline
from torchless.pipelines.base import Prepared
from torchless.server.concurrency_limiter import CURRENT_SLOT
from torchless.server.exceptions import LimitError, UnknownModelError, request_timeout
from torchless.server.metrics import ModelMetrics
from torchless.server.settings import Settings

__all__ = ["Registry", "ServedModel"]

# Tokenizing and reading results hold Python's lock for most of their time, so more threads would not get more done.
_STEP_THREADS = 2
_PROMPTS = 8  # that are generated for together
_GENERATION_TOKENS = 1024  # what the steps cost after the prompts were read, whose number is hardly known before
_LAST: Any = object()
_MOST_TOKENS = 4096  # of a model that says nothing of how many it takes: what attention costs grows with their square
# Some tenths of a millisecond at most, which is what two changes of threads cost.
_SHORT_BYTES = 1024
_SHORT_TOKENS = 256

T = TypeVar("T")


class ServedModel:
    """A model, and the queue of the rows that all requests want of it.

    Args:
        name: What requests call it.
        pipeline: What answers.
        dtype: The variant.
        settings: The limits.
        steps: The threads that tokenize, and read results.

    Attributes:
        task: What it does.
        max_input_tokens: The longest row that it takes.
    """

    def __init__(
        self, name: str, pipeline: Pipeline[Any], *, dtype: str, settings: Settings, steps: ThreadPoolExecutor
    ) -> None:
        self.name = name
        self.task = pipeline.task.name
        self.pipeline = pipeline
        self.dtype = dtype
        limits = (pipeline.model.max_tokens, settings.max_input_length)
        self.max_input_tokens = min((limit for limit in limits if limit is not None), default=_MOST_TOKENS)
        self._max_inputs = settings.max_client_batch_size
        self._timeout_s = settings.request_timeout_s
        self._steps = steps
        self._metrics = ModelMetrics(name)
        self._run: Callable[[Sequence[Row], ShouldContinue], Sequence[RowOutput]]
        model, tokenizer = pipeline.model, pipeline.tokenizer
        if isinstance(model, GenerativeModel):
            prompts = PromptScheduler(model, tokenizer)
            self._run = lambda rows, should_continue: prompts.run(rows, should_continue=should_continue)
            self._queue = RowQueue(
                self._run,
                workers=1,
                max_batch_tokens=max(settings.max_batch_tokens, _PROMPTS),
                max_batch_rows=model.max_batch_rows(settings.max_batch_tokens) or _PROMPTS,
                run_tokens=_GENERATION_TOKENS,
                group=_config,
                on_batch=self._metrics.ran,
            )
        else:
            runner = BatchRunner(model, tokenizer)
            self._run = lambda rows, _: runner.run(rows)
            self._queue = RowQueue(
                self._run,
                workers=model.session.workers,
                max_batch_tokens=settings.max_batch_tokens,
                max_batch_rows=model.max_batch_rows(settings.max_batch_tokens),
                on_batch=self._metrics.ran,
            )
        self._decode = partial(tokenizer.decode, clean_up_tokenization_spaces=False)
        self._metrics.watch(self._queue)
        # Streams take turns, a piece each.
        self._streams = ThreadPoolExecutor(model.session.workers, thread_name_prefix=f"torchless-stream-{name}")

    async def answer(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        """Answer inputs; rows of all requests share the model's runs. Cancelling it takes them out of the queue.

        Args:
            inputs: Single inputs of the task.
            options: The task's options.

        Returns:
            One result an input, as a call of the pipeline with a list of them gives: where such a call unwraps a list
            of one, or lists of one each, this does not.

        Raises:
            InputError: An input cannot be answered.
            LimitError: There are more inputs, or answers to them, than a request may have.
            OptionError: There is no such option, or its value is not possible.
            OverloadedError: The rows would be more than may wait.
        """
        if len(inputs) > self._max_inputs:
            raise LimitError(
                f"The request has {len(inputs)} inputs, and may have {self._max_inputs}.",
                hint="Send several requests, or start the server with a larger --max-client-batch-size.",
            )
        prepared = await self._prepared(inputs, options)
        outputs = await asyncio.wrap_future(self._queue.submit(prepared.rows))
        if self.pipeline.task.cached:
            self._metrics.generated(sum(map(self._written, prepared.rows, outputs)))
        return await self._step(partial(prepared.results, outputs), short=CURRENT_SLOT.get().tokens <= _SHORT_TOKENS)

    async def stream(self, input: Any, options: Mapping[str, Any]) -> AsyncGenerator[Any, None]:  # noqa: A002
        """Yield pieces of the text that an input is answered with, as the pipeline's `stream` does with `return_details`.

        Closing it stops the work.

        Args:
            input: A single input of the task.
            options: The task's options.

        Raises:
            DeadlineError: The text is not finished in the time that a request may take.
            InputError: The input cannot be answered.
            OptionError: There is no such option, or its value is not possible.
            OverloadedError: The rows would be more than may wait.
            TaskError: The task writes no text.
        """
        start = getattr(self.pipeline, "stream", None)
        if start is None:
            raise TaskError(f"{self.name} is for {self.task}, which writes no text.", hint="Ask without stream.")
        await self._prepared([input], options)
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._timeout_s
        options = {**options, "return_details": True}
        pieces: Iterator[Any] = await loop.run_in_executor(self._streams, lambda: start(input, **options))
        written = 0
        # A piece is made when the one before it was sent, so a slow reader slows this stream alone, and leaving it is
        # enough to end it.
        while (piece := await loop.run_in_executor(self._streams, next, pieces, _LAST)) is not _LAST:
            self._metrics.generated(piece["generated_tokens"] - written)
            written = piece["generated_tokens"]
            yield piece
            if loop.time() > latest:
                raise request_timeout(self._timeout_s)

    def warm(self) -> None:
        """Answer the task's examples, so that the first request waits for nothing, and what cannot answer is known.

        Raises:
            TorchlessError: It cannot answer.
        """
        options = dict(self.pipeline.example_options) | ({"max_new_tokens": 1} if self.pipeline.task.cached else {})
        prepared = self.pipeline.prepare(self.pipeline.example_inputs(), **options)
        prepared.results(self._queue.submit(prepared.rows).result())
        with single_threaded(*self.pipeline.model.sessions):
            prepared.results(self._run(prepared.rows, lambda: True))

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self._queue.close()
        self._streams.shutdown()

    async def _prepared(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> Prepared:
        """Return inputs as rows that may be queued."""
        begun = perf_counter()
        slot = CURRENT_SLOT.get()
        short = slot.body_bytes <= _SHORT_BYTES and not self.pipeline.task.cached
        prepared = await self._step(lambda: self.pipeline.prepare(inputs, **options), short=short)
        self._metrics.tokenised(perf_counter() - begun)
        self._check(prepared.rows)
        slot.acquire_tokens(sum(map(len, prepared.rows)))
        return prepared

    async def _step(self, work: Callable[[], T], *, short: bool) -> T:
        """Do work on a thread of its own, unless it is done before one could begin."""
        return work() if short else await asyncio.get_running_loop().run_in_executor(self._steps, work)

    def _written(self, row: Row, sequences: RowOutput) -> int:
        """Return how many tokens were written; of a decoder's sequences the first are the prompt's."""
        if not isinstance(row, Prompt):
            return 0
        before = 1 if self.pipeline.task.encoder_decoder else len(row.ids)
        if len(sequences) == 1:
            return len(sequences[0]) - before
        ends = (ending(ids.tolist(), before, row.config, decode=self._decode) for ids in sequences)  # but for padding
        return sum(end.tokens for end in ends)

    def _check(self, rows: Sequence[Row]) -> None:
        sequences = sum(
            max(row.config.num_beams, row.config.num_return_sequences) for row in rows if isinstance(row, Prompt)
        )
        if sequences > self._max_inputs:
            raise LimitError(
                f"The request asks for {sequences} sequences, and may ask for {self._max_inputs}.",
                hint="Ask for fewer beams or answers, or start the server with a larger --max-client-batch-size.",
            )
        max_tokens = max(map(len, rows), default=0)
        if max_tokens > self.max_input_tokens:
            raise InputError(
                f"The text has {max_tokens} tokens, and this server takes {self.max_input_tokens}.",
                hint=f"Cut it with truncation=True, max_length={self.max_input_tokens}, or start the server with a "
                "larger --max-input-length.",
            )


class Registry:
    """The models that are served, by name.

    Args:
        models: At least one.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = {model.name: model for model in models}
        self.names = list(self._models)

    @classmethod
    def load(cls, settings: Settings, *, on_model: Callable[[str], None] = lambda _: None) -> "Registry":
        """Load, check and warm all models, one after another.

        Args:
            settings: Which.
            on_model: Told the name of each that can be served.

        Raises:
            TorchlessError: One cannot be served.
        """
        steps = ThreadPoolExecutor(_STEP_THREADS, thread_name_prefix="torchless-steps")
        models = []
        for name, model_settings in settings.models.items():
            dtype = model_settings.dtype or settings.dtype
            loaded = pipeline(model_settings.task, model_settings.folder, dtype=dtype, threads=settings.threads)
            model = ServedModel(name, loaded, dtype=dtype, settings=settings, steps=steps)
            model.warm()
            models.append(model)
            on_model(name)
        return cls(models)

    def __getitem__(self, name: str) -> ServedModel:
        """Return a model.

        Raises:
            UnknownModelError: There is none of this name.
        """
        if name not in self._models:
            raise UnknownModelError(f"There is no model {name!r} here.", hint=nearest(name, self.names))
        return self._models[name]

    def of_task(self, *tasks: str) -> ServedModel:
        """Return the first model that serves one of these tasks.

        Raises:
            UnknownModelError: None does.
        """
        for model in self._models.values():
            if model.task in tasks:
                return model
        served = ", ".join(f"{model.name} ({model.task})" for model in self._models.values())
        raise UnknownModelError(f"No model here is for {' or '.join(tasks)}.", hint=f"There are: {served}.")

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        for model in self._models.values():
            model.close()


def _config(row: Row) -> str:
    """Return what prompts must share to be generated for together."""
    return repr(row.config) if isinstance(row, Prompt) else ""

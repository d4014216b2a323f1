"""OpenAI's interface: embeddings, and for decoders completions and chats, streamed too."""

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from time import time
from typing import Any, TypeAlias
from uuid import uuid4

import msgspec
import numpy as np
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response import Stream
from msgspec import Struct
from numpy.typing import NDArray

from torchless.errors import InputError, OptionError, TaskError, TorchlessError
from torchless.generation.streaming import TextUntil
from torchless.pipelines.generation import StreamedText
from torchless.server.admission import Admitted
from torchless.server.errors import openai, problem_of
from torchless.server.interface import interface
from torchless.server.models import Registry, ServedModel
from torchless.server.openapi import ModelName, StreamedOperation
from torchless.server.routes.openai_schemas import (
    Chat,
    ChatChoice,
    ChatMessage,
    ChatRequest,
    Completion,
    CompletionRequest,
    Embedding,
    Embeddings,
    EmbeddingsRequest,
    EmbeddingsUsage,
    FinishReason,
    GenerationRequest,
    ModelCard,
    Models,
    TextChoice,
    Usage,
    chat_options,
    completion_options,
    messages_of,
)
from torchless.tokenizer import Tokenizer

__all__ = ["router"]

_STATUSES = {InputError: 400, OptionError: 400, TaskError: 400}
_STARTED = int(time())

# From the index of a choice, a piece of its text, whether it is the first, and why it ended, to the chunk of it.
Chunk: TypeAlias = Callable[[int, str, bool, FinishReason | None], Struct]


@get("/v1/models", sync_to_thread=False)
def models(registry: NamedDependency[Registry]) -> Models:
    """List the models."""
    return Models(data=[ModelCard(id=name, created=_STARTED) for name in registry.names])


@get("/v1/models/{name:str}", sync_to_thread=False)
def model(name: ModelName, registry: NamedDependency[Registry]) -> ModelCard:
    """Describe a model."""
    return ModelCard(id=registry[name].name, created=_STARTED)


@post("/v1/embeddings", status_code=200)
async def embeddings(
    data: JSONBody[EmbeddingsRequest], registry: NamedDependency[Registry], admitted: NamedDependency[Admitted]
) -> Embeddings:
    """Embed texts, pooled as the model's folder says."""
    served = _served(registry, data.model, "feature-extraction")
    texts, _ = _texts_of(data.input, served.pipeline.tokenizer, skip_special_tokens=True)
    width = served.pipeline.model.config.width
    if data.dimensions is not None and data.dimensions > width:
        raise OptionError(
            f"dimensions={data.dimensions} is not possible: the model's embeddings have {width}.",
            hint=f"Give at most dimensions={width}.",
        )
    options = {"pooling": "auto", "truncation": False, "return_tensors": True}
    results = await served.answer(texts, options, admitted=admitted)
    shown = _base64 if data.encoding_format == "base64" else _floats
    return Embeddings(
        model=served.name,
        data=[Embedding(index=at, embedding=shown(_cut(one, data.dimensions))) for at, one in enumerate(results)],
        usage=EmbeddingsUsage(prompt_tokens=admitted.tokens, total_tokens=admitted.tokens),
    )


@post("/v1/completions", status_code=200, operation_class=StreamedOperation)
async def completions(
    data: JSONBody[CompletionRequest], registry: NamedDependency[Registry], admitted: NamedDependency[Admitted]
) -> Response[Completion]:
    """Continue texts."""
    served = _served(registry, data.model, "text-generation")
    prompts, tokens = _texts_of(data.prompt, served.pipeline.tokenizer)
    options = completion_options(data) | ({"add_special_tokens": False} if tokens else {})
    reply: dict[str, Any] = {"id": f"cmpl-{uuid4().hex}", "created": int(time()), "model": served.name}
    begins = prompts if data.echo else [""] * len(prompts)
    if data.stream:

        def chunk(index: int, piece: str, first: bool, reason: FinishReason | None) -> Completion:
            text = begins[index] + piece if first else piece
            return Completion(choices=[TextChoice(index=index, text=text, finish_reason=reason)], **reply)

        pieces = _chunks(served, prompts, options, data, chunk, Completion(choices=[], **reply), admitted=admitted)
        return await _streamed(pieces)
    results = await served.answer(prompts, options, admitted=admitted)
    answers = [(begin, answer) for begin, result in zip(begins, results, strict=True) for answer in result]
    choices = [
        TextChoice(index=index, text=begin + _until(answer["generated_text"], data), finish_reason=_reason(answer))
        for index, (begin, answer) in enumerate(answers)
    ]
    return Response(Completion(choices=choices, usage=_usage(results), **reply))


@post("/v1/chat/completions", status_code=200, operation_class=StreamedOperation)
async def chat_completions(
    data: JSONBody[ChatRequest], registry: NamedDependency[Registry], admitted: NamedDependency[Admitted]
) -> Response[Chat]:
    """Answer a chat."""
    served = _served(registry, data.model, "text-generation")
    messages, options = messages_of(data), chat_options(data, longest=served.pipeline.longest)
    reply: dict[str, Any] = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time()), "model": served.name}
    if data.stream:
        reply["object"] = "chat.completion.chunk"

        def chunk(index: int, piece: str, first: bool, reason: FinishReason | None) -> Chat:
            delta = ChatMessage(role="assistant", content=piece) if first else ChatMessage(content=piece)
            return Chat(choices=[ChatChoice(index=index, delta=delta, finish_reason=reason)], **reply)

        pieces = _chunks(served, [tuple(messages)], options, data, chunk, Chat(choices=[], **reply), admitted=admitted)
        return await _streamed(pieces)
    results = await served.answer([tuple(messages)], options, admitted=admitted)
    choices = [
        ChatChoice(
            index=index,
            message=ChatMessage(role="assistant", content=_until(answer["generated_text"], data), refusal=None),
            finish_reason=_reason(answer),
        )
        for index, answer in enumerate(results[0])
    ]
    return Response(Chat(choices=choices, usage=_usage(results), **reply))


def router() -> Router:
    """Return the routes of this interface."""
    handlers = [models, model, embeddings, completions, chat_completions]
    return interface("OpenAI", handlers, openai, statuses=_STATUSES)


def _served(registry: Registry, name: str, task: str) -> ServedModel:
    served = registry[name]
    if served.task != task:
        able = [other for other in registry.names if registry[other].task == task]
        raise TaskError(
            f"The model {name!r} is for {served.task}, not for {task}.",
            hint=f"Ask one of {', '.join(able)}." if able else f"No model here is for {task}.",
        )
    return served


def _texts_of(
    given: str | Sequence[Any], tokenizer: Tokenizer, *, skip_special_tokens: bool = False
) -> tuple[list[str], bool]:
    """Return texts, and whether they were given as tokens.

    Args:
        given: A text, texts, or the tokens of one or of several.
        tokenizer: Whose tokens they are.
        skip_special_tokens: Leave the model's own tokens out of the texts.

    Raises:
        InputError: There are none, they are neither texts nor tokens, or the vocabulary has no such token.
    """
    if isinstance(given, str):
        return [given], False
    if given and all(isinstance(one, str) for one in given):
        return list(given), False
    every: list[Any] = [list(given)] if all(isinstance(one, int) for one in given) else list(given)
    if not given or not all(isinstance(one, list) and one for one in every):
        raise InputError(
            f"There are {len(given)} inputs, some of them empty or of different kinds.",
            hint="Give a text, a list of texts, a list of tokens, or a list of lists of tokens.",
        )
    for tokens in every:
        for token, text in zip(tokens, tokenizer.convert_ids_to_tokens(tokens), strict=True):
            if text is None:
                raise InputError(
                    f"There is no token {token}.", hint="Give tokens of this model's own tokenizer, or texts."
                )
    decoding = {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": False}
    return [tokenizer.decode(tokens, **decoding) for tokens in every], True


def _cut(embedding: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """Return the first dimensions of an embedding of (hidden,), scaled to length 1."""
    if dimensions is None:
        return embedding
    first = embedding[:dimensions]
    return np.asarray(first / max(float(np.linalg.norm(first)), 1e-12))


def _floats(embedding: NDArray[np.float32]) -> list[float]:
    return embedding.tolist()  # type: ignore[no-any-return]


def _base64(embedding: NDArray[np.float32]) -> str:
    return b64encode(embedding.astype("<f4", copy=False).tobytes()).decode()


def _until(text: str, request: GenerationRequest) -> str:
    """Return a text up to the first of the stops, which the tokens that end it may reach beyond."""
    until = TextUntil(request.stops)
    return until.push(text) + until.finish()


def _reason(answer: Any) -> FinishReason:
    return "length" if answer["finish_reason"] == "length" else "stop"


def _usage(results: Sequence[Sequence[Any]]) -> Usage:
    """Return the tokens of prompts, each counted once, and of all their answers."""
    read = sum(result[0]["prompt_tokens"] for result in results)
    written = sum(answer["generated_tokens"] for result in results for answer in result)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


async def _streamed(chunks: AsyncGenerator[bytes, None]) -> Response[Any]:
    """Return a response that sends chunks; what goes wrong before the first is still a response of its own."""
    first = await anext(chunks)

    async def every() -> AsyncIterator[bytes]:
        async with aclosing(chunks):
            yield first
            try:
                async for chunk in chunks:
                    yield chunk
            except TorchlessError as error:  # the status is sent already
                yield _event(openai(problem_of(error)))

    return Stream(every(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _chunks(
    served: ServedModel,
    prompts: Sequence[Any],
    options: dict[str, Any],
    request: GenerationRequest,
    chunk: Chunk,
    last: Any,
    *,
    admitted: Admitted,
) -> AsyncGenerator[bytes, None]:
    """Yield the answers to prompts, one after the other, as server-sent events."""
    ends: list[list[StreamedText]] = []
    for index, prompt in enumerate(prompts):
        until, first = TextUntil(request.stops), True
        async with aclosing(served.stream(prompt, options, admitted=admitted)) as pieces:
            async for piece in pieces:
                text, ended = until.push(piece["text"]), piece["finish_reason"] is not None
                if ended:
                    text += until.finish()
                    ends.append([piece])
                if text or ended:
                    yield _event(chunk(index, text, first, _reason(piece) if ended else None))
                    first = False
    if request.include_usage:
        last.usage = _usage(ends)
        yield _event(last)
    yield b"data: [DONE]\n\n"


def _event(chunk: Any) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

"""OpenAI's interface: embeddings, and for decoders completions and chats, streamed too.

The name of the model is the request's, or the path's: `/v1/…` asks for the first, `/models/{name}/v1/…` is one model's own.
"""

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from time import time
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
from litestar import Response, Router, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Struct
from numpy.typing import NDArray

from torchless.errors import InputError, OptionError, TaskError, TorchlessError, UnknownModelError
from torchless.generation.streaming import TextUntil
from torchless.pipelines.generation import StreamedText
from torchless.server.concurrency_limiter import Slot
from torchless.server.errors import error_info, openai
from torchless.server.interface import interface
from torchless.server.interfaces.openai.schemas import (
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
    ParameterError,
    TextChoice,
    Usage,
    chat_options,
    completion_options,
    messages_of,
)
from torchless.server.models import Registry, ServedModel
from torchless.server.openapi import MaybeModelName, ModelNamed, StreamedOperation
from torchless.server.server_request import ServerRequest
from torchless.server.server_sent_events import event
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["router"]

# As OpenAI and others who speak this: a value that is not possible is a bad request, not an entity that cannot be processed.
_STATUSES = {InputError: 400, OptionError: 400, TaskError: 400}
_STARTED = int(time())

# From the index of a choice, a piece of its text, whether it is the first, and why it ended, to the chunk of it.
Chunk: TypeAlias = Callable[[int, str, bool, FinishReason | None], Struct]


def _paths(path: str) -> list[str]:
    return [f"/v1/{path}", f"/models/{{name:str}}/v1/{path}"]


@get(_paths("models"), sync_to_thread=False)
def models(request: ServerRequest, name: MaybeModelName = None) -> Models:
    """List the models, or the one of this path."""
    names = request.registry.names if name is None else [request.registry[name].name]
    return Models(data=[ModelCard(id=one, created=_STARTED) for one in names])


@get(_paths("models/{model_name:str}"), sync_to_thread=False)
def model(model_name: FromPath[ModelNamed], request: ServerRequest, name: MaybeModelName = None) -> ModelCard:
    """Describe a model."""
    if name not in (None, model_name):
        raise UnknownModelError(f"Here is no model {model_name!r}.", hint=f"This is the address of {name}.")
    return ModelCard(id=request.registry[model_name].name, created=_STARTED)


@post(_paths("embeddings"), status_code=200)
async def embeddings(
    data: JSONBody[EmbeddingsRequest],
    request: ServerRequest,
    name: MaybeModelName = None,
) -> Embeddings:
    """Embed texts, pooled as the model's folder says."""
    served = _served(request.registry, name or data.model, "feature-extraction")
    with _blaming("input"):
        texts, _ = _texts_of(data.input, served.pipeline.tokenizer, skip_special_tokens=True)
    width = served.pipeline.model.config.width
    if data.dimensions is not None and data.dimensions > width:
        raise ParameterError(
            f"dimensions={data.dimensions} is not possible: the model's embeddings have {width}.",
            hint=f"Give at most dimensions={width}.",
            parameter="dimensions",
        )
    options = {"pooling": "auto", "truncation": False, "return_tensors": True}
    with _blaming("input"):
        results = await served.answer(texts, options, slot=request.slot)
    shown = _base64 if data.encoding_format == "base64" else _floats
    return Embeddings(
        model=served.name,
        data=[Embedding(index=at, embedding=shown(_cut(one, data.dimensions))) for at, one in enumerate(results)],
        usage=EmbeddingsUsage(prompt_tokens=request.slot.tokens, total_tokens=request.slot.tokens),
    )


@post(_paths("completions"), status_code=200, operation_class=StreamedOperation)
async def completions(
    data: JSONBody[CompletionRequest],
    request: ServerRequest,
    name: MaybeModelName = None,
) -> Response[Completion]:
    """Continue texts."""
    served = _served(request.registry, name or data.model, "text-generation")
    with _blaming("prompt"):
        prompts, tokens = _texts_of(data.prompt, served.pipeline.tokenizer)
    options = completion_options(data) | ({"add_special_tokens": False} if tokens else {})
    _check_biases(data, served.pipeline.tokenizer)
    reply: dict[str, Any] = {"id": f"cmpl-{uuid4().hex}", "created": int(time()), "model": served.name}
    begins = prompts if data.echo else [""] * len(prompts)
    if data.stream:

        def chunk(index: int, piece: str, first: bool, reason: FinishReason | None) -> Completion:
            text = begins[index] + piece if first else piece
            return Completion(choices=[TextChoice(index=index, text=text, finish_reason=reason)], **reply)

        pieces = _chunks(served, prompts, options, data, chunk, Completion(choices=[], **reply), slot=request.slot)
        return await _streamed(pieces, "prompt")
    with _blaming("prompt"):
        results = await served.answer(prompts, options, slot=request.slot)
    answers = [(begin, answer) for begin, result in zip(begins, results, strict=True) for answer in result]
    choices = [
        TextChoice(index=index, text=begin + _until(answer["generated_text"], data), finish_reason=_reason(answer))
        for index, (begin, answer) in enumerate(answers)
    ]
    return Response(Completion(choices=choices, usage=_usage(results), **reply))


@post(_paths("chat/completions"), status_code=200, operation_class=StreamedOperation)
async def chat_completions(
    data: JSONBody[ChatRequest],
    request: ServerRequest,
    name: MaybeModelName = None,
) -> Response[Chat]:
    """Answer a chat."""
    served = _served(request.registry, name or data.model, "text-generation")
    options = chat_options(data, longest=served.pipeline.max_tokens)
    _check_biases(data, served.pipeline.tokenizer)
    with _blaming("messages"):
        messages = messages_of(data)
    reply: dict[str, Any] = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time()), "model": served.name}
    if data.stream:
        reply["object"] = "chat.completion.chunk"

        def chunk(index: int, piece: str, first: bool, reason: FinishReason | None) -> Chat:
            delta = ChatMessage(role="assistant", content=piece) if first else ChatMessage(content=piece)
            return Chat(choices=[ChatChoice(index=index, delta=delta, finish_reason=reason)], **reply)

        pieces = _chunks(served, [tuple(messages)], options, data, chunk, Chat(choices=[], **reply), slot=request.slot)
        return await _streamed(pieces, "messages")
    with _blaming("messages"):
        results = await served.answer([tuple(messages)], options, slot=request.slot)
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


def _served(registry: Registry, name: str | None, task: str) -> ServedModel:
    able = [other for other in registry.names if registry[other].task == task]
    hint = f"Ask one of {', '.join(able)}." if able else f"No model here is for {task}."
    if name is None:
        raise ParameterError("The request names no model.", hint=hint, parameter="model")
    served = registry[name]
    if served.task != task:
        raise ParameterError(f"The model {name!r} is for {served.task}, not for {task}.", hint=hint, parameter="model")
    return served


@contextmanager
def _blaming(parameter: str) -> Iterator[None]:
    """Say of an input that cannot be answered in which parameter it came."""
    try:
        yield
    except InputError as error:
        raise ParameterError(error.problem, hint=error.hint, parameter=parameter) from error


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
        if (unknown := _unknown(tokens, tokenizer)) is not None:
            raise InputError(
                f"There is no token {unknown}.", hint="Give tokens of this model's own tokenizer, or texts."
            )
    decoding = {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": False}
    return [tokenizer.decode(tokens, **decoding) for tokens in every], True


def _unknown(tokens: Sequence[int], tokenizer: Tokenizer) -> int | None:
    """Return the first that the vocabulary does not have."""
    texts = zip(tokens, tokenizer.convert_ids_to_tokens(tokens), strict=True)
    return next((token for token, text in texts if text is None), None)


def _check_biases(request: GenerationRequest, tokenizer: Tokenizer) -> None:
    unknown = _unknown([int(token) for token in request.logit_bias or {}], tokenizer)
    if unknown is not None:
        raise ParameterError(
            f"logit_bias has the token {unknown}, which the vocabulary has not.",
            hint="Give ids of this model's own tokenizer.",
            parameter="logit_bias",
        )


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


async def _streamed(chunks: AsyncGenerator[bytes, None], parameter: str) -> Response[Any]:
    """Return a response that sends chunks; what goes wrong before the first is still a response of its own."""
    with _blaming(parameter):
        first = await anext(chunks)

    async def every() -> AsyncIterator[bytes]:
        async with aclosing(chunks):
            yield first
            try:
                async for chunk in chunks:
                    yield chunk
            except TorchlessError as error:  # the status is sent already
                yield event(openai(error_info(error)))

    return Stream(every(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _chunks(
    served: ServedModel,
    prompts: Sequence[Any],
    options: dict[str, Any],
    request: GenerationRequest,
    chunk: Chunk,
    last: Any,
    *,
    slot: Slot,
) -> AsyncGenerator[bytes, None]:
    """Yield the answers to prompts, one after the other, as server-sent events."""
    ends: list[list[StreamedText]] = []
    for index, prompt in enumerate(prompts):
        until, first = TextUntil(request.stops), True
        async with aclosing(served.stream(prompt, options, slot=slot)) as pieces:
            async for piece in pieces:
                text, ended = until.push(piece["text"]), piece["finish_reason"] is not None
                if ended:
                    text += until.finish()
                    ends.append([piece])
                if text or ended:
                    yield event(chunk(index, text, first, _reason(piece) if ended else None))
                    first = False
    if request.include_usage:
        last.usage = _usage(ends)
        yield event(last)
    yield b"data: [DONE]\n\n"

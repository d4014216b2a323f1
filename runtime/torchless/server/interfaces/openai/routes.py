"""OpenAI's interface: embeddings, and for decoders completions and chats, streamed too.

The name of the model is the request's, or the path's: `/v1/…` asks for the first, `/models/{name}/v1/…` is one model's own.
"""

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Any
from uuid import uuid4

import numpy as np
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody
from numpy.typing import NDArray

from torchless.errors import InputError
from torchless.generation.streaming import TextUntil
from torchless.pipelines.generation import StreamedText
from torchless.server.concurrency_limiter import CURRENT_SLOT
from torchless.server.exceptions import UnknownModelError
from torchless.server.interface import Interface
from torchless.server.interfaces.openai.errors import OPENAI_STATUSES, ParameterError, openai_error
from torchless.server.interfaces.openai.options import chat_options, completion_options, messages_of
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
    TextChoice,
    Usage,
)
from torchless.server.models import Registry, ServedModel
from torchless.server.openapi import MaybeModelName, ModelNamed, StreamedOperation
from torchless.server.server_request import ServerRequest
from torchless.server.server_sent_events import event, stream_response
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["INTERFACE"]

_STARTED = int(time())


def _paths(path: str) -> list[str]:
    return [f"/v1/{path}", f"/models/{{name:str}}/v1/{path}"]


@get(_paths("models"), sync_to_thread=False)
def models(request: ServerRequest, name: MaybeModelName = None) -> Models:
    """List the models, or the one of this path."""
    names = request.registry.names if name is None else [request.registry[name].name]
    return Models(data=[ModelCard(id=item, created=_STARTED) for item in names])


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
        results = await served.answer(texts, options)
    tokens = CURRENT_SLOT.get().tokens
    shown = _base64 if data.encoding_format == "base64" else _floats
    return Embeddings(
        model=served.name,
        data=[Embedding(index=at, embedding=shown(_cut(item, data.dimensions))) for at, item in enumerate(results)],
        usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens),
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
        prompts, are_tokens = _texts_of(data.prompt, served.pipeline.tokenizer)
    options = completion_options(data) | ({"add_special_tokens": False} if are_tokens else {})
    return await _generate(served, prompts, options, data, _COMPLETION, prefixes=prompts if data.echo else None)


@post(_paths("chat/completions"), status_code=200, operation_class=StreamedOperation)
async def chat_completions(
    data: JSONBody[ChatRequest],
    request: ServerRequest,
    name: MaybeModelName = None,
) -> Response[Chat]:
    """Answer a chat."""
    served = _served(request.registry, name or data.model, "text-generation")
    options = chat_options(data, max_tokens=served.pipeline.max_tokens)
    with _blaming("messages"):
        messages = messages_of(data)
    return await _generate(served, [tuple(messages)], options, data, _CHAT)


INTERFACE = Interface(
    name="OpenAI",
    handlers=[models, model, embeddings, completions, chat_completions],
    error_body=openai_error,
    statuses=OPENAI_STATUSES,
    path="/v1/",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What differs between a completion and a chat.

    Attributes:
        id_prefix: The beginning of a response's id.
        parameter: The parameter of the request that holds what is continued or answered.
        response: The class of the response.
        chunk_object: The `object` of a piece of a streamed response.
        choice: From an index, a text and the reason of its end to a choice.
        chunk: From an index, a piece of a text, whether it is the first, and the reason of the text's end to a choice.
    """

    id_prefix: str
    parameter: str
    response: Callable[..., Completion | Chat]
    chunk_object: str
    choice: Callable[[int, str, FinishReason], TextChoice | ChatChoice]
    chunk: Callable[[int, str, bool, FinishReason | None], TextChoice | ChatChoice]


def _text_choice(index: int, text: str, reason: FinishReason) -> TextChoice:
    return TextChoice(index=index, text=text, finish_reason=reason)


def _text_chunk(index: int, piece: str, _is_first: bool, reason: FinishReason | None) -> TextChoice:
    return TextChoice(index=index, text=piece, finish_reason=reason)


def _chat_choice(index: int, text: str, reason: FinishReason) -> ChatChoice:
    message = ChatMessage(role="assistant", content=text, refusal=None)
    return ChatChoice(index=index, message=message, finish_reason=reason)


def _chat_chunk(index: int, piece: str, is_first: bool, reason: FinishReason | None) -> ChatChoice:
    delta = ChatMessage(role="assistant", content=piece) if is_first else ChatMessage(content=piece)
    return ChatChoice(index=index, delta=delta, finish_reason=reason)


_COMPLETION = _Form(
    id_prefix="cmpl",
    parameter="prompt",
    response=Completion,
    chunk_object="text_completion",
    choice=_text_choice,
    chunk=_text_chunk,
)
_CHAT = _Form(
    id_prefix="chatcmpl",
    parameter="messages",
    response=Chat,
    chunk_object="chat.completion.chunk",
    choice=_chat_choice,
    chunk=_chat_chunk,
)


async def _generate(
    served: ServedModel,
    prompts: Sequence[Any],
    options: dict[str, Any],
    request: GenerationRequest,
    form: _Form,
    *,
    prefixes: Sequence[str] | None = None,
) -> Response[Any]:
    """Continue or answer prompts, at once or as events.

    Args:
        served: The model.
        prompts: Texts, or chats.
        options: The options of the pipeline.
        request: The request.
        form: What the response looks like.
        prefixes: The text before each prompt's answers; by default none.
    """
    _check_biases(request, served.pipeline.tokenizer)
    prefixes = prefixes or [""] * len(prompts)
    reply: Callable[..., Completion | Chat] = partial(
        form.response, id=f"{form.id_prefix}-{uuid4().hex}", created=int(time()), model=served.name
    )
    with _blaming(form.parameter):
        if request.stream:
            chunk = partial(reply, object=form.chunk_object)
            events = _events(served, prompts, options, request, form, chunk, prefixes)
            return await stream_response(events, openai_error)
        results = await served.answer(prompts, options)
    answers = [(prefix, answer) for prefix, result in zip(prefixes, results, strict=True) for answer in result]
    choices = [
        form.choice(index, prefix + _until(answer["generated_text"], request), _reason(answer))
        for index, (prefix, answer) in enumerate(answers)
    ]
    return Response(reply(choices=choices, usage=_usage(results)))


async def _events(
    served: ServedModel,
    prompts: Sequence[Any],
    options: dict[str, Any],
    request: GenerationRequest,
    form: _Form,
    reply: Callable[..., Any],
    prefixes: Sequence[str],
) -> AsyncGenerator[bytes, None]:
    """Yield the answers to prompts, one after the other, as server-sent events."""
    last_pieces: list[list[StreamedText]] = []
    for index, prompt in enumerate(prompts):
        until, prefix, is_first = TextUntil(request.stops), prefixes[index], True
        async with aclosing(served.stream(prompt, options)) as pieces:
            async for piece in pieces:
                text, is_last = until.push(piece["text"]), piece["finish_reason"] is not None
                if is_last:
                    text += until.finish()
                    last_pieces.append([piece])
                if text or is_last:
                    choice = form.chunk(index, prefix + text, is_first, _reason(piece) if is_last else None)
                    yield event(reply(choices=[choice]))
                    prefix, is_first = "", False
    if request.include_usage:
        yield event(reply(choices=[], usage=_usage(last_pieces)))
    yield b"data: [DONE]\n\n"


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
    if given and all(isinstance(item, str) for item in given):
        return list(given), False
    token_lists: list[Any] = [list(given)] if all(isinstance(item, int) for item in given) else list(given)
    if not given or not all(isinstance(item, list) and item for item in token_lists):
        raise InputError(
            f"There are {len(given)} inputs, some of them empty or of different kinds.",
            hint="Give a text, a list of texts, a list of tokens, or a list of lists of tokens.",
        )
    for tokens in token_lists:
        if (unknown := _unknown(tokens, tokenizer)) is not None:
            raise InputError(
                f"There is no token {unknown}.", hint="Give tokens of this model's own tokenizer, or texts."
            )
    decoding = {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": False}
    return [tokenizer.decode(tokens, **decoding) for tokens in token_lists], True


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

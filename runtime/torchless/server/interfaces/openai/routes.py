"""The routes of OpenAI's interface.

For `/v1/…` the request names the model, for `/models/{name}/v1/…` the path does.
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
from torchless.generation.streaming import TextUntil, text_until
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
from torchless.server.json_codec import LARGE_BYTES, compute
from torchless.server.models import ServedModel
from torchless.server.openapi import ModelNameField, OptionalModelName, StreamedOperation
from torchless.server.registry import Registry
from torchless.server.server_request import ServerRequest
from torchless.server.server_sent_events import event, stream_response
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["INTERFACE"]

_STARTED = int(time())


def _paths(path: str) -> list[str]:
    return [f"/v1/{path}", f"/models/{{name:str}}/v1/{path}"]


@get(_paths("models"), sync_to_thread=False)
def models(request: ServerRequest, name: OptionalModelName = None) -> Models:
    """List the models, or the model of this path."""
    names = request.registry.names if name is None else [request.registry[name].name]
    return Models(data=[ModelCard(id=item, created=_STARTED) for item in names])


@get(_paths("models/{model_name:str}"), sync_to_thread=False)
def model(model_name: FromPath[ModelNameField], request: ServerRequest, name: OptionalModelName = None) -> ModelCard:
    """Describe a model."""
    if name not in (None, model_name):
        raise UnknownModelError(f"There is no model {model_name!r} here.", hint=f"This is the address of {name}.")
    return ModelCard(id=request.registry[model_name].name, created=_STARTED)


@post(_paths("embeddings"), status_code=200)
async def embeddings(
    data: JSONBody[EmbeddingsRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> Embeddings:
    """Return an embedding for each text. The model's folder selects the pooling."""
    served = _served(request.registry, name or data.model, "feature-extraction")
    with _parameter_errors("input"):
        texts, _ = await _texts_of(served, data.input, skip_special_tokens=True)
    width = served.pipeline.model.config.width
    if data.dimensions is not None and data.dimensions > width:
        raise ParameterError(
            f"dimensions={data.dimensions} is not possible: the model's embeddings have {width}.",
            hint=f"Give at most dimensions={width}.",
            parameter="dimensions",
        )
    with _parameter_errors("input"):
        results = await served.answer(texts, {"pooling": "auto", "truncation": False, "return_tensors": True})
    tokens = CURRENT_SLOT.get().tokens
    vectors = [_shorten(item, data.dimensions) for item in results]
    encoded = [_base64(item) if data.encoding_format == "base64" else item.tolist() for item in vectors]
    return Embeddings(
        model=served.name,
        data=[Embedding(index=index, embedding=item) for index, item in enumerate(encoded)],
        usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


@post(_paths("completions"), status_code=200, operation_class=StreamedOperation)
async def completions(
    data: JSONBody[CompletionRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> Response[Completion]:
    """Continue texts."""
    served = _served(request.registry, name or data.model, "text-generation")
    with _parameter_errors("prompt"):
        prompts, are_tokens = await _texts_of(served, data.prompt)
    options = completion_options(data) | ({"add_special_tokens": False} if are_tokens else {})
    return await _generate(served, prompts, options, data, _COMPLETION, prefixes=prompts if data.echo else None)


@post(_paths("chat/completions"), status_code=200, operation_class=StreamedOperation)
async def chat_completions(
    data: JSONBody[ChatRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> Response[Chat]:
    """Answer a chat."""
    served = _served(request.registry, name or data.model, "text-generation")
    options = chat_options(data, max_tokens=served.pipeline.context_length)
    with _parameter_errors("messages"):
        messages = await compute(partial(messages_of, data), large=CURRENT_SLOT.get().body_bytes > LARGE_BYTES)
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
    """The differences between a completion and a chat.

    Attributes:
        id_prefix: The prefix of a response's id.
        parameter: The parameter of the request with the prompts or the chat.
        response: The class of the response.
        chunk_object: The `object` of a chunk of a stream.
        choice: Returns a choice for an index, a text and its finish reason.
        chunk: Returns a choice for an index, a piece of a text, whether it is the first piece, and the finish reason.
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
    """Return the response to prompts, as a whole or as a stream of events.

    Args:
        served: The model.
        prompts: Texts, or chats.
        options: The options of the pipeline.
        request: The request.
        form: The form of the response.
        prefixes: A text before the answers to each prompt; by default an empty text.
    """
    served.check_count(prompts)
    _check_biases(request, served.pipeline.tokenizer)
    prefixes = prefixes or [""] * len(prompts)
    reply: Callable[..., Completion | Chat] = partial(
        form.response, id=f"{form.id_prefix}-{uuid4().hex}", created=int(time()), model=served.name
    )
    with _parameter_errors(form.parameter):
        if request.stream:
            chunk = partial(reply, object=form.chunk_object)
            events = _events(served, prompts, options, request, form, chunk, prefixes)
            return await stream_response(events, openai_error, name=served.name, folder=served.folder)
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
    """Yield the answers to the prompts as server-sent events, one prompt after another."""
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
    suitable = [candidate for candidate in registry.names if registry[candidate].task == task]
    hint = f"Use one of: {', '.join(suitable)}." if suitable else f"No model here is for {task}."
    if name is None:
        raise ParameterError("The request names no model.", hint=hint, parameter="model")
    served = registry[name]
    if served.task != task:
        raise ParameterError(f"The model {name!r} is for {served.task}, not for {task}.", hint=hint, parameter="model")
    return served


@contextmanager
def _parameter_errors(name: str) -> Iterator[None]:
    """Turn an InputError into the error of a parameter of the request."""
    try:
        yield
    except InputError as error:
        raise ParameterError(error.problem, hint=error.hint, parameter=name) from error


async def _texts_of(
    served: ServedModel, inputs: str | Sequence[Any], *, skip_special_tokens: bool = False
) -> tuple[list[str], bool]:
    """Return the inputs as texts, and whether they were token ids.

    Args:
        served: The model.
        inputs: A text, a list of texts, a list of token ids, or a list of such lists.
        skip_special_tokens: Leave out the special tokens of the model.

    Raises:
        InputError: There are no inputs, an input is neither a text nor token ids, there is no such token id, or there
            are more token ids than tokens in an input.
        LimitError: There are too many inputs.
    """
    if isinstance(inputs, str):
        return [inputs], False
    decode = partial(_decode_inputs, served, inputs, skip_special_tokens=skip_special_tokens)
    return await compute(decode, large=CURRENT_SLOT.get().body_bytes > LARGE_BYTES)


def _decode_inputs(served: ServedModel, inputs: Sequence[Any], *, skip_special_tokens: bool) -> tuple[list[str], bool]:
    tokenizer = served.pipeline.tokenizer
    token_lists: list[Any] = [inputs] if inputs and all(isinstance(item, int) for item in inputs) else list(inputs)
    served.check_count(token_lists)
    if inputs and all(isinstance(item, str) for item in token_lists):
        return token_lists, False
    if not inputs or not all(isinstance(item, list) and item for item in token_lists):
        raise InputError(
            f"There are {len(inputs)} inputs, some of them empty or of different kinds.",
            hint="Give a text, a list of texts, a list of token ids, or a list of lists of token ids.",
        )
    for tokens in token_lists:
        served.check_token_ids(tokens)
        if (unknown := _unknown(tokens, tokenizer)) is not None:
            raise InputError(
                f"There is no token {unknown}.", hint="Give token ids of this model's tokenizer, or texts."
            )
    decoding = {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": False}
    return [tokenizer.decode(tokens, **decoding) for tokens in token_lists], True


def _unknown(tokens: Sequence[int], tokenizer: Tokenizer) -> int | None:
    """Return the first token id that the vocabulary does not have."""
    texts = zip(tokens, tokenizer.convert_ids_to_tokens(tokens), strict=True)
    return next((token for token, text in texts if text is None), None)


def _check_biases(request: GenerationRequest, tokenizer: Tokenizer) -> None:
    unknown = _unknown([int(token) for token in request.logit_bias or {}], tokenizer)
    if unknown is not None:
        raise ParameterError(
            f"logit_bias has the token {unknown}, which is not in the vocabulary.",
            hint="Give token ids of this model's tokenizer.",
            parameter="logit_bias",
        )


def _shorten(embedding: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """Return the first dimensions of an embedding of (hidden,), scaled to length 1."""
    if dimensions is None:
        return embedding
    first = embedding[:dimensions]
    return np.asarray(first / max(float(np.linalg.norm(first)), 1e-12))


def _base64(embedding: NDArray[np.float32]) -> str:
    return b64encode(embedding.astype("<f4", copy=False).tobytes()).decode()


def _until(text: str, request: GenerationRequest) -> str:
    """Return a text up to the first stop: its last tokens may have text after the stop."""
    return text_until(text, request.stops)


def _reason(answer: Any) -> FinishReason:
    return "length" if answer["finish_reason"] == "length" else "stop"


def _usage(results: Sequence[Sequence[Any]]) -> Usage:
    """Return the number of tokens of the prompts, each counted once, and of all their answers."""
    prompt = sum(result[0]["prompt_tokens"] for result in results)
    completion = sum(answer["generated_tokens"] for result in results for answer in result)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

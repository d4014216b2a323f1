"""Generated text as text-generation-inference has it: its parameters, its details and its events."""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import numpy as np

from torchless.errors import OptionError
from torchless.generation.stopping import FinishReason
from torchless.generation.streaming import TextStream
from torchless.pipelines import Pipeline
from torchless.pipelines.generation import StreamedText
from torchless.server.interface import check_no_template
from torchless.server.server_sent_events import event

__all__ = [
    "RETURN_OPTIONS",
    "Details",
    "StreamEvent",
    "Token",
    "generation_options",
    "stream_events",
    "with_details",
]

RETURN_OPTIONS = frozenset({"return_full_text", "return_tensors", "return_text", "return_type"})
"""The options that select the form of the returned text."""

# The parameters that this server does not support, with the values that have no effect.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "adapter_id": (None, ""),
    "best_of": (None, 1),
    "decoder_input_details": (None, False),
    "frequency_penalty": (None, 0),
    "grammar": (None,),
    "top_n_tokens": (None, 0),
    "watermark": (None, False),
}


class Token(msgspec.Struct, kw_only=True):
    """A generated token.

    Attributes:
        id: The token id; None in a stream, where several tokens can share a character.
        text: The text that the token adds.
        logprob: Always None: the server does not keep probabilities.
        special: Whether it is a special token of the model.
    """

    id: int | None
    text: str
    logprob: float | None = None
    special: bool = False


class Details(msgspec.Struct, kw_only=True):
    """The details of a generated text.

    Attributes:
        finish_reason: Why the text ended.
        generated_tokens: The number of tokens, including the token that ended the text.
        seed: The seed of the request, if it has a seed.
        prefill: Always empty: the server does not keep the probabilities of a prompt.
        tokens: The tokens.
    """

    finish_reason: FinishReason
    generated_tokens: int
    seed: int | None
    prefill: list[Token]
    tokens: list[Token]


class StreamDetails(msgspec.Struct, kw_only=True):
    """The details of a streamed text.

    Attributes:
        finish_reason: Why the text ended.
        generated_tokens: The number of tokens, including the token that ended the text.
        input_length: The number of tokens of the prompt.
        seed: The seed of the request, if it has a seed.
    """

    finish_reason: FinishReason
    generated_tokens: int
    input_length: int
    seed: int | None


class StreamEvent(msgspec.Struct, kw_only=True):
    """An event of a stream: the text that a token adds. The last event has the whole text.

    Attributes:
        index: The number of the event, from 1.
        token: The added text, which may be empty.
        generated_text: The whole text; only in the last event.
        details: The details of the text; only in the last event.
    """

    index: int
    token: Token
    generated_text: str | None = None
    details: StreamDetails | None = None


def generation_options(parameters: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
    """Return the pipeline's options for the parameters of a request.

    As in text-generation-inference, the prompt is only part of the answer with `return_full_text`, `stop` is a list of
    texts, and `truncate` keeps the last tokens of a prompt.

    Args:
        parameters: The parameters of text-generation-inference, or options of the pipeline.
        chat: Whether the input is a chat.

    Raises:
        OptionError: This server does not support a parameter.
    """
    options = dict(parameters) if parameters.keys() & RETURN_OPTIONS else {"return_full_text": False, **parameters}
    for name, neutral_values in _UNSUPPORTED.items():
        value = options.pop(name, None)
        if value not in neutral_values:
            raise OptionError(f"{name}={value!r} is not supported.", hint=f"Leave {name} out.")
    check_no_template(options)
    options.pop("details", None)
    stop, truncate = options.pop("stop", None), options.pop("truncate", None)
    if stop:
        options["stop_strings"] = stop
    if truncate is not None:
        if chat:
            raise OptionError(f"truncate={truncate!r} is not possible for a chat.", hint="Send fewer messages.")
        options |= {"truncation": True, "max_length": truncate, "tokenizer_encode_kwargs": {"truncation_side": "left"}}
    return options


def with_details(
    pipeline: Pipeline[Any], text: Any, options: Mapping[str, Any], answer: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a generated text with its details.

    Args:
        pipeline: The pipeline that generated the text.
        text: The input.
        options: The options of the request.
        answer: The token ids of the pipeline, with `return_details`.
    """
    task_options = pipeline.with_options(pipeline.options, options)
    rows = pipeline.preprocess(text, task_options)
    token_ids = answer["generated_token_ids"]
    (generated,) = pipeline.postprocess(text, rows, [(np.asarray(token_ids),)], task_options)
    first = answer["prompt_tokens"]
    details = Details(
        finish_reason=answer["finish_reason"],
        generated_tokens=answer["generated_tokens"],
        seed=options.get("seed"),
        prefill=[],
        tokens=list(_tokens(pipeline, token_ids[:first], token_ids[first : first + answer["generated_tokens"]])),
    )
    return {**generated, "details": details}


async def stream_events(pieces: AsyncGenerator[StreamedText, None], *, seed: int | None) -> AsyncGenerator[bytes, None]:
    """Yield an event for each piece of a streamed text.

    Args:
        pieces: A piece for each token, and a last piece with the finish reason.
        seed: The seed of the request.
    """
    text, index = "", 0
    async with aclosing(pieces):
        async for piece in pieces:
            text, index = text + piece["text"], index + 1
            stream_event = StreamEvent(index=index, token=Token(id=None, text=piece["text"]))
            if piece["finish_reason"] is not None:
                stream_event.generated_text = text
                stream_event.details = StreamDetails(
                    finish_reason=piece["finish_reason"],
                    generated_tokens=piece["generated_tokens"],
                    input_length=piece["prompt_tokens"],
                    seed=seed,
                )
            yield event(stream_event)


def _tokens(pipeline: Pipeline[Any], prompt_ids: Sequence[int], token_ids: Sequence[int]) -> Iterator[Token]:
    stream, special = TextStream(pipeline.tokenizer), pipeline.tokenizer.skipped_ids
    stream.push(prompt_ids)
    for token_id in token_ids:
        yield Token(id=token_id, text=stream.push([token_id]), special=token_id in special)

"""text-generation-inference's shapes of generated text: its parameters, its details, its events."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import numpy as np

from torchless.errors import OptionError
from torchless.generation.stopping import FinishReason
from torchless.generation.streaming import TextStream
from torchless.pipelines import Pipeline
from torchless.pipelines.generation import StreamedText
from torchless.server.server_sent_events import event

__all__ = [
    "RETURNS",
    "Details",
    "StreamEvent",
    "Token",
    "check_no_template",
    "described",
    "generation_options",
    "stream_events",
]

# The options that say what a text is returned as.
RETURNS = frozenset({"return_full_text", "return_tensors", "return_text", "return_type"})

# What this server does not do, with the values that do not ask for it.
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
    """A token that was generated; of a stream, the text that became known with it.

    Attributes:
        id: Its id. None in a stream, where a character may be of several tokens.
        text: What it adds to the text.
        logprob: Always None: likelihoods are not kept.
        special: Whether it is one of the model's own.
    """

    id: int | None
    text: str
    logprob: float | None = None
    special: bool = False


class Details(msgspec.Struct, kw_only=True):
    """How a text was generated.

    Attributes:
        finish_reason: Why it ended.
        generated_tokens: How many tokens it has, with the one that ended it.
        seed: What was drawn with, where the caller said so.
        prefill: Always empty: the likelihoods of a prompt are not kept.
        tokens: The tokens.
    """

    finish_reason: FinishReason
    generated_tokens: int
    seed: int | None
    prefill: list[Token]
    tokens: list[Token]


class StreamDetails(msgspec.Struct, kw_only=True):
    """How a streamed text was generated.

    Attributes:
        finish_reason: Why it ended.
        generated_tokens: How many tokens it has, with the one that ended it.
        input_length: How many tokens the prompt has.
        seed: What was drawn with, where the caller said so.
    """

    finish_reason: FinishReason
    generated_tokens: int
    input_length: int
    seed: int | None


class StreamEvent(msgspec.Struct, kw_only=True):
    """What became known with a token; the last event comes after the last token, and has the whole text.

    Attributes:
        index: Its number, from 1.
        token: The text that became known, perhaps none.
        generated_text: Of the last event, all of the text.
        details: Of the last event, how it was generated.
    """

    index: int
    token: Token
    generated_text: str | None = None
    details: StreamDetails | None = None


def generation_options(parameters: Mapping[str, Any], *, chat: bool) -> dict[str, Any]:
    """Return the pipeline's options for the parameters of a request.

    As in text-generation-inference, the prompt is not repeated unless `return_full_text` asks for it, `stop` is a list of
    texts, and `truncate` keeps the last tokens of a prompt.

    Args:
        parameters: Those of text-generation-inference, or the pipeline's own.
        chat: Whether the input is one.

    Raises:
        OptionError: A parameter asks for what this server does not do.
    """
    options = dict(parameters) if parameters.keys() & RETURNS else {"return_full_text": False, **parameters}
    for name, idle in _UNSUPPORTED.items():
        value = options.pop(name, None)
        if value not in idle:
            raise OptionError(f"{name}={value!r} is not supported.", hint=f"Leave {name} out.")
    check_no_template(options)
    options.pop("details", None)
    stop, truncate = options.pop("stop", None), options.pop("truncate", None)
    if stop:
        options["stop_strings"] = stop
    if truncate is not None:
        if chat:
            raise OptionError(f"truncate={truncate!r} would cut a chat apart.", hint="Send fewer messages.")
        options |= {"truncation": True, "max_length": truncate, "tokenizer_encode_kwargs": {"truncation_side": "left"}}
    return options


def check_no_template(options: Mapping[str, Any]) -> None:
    """Raise if a request's options bring what the tokenizer is called with: a chat template among it is a program.

    Raises:
        OptionError: They do.
    """
    if options.get("tokenizer_encode_kwargs"):
        raise OptionError("tokenizer_encode_kwargs are not taken over HTTP.", hint="Leave tokenizer_encode_kwargs out.")


def described(
    pipeline: Pipeline[Any], text: Any, options: Mapping[str, Any], answer: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the text of an answer, and how it was generated.

    Args:
        pipeline: What generated it.
        text: The input.
        options: Those that it was generated by.
        answer: The tokens, with `return_details`.
    """
    chosen = pipeline.with_options(pipeline.options, options)
    rows = pipeline.preprocess(text, chosen)
    token_ids = answer["generated_token_ids"]
    (written,) = pipeline.postprocess(text, rows, [(np.asarray(token_ids),)], chosen)
    first = answer["prompt_tokens"]
    details = Details(
        finish_reason=answer["finish_reason"],
        generated_tokens=answer["generated_tokens"],
        seed=options.get("seed"),
        prefill=[],
        tokens=list(_tokens(pipeline, token_ids[:first], token_ids[first : first + answer["generated_tokens"]])),
    )
    return {**written, "details": details}


async def stream_events(
    first: StreamedText | None, others: AsyncGenerator[StreamedText, None], *, seed: int | None
) -> AsyncIterator[bytes]:
    """Yield the events of a text while it is generated.

    Args:
        first: What came with its first token.
        others: What comes with the others.
        seed: What it is drawn with.
    """
    text, index, piece = "", 0, first
    async with aclosing(others):
        while piece is not None:
            text, index = text + piece["text"], index + 1
            told = StreamEvent(index=index, token=Token(id=None, text=piece["text"]))
            if piece["finish_reason"] is not None:
                told.generated_text = text
                told.details = StreamDetails(
                    finish_reason=piece["finish_reason"],
                    generated_tokens=piece["generated_tokens"],
                    input_length=piece["prompt_tokens"],
                    seed=seed,
                )
            yield event(told)
            piece = await anext(others, None)


def _tokens(pipeline: Pipeline[Any], prompt_ids: Sequence[int], token_ids: Sequence[int]) -> Iterator[Token]:
    stream, special = TextStream(pipeline.tokenizer), pipeline.tokenizer.skipped_ids
    stream.push(prompt_ids)
    for token_id in token_ids:
        yield Token(id=token_id, text=stream.push([token_id]), special=token_id in special)

"""What the tasks that generate share: whose options hold, and text as it is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, NotRequired, TypedDict, TypeVar

from torchless.batching.rows import Prompt
from torchless.errors import OptionError, nearest
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import Decode, FinishReason, ending
from torchless.generation.streaming import TextStream
from torchless.pipelines.options import updated
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import TruncationStrategy

__all__ = [
    "Details",
    "GenerationOptions",
    "StreamedText",
    "base_config",
    "details",
    "settled",
    "stop_tokens",
    "task_params",
    "text_stream",
    "updated_generation",
]

OptionsT = TypeVar("OptionsT", bound="GenerationOptions")

_NAMES = frozenset(field.name for field in fields(GenerationConfig))


class Details(TypedDict):
    """How an answer came about.

    Attributes:
        finish_reason: What ended it: its `length`, an `eos_token` or a `stop_sequence`.
        generated_tokens: How many tokens were generated, with the one that ended it.
        prompt_tokens: How many the prompt has.
    """

    finish_reason: FinishReason
    generated_tokens: int
    prompt_tokens: int


class StreamedText(TypedDict):
    """A piece of a text that is being written.

    Attributes:
        text: The piece, perhaps empty.
        generated_tokens: How many tokens were generated so far.
        finish_reason: Of the last piece, what ended the text; before it, None.
        prompt_tokens: Of the last piece, how many tokens the prompt has.
    """

    text: str
    generated_tokens: int
    finish_reason: FinishReason | None
    prompt_tokens: NotRequired[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """What the caller says of a prompt, and of the tokens that follow.

    Attributes:
        generation: The options of `GenerationConfig` that were given; each is also an option by its own name.
        truncation: True or a strategy cuts a text that is too long; by default such a text is an error.
        clean_up_tokenization_spaces: Remove the spaces that tokenizers leave before punctuation.
        return_details: Each answer says what ended it, and how many tokens it and its prompt have: see `Details`. Not in
            the reference.
    """

    generation: Mapping[str, Any] = field(default_factory=dict)
    truncation: bool | TruncationStrategy | None = None
    clean_up_tokenization_spaces: bool = False
    return_details: bool = False


def base_config(model: Any, tokenizer: Tokenizer, **defaults: Any) -> GenerationConfig:
    """Return the options that hold unless the caller says otherwise.

    Args:
        model: What its checkpoint says comes after the task's defaults, but for a `max_length`: as in the reference.
        tokenizer: Its padding token serves where the checkpoint names none.
        defaults: Those of the task.

    Source: `Pipeline.__init__` of transformers 4.57.6, pipelines/base.py.
    """
    config: GenerationConfig = model.generation_config.with_defaults(**defaults)
    return config if config.pad_token_id is not None else config.updated(pad_token_id=tokenizer.pad_token_id)


def task_params(model: Any, task: str) -> dict[str, Any]:
    """Return what the model's configuration says of one task: options of generation, and perhaps a `prefix`.

    Args:
        model: Its `task_specific_params`.
        task: As the caller asked for it, `translation_en_to_de`.
    """
    params: Mapping[str, Any] = (model.config.get("task_specific_params") or {}).get(task) or {}
    return {name: value for name, value in params.items() if name in _NAMES or name == "prefix"}


def settled(options: OptionsT, params: Mapping[str, Any], defaults: Mapping[str, Any]) -> OptionsT:
    """Return the options of a constructor, with what the model says of its task over them, as in the reference.

    Args:
        options: A `max_length` among them is one of generation alone, and outdoes the default `max_new_tokens`.
        params: Those of `task_params`.
        defaults: The task's own.
    """
    given = dict(options.generation)
    if "max_length" in given and "max_new_tokens" in defaults:
        given.setdefault("max_new_tokens", None)
    given |= {name: value for name, value in params.items() if name in _NAMES}
    return replace(options, generation=given)


def stop_tokens(tokenizer: Tokenizer, text: Any) -> list[int]:
    """Return the tokens of a `stop_sequence`.

    Raises:
        OptionError: It is no text, or has none.
    """
    tokens = tokenizer.encode(text, add_special_tokens=False) if isinstance(text, str) else []
    if not tokens:
        raise OptionError(f"stop_sequence={text!r} is not possible.", hint='Give a text: stop_sequence="."')
    return tokens


def updated_generation(
    options: OptionsT, changes: Mapping[str, Any], *, config: GenerationConfig, called: str
) -> OptionsT:
    """Return options with some of them changed, those of generation and those of the task.

    Args:
        options: The task's.
        changes: The new values by name. A `max_length` may be of both.
        config: What the options of generation change.
        called: What the caller called, for the error.

    Raises:
        OptionError: There is no such option, or a value is not possible.
    """
    own = {one.name for one in fields(options)} - {"generation"}
    generation = {name: value for name, value in changes.items() if name not in own or name == "max_length"}
    for name in generation.keys() - _NAMES:
        if get_close_matches(name, own):
            raise OptionError(f"{called} has no option {name!r}.", hint=nearest(name, own | _NAMES))
    combined = {**options.generation, **generation}
    config.updated(**combined)
    kept = {name: value for name, value in changes.items() if name in own}
    return updated(replace(options, generation=combined), kept, called=called)


def details(tokenizer: Tokenizer, prompt: Prompt, sequence: Sequence[int], *, generated_from: int) -> Details:
    """Return how an answer came about.

    Args:
        tokenizer: What looks for stop strings.
        prompt: What was answered.
        sequence: The tokens of the answer, perhaps with padding after its end.
        generated_from: How many of its first tokens were not generated.
    """
    tokens, reason = ending(sequence, generated_from, prompt.config, decode=_raw(tokenizer))
    return {"finish_reason": reason, "generated_tokens": tokens, "prompt_tokens": len(prompt.ids)}


def text_stream(
    model: Any, tokenizer: Tokenizer, prompt: Prompt, *, before: Sequence[int], unwanted: int, **decoding: bool
) -> Iterator[StreamedText]:
    """Yield the text that a prompt is answered with, as soon as it is known; closing the iterator stops the work.

    Args:
        model: What generates.
        tokenizer: What decodes.
        prompt: The prompt.
        before: The tokens that are decoded with what follows them, whose first may be the end of a word.
        unwanted: How many characters at the beginning are theirs.
        decoding: `skip_special_tokens` and `clean_up_tokenization_spaces`.

    Raises:
        OptionError: There are beams, or more than one sequence.
    """
    config = prompt.config
    if config.num_return_sequences > 1:
        raise OptionError(
            f"num_return_sequences={config.num_return_sequences} cannot be streamed.", hint="num_return_sequences=1"
        )
    options = {name: getattr(config, name) for name in _NAMES}
    steps = model.stream([prompt.ids], [[1] * len(prompt.ids)], tokenizer=tokenizer, **options)
    return _streamed(steps, tokenizer, prompt, before=before, unwanted=unwanted, **decoding)


def _streamed(
    steps: Iterator[Sequence[int]],
    tokenizer: Tokenizer,
    prompt: Prompt,
    *,
    before: Sequence[int],
    unwanted: int,
    **decoding: bool,
) -> Iterator[StreamedText]:
    stream = TextStream(tokenizer, **decoding)
    ids, generated_from = list(before), len(before)
    text = stream.push(before)
    for (token,) in steps:
        ids.append(int(token))
        text += stream.push([token])
        unwanted, piece = max(0, unwanted - len(text)), text[unwanted:]
        yield {"text": piece, "generated_tokens": len(ids) - generated_from, "finish_reason": None}
        text = ""
    _, reason = ending(ids, len(ids) - 1, prompt.config, decode=_raw(tokenizer))
    yield {
        "text": stream.finish()[unwanted:],
        "generated_tokens": len(ids) - generated_from,
        "finish_reason": reason,
        "prompt_tokens": len(prompt.ids),
    }


def _raw(tokenizer: Tokenizer) -> Decode:
    return partial(tokenizer.decode, clean_up_tokenization_spaces=False)

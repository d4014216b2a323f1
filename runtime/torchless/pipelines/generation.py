"""What the tasks that generate share: whose options hold, and text as it is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from itertools import chain
from typing import Any, TypeVar

from torchless.errors import OptionError, nearest
from torchless.generation.config import GenerationConfig
from torchless.generation.streaming import TextStream
from torchless.pipelines.options import updated
from torchless.rows import Prompt
from torchless.tokenizer import Tokenizer
from torchless.truncation import TruncationStrategy

__all__ = ["GenerationOptions", "base_config", "settled", "task_params", "text_stream", "updated_generation"]

OptionsT = TypeVar("OptionsT", bound="GenerationOptions")

_NAMES = frozenset(field.name for field in fields(GenerationConfig))


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """What the caller says of a prompt, and of the tokens that follow.

    Attributes:
        generation: The options of `GenerationConfig` that were given; each is also an option by its own name.
        truncation: True or a strategy cuts a text that is too long; by default such a text is an error.
        clean_up_tokenization_spaces: Remove the spaces that tokenizers leave before punctuation.
    """

    generation: Mapping[str, Any] = field(default_factory=dict)
    truncation: bool | TruncationStrategy | None = None
    clean_up_tokenization_spaces: bool = False


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


def text_stream(
    model: Any, tokenizer: Tokenizer, prompt: Prompt, *, before: Sequence[int], unwanted: int, **decoding: bool
) -> Iterator[str]:
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
    stream = TextStream(tokenizer, **decoding)
    return _without(unwanted, chain([stream.push(before)], map(stream.push, steps), _last(stream)))


def _last(stream: TextStream) -> Iterator[str]:
    yield stream.finish()


def _without(unwanted: int, pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a text but for its first characters, and none that is empty."""
    for piece in pieces:
        wanted = piece[unwanted:]
        unwanted -= len(piece) - len(wanted)
        if wanted:
            yield wanted

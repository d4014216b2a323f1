"""What the generating tasks share: which options hold, streaming, and the details of an answer."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, NamedTuple, NotRequired, TypedDict, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from torchless.batching.prompt_scheduler import PromptScheduler
from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import OptionError, ScoreError, nearest
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import FinishReason, ending
from torchless.generation.streaming import TextStream
from torchless.models.generative import GenerativeModel
from torchless.pipelines.base import Pipeline
from torchless.pipelines.options import updated
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import TruncationStrategy

__all__ = ["Details", "GenerationOptions", "GenerationPipeline", "StreamedText"]

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


class Context(NamedTuple):
    """The text before a streamed answer.

    Attributes:
        token_ids: Tokens that are decoded with those that follow, since the first of these may be the end of a word.
        characters: How many characters their text has, which are left out.
    """

    token_ids: Sequence[int]
    characters: int


class GenerationPipeline(Pipeline[OptionsT]):
    """A pipeline whose rows are prompts, which the model continues or answers token by token.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        options: Those of `Pipeline`, of the task, and of `GenerationConfig`.

    Attributes:
        defaults: The options of generation that hold if neither the folder nor the caller sets them.
        prefix: The text before each input that the model's configuration asks for.
    """

    model: GenerativeModel
    defaults: ClassVar[Mapping[str, Any]]

    def __init__(self, model: GenerativeModel, tokenizer: Tokenizer, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        params = (model.config.get("task_specific_params") or {}).get(self.task_name) or {}
        self.prefix: str = params.get("prefix", model.config.get("prefix")) or ""
        self.options = self._merge_task_params(params)

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """The options of generation that hold unless the caller sets others.

        Source: `Pipeline.__init__` of transformers 4.57.6, pipelines/base.py.
        """
        config = self.model.generation_config.with_defaults(**self.defaults)
        return config if config.pad_token_id is not None else config.updated(pad_token_id=self.tokenizer.pad_token_id)

    def with_options(self, options: OptionsT, changes: Mapping[str, Any]) -> OptionsT:
        """Return options with some of them changed, those of the task and those of generation.

        Args:
            options: The options.
            changes: The new values by name, by any name that the reference has for them.

        Raises:
            OptionError: There is no such option, or a value is not possible.
        """
        changes = self._read_changes(options, changes)
        called = type(self).__name__
        task_names = {option.name for option in fields(options)} - {"generation"}
        # A `max_length` may be both: the task's, and generation's.
        generation = {name: value for name, value in changes.items() if name not in task_names or name == "max_length"}
        for name in generation.keys() - _NAMES:
            if get_close_matches(name, task_names):
                raise OptionError(f"{called} has no option {name!r}.", hint=nearest(name, task_names | _NAMES))
        combined = {**options.generation, **generation}
        self.generation_config.updated(**combined)
        task_changes = {name: value for name, value in changes.items() if name in task_names}
        return updated(replace(options, generation=combined), task_changes, called=called)

    @overload
    def stream(self, text: Any, *, return_details: Literal[False] = False, **options: Any) -> Iterator[str]: ...

    @overload
    def stream(self, text: Any, *, return_details: Literal[True], **options: Any) -> Iterator[StreamedText]: ...

    def stream(self, text: Any, *, return_details: bool = False, **options: Any) -> Iterator[Any]:
        """Yield the generated text of one input, piece by piece: each piece is safe to print.

        The pieces, joined, are the generated text without the prompt. Closing the iterator stops the work.

        Args:
            text: A single input.
            return_details: Yield a `StreamedText` for each token, and one that ends them.
            options: As for a call, but without beams: their first words may change until the last is known.

        Raises:
            InputError: As for a call.
            OptionError: As for a call, or there are beams or several sequences.
        """
        chosen = self.with_options(self.options, options)
        (prompt,) = self._preprocess(self._single_input(text), chosen)
        self._check_lengths([prompt])
        pieces = _naming(text, self._stream(prompt, chosen))
        return pieces if return_details else (piece["text"] for piece in pieces if piece["text"])

    def _make_scheduler(self, *, max_batch_rows: int | None) -> PromptScheduler:
        return PromptScheduler(self.model, self.tokenizer, max_batch_rows=max_batch_rows)

    @abstractmethod
    def _preprocess(self, text: Any, options: OptionsT) -> Sequence[Prompt]:
        """Turn one input into its prompt."""

    @abstractmethod
    def _read_changes(self, options: OptionsT, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return changed options by our names for them."""

    @abstractmethod
    def _decoding_options(self, options: OptionsT) -> dict[str, bool]:
        """Return how token ids become text."""

    @abstractmethod
    def _context(self, prompt: Prompt, options: OptionsT) -> Context:
        """Return the text before a streamed answer."""

    def _single_input(self, text: Any) -> Any:
        """Return one input as `preprocess` takes it."""
        return text

    def _merge_task_params(self, params: Mapping[str, Any]) -> OptionsT:
        """Return the constructor's options, and over them what the model's configuration sets for the task.

        So does the reference. A `max_length` of the constructor is generation's alone, and wins over the default
        `max_new_tokens`.
        """
        generation = dict(self.options.generation)
        if "max_length" in generation and "max_new_tokens" in self.defaults:
            generation.setdefault("max_new_tokens", None)
        generation |= {name: value for name, value in params.items() if name in _NAMES}
        return replace(self.options, generation=generation)

    def _stop_token_ids(self, text: Any) -> list[int]:
        """Return the token ids of a `stop_sequence`."""
        token_ids = self.tokenizer.encode(text, add_special_tokens=False) if isinstance(text, str) else []
        if not token_ids:
            raise OptionError(f"stop_sequence={text!r} is not possible.", hint='Give a text: stop_sequence="."')
        return token_ids

    def _details(
        self, rows: Sequence[Row], sequences: RowOutput, options: OptionsT, *, generated_from: int
    ) -> list[Any]:
        """Return for each sequence what ended it and how many tokens it has; empty dicts unless the caller asked for it.

        Args:
            rows: The prompt.
            sequences: The token ids of each answer, perhaps with padding after its end.
            options: The options of the call.
            generated_from: How many of the first tokens were not generated.
        """
        (prompt,) = rows
        if not options.return_details or not isinstance(prompt, Prompt):
            return [{} for _ in sequences]
        endings = [
            ending(sequence.tolist(), generated_from, prompt.config, decode=self._decode_raw) for sequence in sequences
        ]
        return [
            {"finish_reason": end.reason, "generated_tokens": end.tokens, "prompt_tokens": len(prompt.ids)}
            for end in endings
        ]

    @cached_property
    def _decode_raw(self) -> Any:
        """Decodes token ids, special tokens kept and nothing cleaned up."""
        return partial(self.tokenizer.decode, clean_up_tokenization_spaces=False)

    def _stream(self, prompt: Prompt, options: OptionsT) -> Iterator[StreamedText]:
        config = prompt.config
        if config.num_return_sequences > 1:
            raise OptionError(
                f"num_return_sequences={config.num_return_sequences} cannot be streamed.", hint="num_return_sequences=1"
            )
        steps = self.model.stream(
            [prompt.ids], [[1] * len(prompt.ids)], generation_config=config, tokenizer=self.tokenizer
        )
        return self._streamed_pieces(steps, prompt, options)

    def _streamed_pieces(
        self, steps: Iterator[NDArray[np.int64]], prompt: Prompt, options: OptionsT
    ) -> Iterator[StreamedText]:
        stream = TextStream(self.tokenizer, **self._decoding_options(options))
        context, skip_characters = self._context(prompt, options)
        token_ids, generated_from = list(context), len(context)
        text = stream.push(context)
        for (token_id,) in steps:
            token_ids.append(int(token_id))
            text += stream.push([token_id])
            skip_characters, piece = max(0, skip_characters - len(text)), text[skip_characters:]
            yield {"text": piece, "generated_tokens": len(token_ids) - generated_from, "finish_reason": None}
            text = ""
        _, reason = ending(token_ids, len(token_ids) - 1, prompt.config, decode=self._decode_raw)
        yield {
            "text": stream.finish()[skip_characters:],
            "generated_tokens": len(token_ids) - generated_from,
            "finish_reason": reason,
            "prompt_tokens": len(prompt.ids),
        }


def _naming(text: Any, pieces: Iterator[StreamedText]) -> Iterator[StreamedText]:
    """Yield pieces; an error about the model's scores says which text they are for."""
    try:
        yield from pieces
    except ScoreError as error:
        raise ScoreError(text) from error

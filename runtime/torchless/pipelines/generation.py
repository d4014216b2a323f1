"""The base class of the generating pipelines: their options, streaming, and the details of a generated text."""

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
from torchless.generation.config import OPTION_NAMES, GenerationConfig
from torchless.generation.stopping import FinishReason, ending
from torchless.generation.streaming import TextStream
from torchless.models.generative import GenerativeModel
from torchless.pipelines.base import Pipeline
from torchless.pipelines.options import updated
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import TruncationStrategy

__all__ = ["Details", "GenerationOptions", "GenerationPipeline", "StreamedText"]

OptionsT = TypeVar("OptionsT", bound="GenerationOptions")


class Details(TypedDict):
    """The details of a generated text.

    Attributes:
        finish_reason: The reason why it ended: its `length`, an `eos_token` or a `stop_sequence`.
        generated_tokens: The number of generated tokens, with the token that ended the text.
        prompt_tokens: The number of tokens of the prompt.
    """

    finish_reason: FinishReason
    generated_tokens: int
    prompt_tokens: int


class StreamedText(TypedDict):
    """A piece of a streamed text.

    Attributes:
        text: The piece; it may be empty.
        generated_tokens: The number of tokens generated so far.
        finish_reason: In the last piece, the reason why the text ended; in the earlier pieces, None.
        prompt_tokens: The number of tokens of the prompt, only in the last piece.
    """

    text: str
    generated_tokens: int
    finish_reason: FinishReason | None
    prompt_tokens: NotRequired[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """The options of the generating tasks.

    Attributes:
        generation: Options of `GenerationConfig` by name; a call gives each option by its name.
        truncation: True or a strategy cuts a text that is too long; by default such a text is an error.
        clean_up_tokenization_spaces: Remove the spaces that tokenizers leave before punctuation.
        return_details: Add `Details` to each result. Not in the reference.
    """

    generation: Mapping[str, Any] = field(default_factory=dict)
    truncation: bool | TruncationStrategy | None = None
    clean_up_tokenization_spaces: bool = False
    return_details: bool = False


class Context(NamedTuple):
    """The text before a streamed text.

    Attributes:
        token_ids: The tokens to decode together with the generated tokens, whose first token may be the end of a word.
        characters: The number of characters of their text, which the stream leaves out.
    """

    token_ids: Sequence[int]
    characters: int


class GenerationPipeline(Pipeline[OptionsT]):
    """A pipeline whose rows are prompts; the model generates tokens for each prompt.

    Args:
        model: The model.
        tokenizer: The tokenizer of the model.
        options: The options of `Pipeline`, of the task, and of `GenerationConfig`.

    Attributes:
        defaults: The task's defaults for the options of `GenerationConfig`.
        prefix: The text before each input, from the model's configuration.
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
        """The options of generation that apply if the caller does not change them.

        Source: `Pipeline.__init__` of transformers 4.57.6, pipelines/base.py.
        """
        config = self.model.generation_config.with_defaults(**self.defaults)
        return config if config.pad_token_id is not None else config.updated(pad_token_id=self.tokenizer.pad_token_id)

    def with_options(self, options: OptionsT, changes: Mapping[str, Any]) -> OptionsT:
        """Return options with some of them changed, both options of the task and options of generation.

        Args:
            options: The options.
            changes: The new values by name; all names of the reference are valid.

        Raises:
            OptionError: There is no such option, or a value is not possible.
        """
        changes = self._read_changes(options, changes)
        called = type(self).__name__
        task_names = {option.name for option in fields(options)} - {"generation"}
        # `max_length` may be both an option of the task and an option of generation.
        generation = {name: value for name, value in changes.items() if name not in task_names or name == "max_length"}
        for name in generation.keys() - OPTION_NAMES:
            if get_close_matches(name, task_names):
                raise OptionError(f"{called} has no option {name!r}.", hint=nearest(name, task_names | OPTION_NAMES))
        combined = {**options.generation, **generation}
        self.generation_config.updated(**combined)
        task_changes = {name: value for name, value in changes.items() if name in task_names}
        return updated(replace(options, generation=combined), task_changes, called=called)

    @overload
    def stream(self, text: Any, *, return_details: Literal[False] = False, **options: Any) -> Iterator[str]: ...

    @overload
    def stream(self, text: Any, *, return_details: Literal[True], **options: Any) -> Iterator[StreamedText]: ...

    def stream(self, text: Any, *, return_details: bool = False, **options: Any) -> Iterator[Any]:
        """Yield the generated text of one input in pieces; no later piece changes an earlier one.

        The joined pieces are the generated text without the prompt. To stop generation, close the iterator.

        Args:
            text: A single input.
            return_details: Yield a `StreamedText` for each token, and a last one at the end.
            options: As for a call, but without beams: the first token of a beam can change until the last step.

        Raises:
            InputError: As for a call.
            OptionError: As for a call; or `num_beams` or `num_return_sequences` is above 1.
        """
        chosen = self.with_options(self.options, options)
        (prompt,) = self._preprocess(text, chosen)
        self._check_lengths([prompt])
        config = prompt.config
        if config.num_return_sequences > 1:
            raise OptionError(
                f"num_return_sequences={config.num_return_sequences} cannot be streamed.", hint="num_return_sequences=1"
            )
        steps = self.model.stream(
            [prompt.ids], [[1] * len(prompt.ids)], generation_config=config, tokenizer=self.tokenizer
        )
        pieces = _naming(text, self._streamed_pieces(steps, prompt, chosen))
        return pieces if return_details else (piece["text"] for piece in pieces if piece["text"])

    def _make_scheduler(self, *, max_batch_rows: int | None) -> PromptScheduler:
        return PromptScheduler(self.model, self.tokenizer, max_batch_rows=max_batch_rows)

    @abstractmethod
    def _preprocess(self, text: Any, options: OptionsT) -> Sequence[Prompt]:
        """Turn one input into its prompt."""

    @abstractmethod
    def _read_changes(self, options: OptionsT, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return changes by the names of the options here."""

    @abstractmethod
    def _decoding_options(self, options: OptionsT) -> dict[str, bool]:
        """Return the options of the tokenizer's `decode`."""

    def _context(self, prompt: Prompt, options: OptionsT) -> Context:
        """Return the text before a streamed text; by default there is none."""
        return Context((), 0)

    def _merge_task_params(self, params: Mapping[str, Any]) -> OptionsT:
        """Return the constructor's options, changed by the options that the model's configuration sets for the task.

        This is as in the reference. A `max_length` of the constructor is only an option of generation, and takes
        precedence over the default `max_new_tokens`.
        """
        generation = dict(self.options.generation)
        if "max_length" in generation and "max_new_tokens" in self.defaults:
            generation.setdefault("max_new_tokens", None)
        generation |= {name: value for name, value in params.items() if name in OPTION_NAMES}
        return replace(self.options, generation=generation)

    def _stop_token_ids(self, text: Any) -> list[int]:
        """Return the token ids of a `stop_sequence`."""
        token_ids = self.tokenizer.encode(text, add_special_tokens=False) if isinstance(text, str) else []
        if not token_ids:
            raise OptionError(f"stop_sequence={text!r} is not possible.", hint='Give a text: stop_sequence="."')
        return token_ids

    def _with_details(
        self, results: list[Any], row: Row, sequences: RowOutput, options: OptionsT, *, generated_from: int
    ) -> list[Any]:
        """Return results with their `Details`, if the options request them.

        Args:
            results: The result of each sequence, as a dict.
            row: The prompt.
            sequences: The token ids of each sequence; padding may follow its end.
            options: The options of the call.
            generated_from: The number of first tokens that were not generated.
        """
        if not options.return_details or not isinstance(row, Prompt):
            return results
        endings = [
            ending(sequence.tolist(), generated_from, row.config, decode=self._decode_raw) for sequence in sequences
        ]
        return [
            {**result, "finish_reason": reason, "generated_tokens": tokens, "prompt_tokens": len(row.ids)}
            for result, (tokens, reason) in zip(results, endings, strict=True)
        ]

    @property
    def _decode_raw(self) -> Any:
        """Decodes token ids with special tokens and without clean-up."""
        return partial(self.tokenizer.decode, clean_up_tokenization_spaces=False)

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

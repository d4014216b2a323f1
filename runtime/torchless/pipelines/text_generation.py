"""Text generation: what follows a text, or what comes next in a chat."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypedDict, overload

from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import InputError, OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import FinishReason
from torchless.models.auto import Model
from torchless.pipelines.base import Pipeline
from torchless.pipelines.generation import (
    GenerationOptions,
    StreamedText,
    base_config,
    details,
    settled,
    stop_tokens,
    task_params,
    text_stream,
    updated_generation,
)
from torchless.pipelines.inputs import text_input
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Padding, Tokenizer

__all__ = ["Chat", "GeneratedText", "TextGenerationOptions", "TextGenerationPipeline"]

_RETURNS = ("return_full_text", "return_tensors", "return_text", "return_type")

Chat: TypeAlias = Sequence[Mapping[str, Any]]

# What the reference generates by where neither the checkpoint nor the caller says otherwise.
_DEFAULTS = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}


class GeneratedText(TypedDict, total=False):
    """One sequence: its text (of a chat, the messages with the assistant's), or its token ids; and if asked, `Details`."""

    generated_text: str | list[Mapping[str, Any]]
    generated_token_ids: list[int]
    finish_reason: FinishReason
    generated_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGenerationOptions(GenerationOptions):
    """The options of `text-generation`, beside those of `GenerationConfig`.

    Attributes:
        return_type: The prompt with what follows (`full_text`), what follows (`new_text`), or token ids (`tensors`). As in
            the reference, `return_full_text=True` or `False` asks for the first or the second, `return_tensors` for the
            third.
        max_length: Of a call, the most tokens of a prompt, too: it is cut to them.
        padding: Accepted as the reference accepts it, and without effect on an answer.
        add_special_tokens: Add the model's own tokens to a string; a chat template adds those of a chat.
        skip_special_tokens: Leave the model's own tokens out of the text.
        prefix: What comes before each prompt, and not into the answer; by default what the model says.
        handle_long_generation: `hole` cuts a prompt's beginning where its end leaves no room for what is generated.
        continue_final_message: Continue a chat's last message; by default where it is the assistant's.
        tokenizer_encode_kwargs: Further options of the tokenizer's call or, for chats, of `apply_chat_template`: `tools`,
            `enable_thinking`.
    """

    clean_up_tokenization_spaces: bool = True
    return_type: Literal["full_text", "new_text", "tensors"] = "full_text"
    max_length: int | None = None
    padding: bool | Padding = False
    add_special_tokens: bool = True
    skip_special_tokens: bool = True
    prefix: str | None = None
    handle_long_generation: Literal["hole"] | None = None
    continue_final_message: bool | None = None
    tokenizer_encode_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.handle_long_generation not in (None, "hole"):
            raise OptionError(
                f"handle_long_generation={self.handle_long_generation!r} is not possible.",
                hint="handle_long_generation='hole', or leave it out.",
            )
        if self.prefix is not None and not isinstance(self.prefix, str):
            raise OptionError(f"prefix={self.prefix!r} is no text.", hint='Give a string: prefix="…"')
        if not isinstance(self.skip_special_tokens, bool):
            raise OptionError(
                f"skip_special_tokens={self.skip_special_tokens!r} is not possible.",
                hint="skip_special_tokens=True or skip_special_tokens=False",
            )


_NONE_IS_NOT_GIVEN = {*(field.name for field in fields(TextGenerationOptions)), *_RETURNS, "stop_sequence"}


class TextGenerationPipeline(Pipeline[TextGenerationOptions]):
    """What follows texts, or chats.

    Source: `TextGenerationPipeline` of transformers 4.57.6, pipelines/text_generation.py.
    """

    task = find_task("text-generation")
    options_class = TextGenerationOptions
    too_long_hint = "Cut it with truncation=True, max_length={limit} (or less), or handle_long_generation='hole'."

    def __init__(self, model: Model, tokenizer: Tokenizer, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        params = task_params(model, self.task_name)
        declared = params.get("prefix", model.config.get("prefix"))
        prefix = declared if self.options.prefix is None else self.options.prefix
        self.options = replace(settled(self.options, params, _DEFAULTS), prefix=prefix, max_length=None)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Continue one text or chat, a list, or an iterator.

        Args:
            inputs: Strings; or chats, each a list of messages `{"role": …, "content": …}`.
            batch_size: The most prompts a batch may have.
            options: See `TextGenerationOptions` and `GenerationConfig`.

        Returns:
            A list of `GeneratedText` a prompt, `num_return_sequences` long.

        Raises:
            InputError: An input is neither a string nor a chat, is longer than the model takes, or the chat template
                refuses it.
            OptionError: There is no such option, or its value is not possible.
        """
        return super().__call__(_one_chat(inputs), batch_size=batch_size, **options)

    @overload
    def stream(self, text: str | Chat, *, return_details: Literal[False] = False, **options: Any) -> Iterator[str]: ...

    @overload
    def stream(self, text: str | Chat, *, return_details: Literal[True], **options: Any) -> Iterator[StreamedText]: ...

    def stream(self, text: str | Chat, *, return_details: bool = False, **options: Any) -> Iterator[Any]:
        """Yield what follows a text or a chat while it is written: pieces that are safe to print.

        Joined, they are the `generated_text` of `return_full_text=False`. Closing the iterator stops the work.

        Args:
            text: A string, or a chat.
            return_details: Yield a `StreamedText` a token, and one that ends them.
            options: As of a call, without beams.

        Raises:
            InputError: As of a call.
            OptionError: The same, or there are beams or several sequences.
        """
        chosen = self.with_options(self.options, options)
        (prompt,) = self.preprocess(_one_chat(text), chosen)
        self._check_lengths([prompt])
        decoding = _decoding(chosen)
        unwanted = len(self.tokenizer.decode(prompt.encoding.ids, **decoding))
        pieces = text_stream(self.model, self.tokenizer, prompt, before=prompt.ids, unwanted=unwanted, **decoding)
        return pieces if return_details else (piece["text"] for piece in pieces if piece["text"])

    def preprocess(self, text: str | Chat, options: TextGenerationOptions | None = None) -> list[Prompt]:
        """Turn a text or a chat into its prompt."""
        options = options or self.options
        config = self.generation_config.updated(**options.generation)
        given: dict[str, Any] = {"truncation": options.truncation or False, "max_length": options.max_length}
        if isinstance(text, list | tuple):
            continued = _continues(_checked(text), options)
            given |= {"add_generation_prompt": not continued, "continue_final_message": continued, "return_dict": True}
            given |= options.tokenizer_encode_kwargs or {}
            (encoding,) = self.tokenizer.apply_chat_template(text, **given).encodings
        else:
            given |= {"truncation": options.truncation, "add_special_tokens": options.add_special_tokens}
            given |= options.tokenizer_encode_kwargs or {}
            (encoding,) = self.tokenizer((options.prefix or "") + text_input(text), **given).encodings
            config = self._with_prefix(config, options)
        cut = bool(encoding.overflowing)
        if options.handle_long_generation == "hole":
            encoding.truncate(min(len(encoding), self._room(config, len(encoding))), direction="left")
        return [Prompt(encoding, cut=cut, config=config)]

    def postprocess(
        self,
        text: str | Chat,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: TextGenerationOptions | None = None,
    ) -> list[GeneratedText]:
        """Turn a prompt's sequences into texts."""
        options = options or self.options
        (row,), (sequences,) = rows, outputs
        answers = self._written(text, row, sequences, options)
        if not options.return_details or not isinstance(row, Prompt):
            return answers
        told = [details(self.tokenizer, row, ids.tolist(), generated_from=len(row.ids)) for ids in sequences]
        return [{**answer, **how} for answer, how in zip(answers, told, strict=True)]

    def _written(
        self, text: str | Chat, row: Row, sequences: RowOutput, options: TextGenerationOptions
    ) -> list[GeneratedText]:
        if options.return_type == "tensors":
            return [{"generated_token_ids": sequence.tolist()} for sequence in sequences]
        decoding = _decoding(options)
        before = len(self.tokenizer.decode(row.encoding.ids, **decoding))
        new_texts = [self.tokenizer.decode(sequence.tolist(), **decoding)[before:] for sequence in sequences]
        if options.return_type == "new_text":
            return [{"generated_text": new} for new in new_texts]
        if isinstance(text, str):
            return [{"generated_text": text + new} for new in new_texts]
        return [{"generated_text": _with_answer(text, new, continued=_continues(text, options))} for new in new_texts]

    def with_options(self, options: TextGenerationOptions, changes: Mapping[str, Any]) -> TextGenerationOptions:
        """Return options with some of them changed; the reference's other names for them are read too."""
        changes = _with_return_type(
            {name: value for name, value in changes.items() if value is not None or name not in _NONE_IS_NOT_GIVEN}
        )
        if "stop_sequence" in changes:
            changes["eos_token_id"] = stop_tokens(self.tokenizer, changes.pop("stop_sequence"))
        return updated_generation(options, changes, config=self.generation_config, called=type(self).__name__)

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """What holds unless the caller says otherwise."""
        return base_config(self.model, self.tokenizer, **_DEFAULTS)

    def _with_prefix(self, config: GenerationConfig, options: TextGenerationOptions) -> GenerationConfig:
        """Return the options with lengths that do not count the prefix."""
        prefix = self.tokenizer.encode(options.prefix or "", add_special_tokens=False)
        longer: dict[str, Any] = {}
        if prefix and config.max_length is not None and config.max_new_tokens is None:
            longer["max_length"] = config.max_length + len(prefix)
        if prefix and config.min_length and config.min_new_tokens is None:
            longer["min_length"] = config.min_length + len(prefix)
        return config.updated(**longer)

    def _room(self, config: GenerationConfig, tokens: int) -> int:
        """Return how many tokens a prompt may have, so that what is generated still fits."""
        if self.max_tokens is None:
            return tokens
        room = self.max_tokens - (config.max_total_length(tokens) - tokens)
        if room < 1:
            raise OptionError(
                f"max_new_tokens={config.max_total_length(tokens) - tokens} leaves no room for a prompt: the model takes "
                f"{self.max_tokens} tokens.",
                hint=f"Give less than max_new_tokens={self.max_tokens}.",
            )
        return room


def _decoding(options: TextGenerationOptions) -> dict[str, bool]:
    return {
        "skip_special_tokens": options.skip_special_tokens,
        "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces,
    }


def _with_return_type(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with `return_type` for the reference's three names for it."""
    changes = dict(changes)
    given = {name: changes.pop(name) for name in _RETURNS if name in changes}
    kind = given.get("return_type")
    if kind is None and "return_full_text" in given:
        kind = "full_text" if given["return_full_text"] else "new_text"
        clashing = given.keys() & {"return_text", "return_tensors"}
    elif kind is None and "return_tensors" in given:  # False too, in the reference
        kind = "tensors"
        clashing = given.keys() & {"return_text"}
    else:
        clashing = set()
    if clashing:
        names = sorted(given)
        raise OptionError(f"{' and '.join(names)} exclude each other.", hint="Give one of them.")
    return changes if kind is None else {**changes, "return_type": kind}


def _one_chat(inputs: Any) -> Any:
    """Return inputs with a single chat as a tuple, which is one input, where a list would be many."""
    if not isinstance(inputs, list | tuple) or not inputs:
        return inputs
    return tuple(inputs) if isinstance(inputs[0], Mapping) else list(inputs)


def _checked(chat: Sequence[Any]) -> Chat:
    for index, message in enumerate(chat):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise InputError(
                f"Message {index} of the chat is {message!r}.",
                hint='Give messages as {"role": "user", "content": "…"}.',
            )
    if not chat:
        raise InputError("The chat has no messages.", hint='Give [{"role": "user", "content": "…"}].')
    return chat


def _continues(chat: Chat, options: TextGenerationOptions) -> bool:
    """Whether a chat's last message is continued, and not answered."""
    chosen = options.continue_final_message
    return chat[-1]["role"] == "assistant" if chosen is None else chosen


def _with_answer(chat: Chat, new_text: str, *, continued: bool) -> list[Mapping[str, Any]]:
    if not continued:
        return [*chat, {"role": "assistant", "content": new_text}]
    content = chat[-1]["content"]
    longer = content + new_text if isinstance(content, str) else [*content, {"type": "text", "text": new_text}]
    return [*chat[:-1], {"role": chat[-1]["role"], "content": longer}]

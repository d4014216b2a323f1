"""Text generation: the continuation of a text, or the next message of a chat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict

from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import InputError, OptionError, shortened
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import FinishReason
from torchless.models.generative import GenerativeModel
from torchless.pipelines.generation import Context, GenerationOptions, GenerationPipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import without_none
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Padding, Tokenizer

__all__ = ["Chat", "GeneratedText", "TextGenerationOptions", "TextGenerationPipeline"]

_RETURNS = ("return_full_text", "return_tensors", "return_text", "return_type")

Chat: TypeAlias = Sequence[Mapping[str, Any]]


class GeneratedText(TypedDict, total=False):
    """A generated sequence: the text, the messages of a chat with the new message, or the token ids; `Details` are optional."""

    generated_text: str | list[Mapping[str, Any]]
    generated_token_ids: list[int]
    finish_reason: FinishReason
    generated_tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGenerationOptions(GenerationOptions):
    """The options of `text-generation`, in addition to those of `GenerationConfig`.

    Attributes:
        return_type: `full_text` returns the prompt with the new text, `new_text` only the new text, and `tensors` token
            ids. As in the reference, `return_full_text=True`, `return_full_text=False` and `return_tensors` are other
            names of these three values.
        max_length: In a call, truncation also cuts the prompt to this number of tokens.
        padding: Accepted as in the reference; it does not change the result.
        add_special_tokens: Add special tokens to a string; a chat template adds the special tokens of a chat.
        skip_special_tokens: Leave special tokens out of the text.
        prefix: A text before each prompt, which is left out of the result; by default from the model's configuration.
        handle_long_generation: `hole` cuts the beginning of a prompt that leaves no room for the new tokens.
        continue_final_message: Continue the last message of a chat; by default only if it is the assistant's message.
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
            raise OptionError(f"prefix={self.prefix!r} is not a string.", hint='Give a string: prefix="…"')
        if not isinstance(self.skip_special_tokens, bool):
            raise OptionError(
                f"skip_special_tokens={self.skip_special_tokens!r} is not possible.",
                hint="skip_special_tokens=True or skip_special_tokens=False",
            )


_NONE_IS_NOT_GIVEN = {*(field.name for field in fields(TextGenerationOptions)), *_RETURNS, "stop_sequence"}


class TextGenerationPipeline(GenerationPipeline[TextGenerationOptions]):
    """The continuations of texts or chats.

    Source: `TextGenerationPipeline` of transformers 4.57.6, pipelines/text_generation.py.
    """

    task = find_task("text-generation")
    options_class = TextGenerationOptions
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}
    too_long_hint = "Cut it with truncation=True, max_length={limit} (or less), or handle_long_generation='hole'."

    def __init__(self, model: GenerativeModel, tokenizer: Tokenizer, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        prefix = self.prefix if self.options.prefix is None else self.options.prefix
        self.options = replace(self.options, prefix=prefix, max_length=None)

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Continue one text or chat, a list, or an iterator.

        Args:
            inputs: Strings; or chats, each a list of messages `{"role": …, "content": …}`.
            batch_size: The most prompts in a batch.
            options: See `TextGenerationOptions` and `GenerationConfig`.

        Returns:
            For each prompt a list of `num_return_sequences` `GeneratedText`.

        Raises:
            InputError: An input is neither a string nor a chat, is longer than the model takes, or the chat template
                rejects it.
            OptionError: There is no such option, or its value is not possible.
        """
        if isinstance(inputs, list | tuple) and inputs:  # a list of messages is one input: it becomes a tuple
            inputs = tuple(inputs) if isinstance(inputs[0], Mapping) else list(inputs)
        return super().__call__(inputs, batch_size=batch_size, **options)

    def _preprocess(self, text: str | Chat, options: TextGenerationOptions) -> list[Prompt]:
        """Turn a text or a chat into its prompt."""
        config = self.generation_config.updated(**options.generation)
        encode_kwargs: dict[str, Any] = {"truncation": options.truncation, "max_length": options.max_length}
        further = options.tokenizer_encode_kwargs or {}
        if isinstance(text, list | tuple):
            continued = _continues(_checked(text), options)
            encode_kwargs |= {"add_generation_prompt": not continued, "continue_final_message": continued}
            encode_kwargs |= {"truncation": options.truncation or False, "return_dict": True, **further}
            encoded = self.tokenizer.apply_chat_template(text, **encode_kwargs)
        else:
            encode_kwargs |= {"add_special_tokens": options.add_special_tokens, **further}
            encoded = self.tokenizer((options.prefix or "") + text_input(text), **encode_kwargs)
            config = self._with_prefix(config, options)
        (encoding,) = encoded.encodings
        if options.handle_long_generation == "hole":
            encoding.truncate(min(len(encoding), self._room(config, len(encoding))), direction="left")
        return [Prompt(encoding, cut=encoded.is_cut, config=config)]

    def _postprocess(
        self, text: str | Chat, rows: Sequence[Row], outputs: Sequence[RowOutput], options: TextGenerationOptions
    ) -> list[GeneratedText]:
        """Turn a prompt's sequences into texts."""
        (row,), (sequences,) = rows, outputs
        prompt_length = len(row.ids) if isinstance(row, Prompt) else len(row)
        results = self._generated_texts(text, row, sequences, options)
        return self._with_details(results, row, sequences, options, generated_from=prompt_length)

    def _generated_texts(
        self, text: str | Chat, row: Row, sequences: RowOutput, options: TextGenerationOptions
    ) -> list[GeneratedText]:
        if options.return_type == "tensors":
            return [{"generated_token_ids": sequence.tolist()} for sequence in sequences]
        decoding = self._decoding_options(options)
        before = len(self.tokenizer.decode(row.encoding.ids, **decoding))
        new_texts = [self.tokenizer.decode(sequence.tolist(), **decoding)[before:] for sequence in sequences]
        if options.return_type == "new_text":
            return [{"generated_text": new} for new in new_texts]
        if isinstance(text, str):
            return [{"generated_text": text + new} for new in new_texts]
        return [{"generated_text": _with_answer(text, new, continued=_continues(text, options))} for new in new_texts]

    def _read_changes(self, options: TextGenerationOptions, changes: Mapping[str, Any]) -> dict[str, Any]:
        changes = _with_return_type(without_none(changes, _NONE_IS_NOT_GIVEN))
        if "stop_sequence" in changes:
            changes["eos_token_id"] = self._stop_token_ids(changes.pop("stop_sequence"))
        return changes

    def _decoding_options(self, options: TextGenerationOptions) -> dict[str, bool]:
        return {
            "skip_special_tokens": options.skip_special_tokens,
            "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces,
        }

    def _context(self, prompt: Prompt, options: TextGenerationOptions) -> Context:
        text = self.tokenizer.decode(prompt.encoding.ids, **self._decoding_options(options))
        return Context(prompt.ids, len(text))

    def _with_prefix(self, config: GenerationConfig, options: TextGenerationOptions) -> GenerationConfig:
        """Return the options with `max_length` and `min_length` extended by the length of the prefix."""
        prefix = self.tokenizer.encode(options.prefix or "", add_special_tokens=False)
        longer: dict[str, Any] = {}
        if prefix and config.max_length is not None and config.max_new_tokens is None:
            longer["max_length"] = config.max_length + len(prefix)
        if prefix and config.min_length and config.min_new_tokens is None:
            longer["min_length"] = config.min_length + len(prefix)
        return config.updated(**longer)

    def _too_long_hint(self, row: Row) -> str:
        """Return the hint for a prompt that is too long: what is left of it leaves room for the new tokens."""
        limit = self.model.max_tokens
        if limit is None or not isinstance(row, Prompt):
            return self.too_long_hint
        new_tokens = max(1, row.config.max_total_length(limit, max_positions=limit) - limit)
        if new_tokens <= limit:  # the last one takes no position
            return self.too_long_hint.format(limit=limit - new_tokens + 1)
        half = limit // 2
        return f"Cut it, and ask for fewer tokens: truncation=True, max_length={half}, max_new_tokens={limit - half}"

    def _room(self, config: GenerationConfig, tokens: int) -> int:
        """Return the most tokens of a prompt that leave room for the new tokens."""
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


def _with_return_type(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with `return_type` in place of the reference's other names for it."""
    requested = {name: changes.pop(name) for name in _RETURNS if name in changes}
    kind = requested.get("return_type")
    if kind is None and "return_full_text" in requested:
        kind = "full_text" if requested["return_full_text"] else "new_text"
        clashing = requested.keys() & {"return_text", "return_tensors"}
    elif kind is None and "return_tensors" in requested:  # as in the reference, even if it is False
        kind = "tensors"
        clashing = requested.keys() & {"return_text"}
    else:
        clashing = set()
    if clashing:
        raise OptionError(f"{' and '.join(sorted(requested))} exclude each other.", hint="Give only one of them.")
    return changes if kind is None else {**changes, "return_type": kind}


def _checked(chat: Sequence[Any]) -> Chat:
    for index, message in enumerate(chat):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise InputError(
                f"Message {index} of the chat is {shortened(message)}.",
                hint='Give messages as {"role": "user", "content": "…"}.',
            )
    if not chat:
        raise InputError("The chat has no messages.", hint='Give [{"role": "user", "content": "…"}].')
    return chat


def _continues(chat: Chat, options: TextGenerationOptions) -> bool:
    """Return whether the model continues the last message of a chat; otherwise it adds a message."""
    chosen = options.continue_final_message
    return chat[-1]["role"] == "assistant" if chosen is None else chosen


def _with_answer(chat: Chat, new_text: str, *, continued: bool) -> list[Mapping[str, Any]]:
    if not continued:
        return [*chat, {"role": "assistant", "content": new_text}]
    content = chat[-1]["content"]
    longer = content + new_text if isinstance(content, str) else [*content, {"type": "text", "text": new_text}]
    return [*chat[:-1], {"role": chat[-1]["role"], "content": longer}]

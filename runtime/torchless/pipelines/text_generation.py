"""Text generation: what follows a text, or what comes next in a chat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict

from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import InputError, OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import FinishReason
from torchless.models.generative import GenerativeModel
from torchless.pipelines.generation import Context, GenerationOptions, GenerationPipeline
from torchless.pipelines.inputs import text_input
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Padding, Tokenizer

__all__ = ["Chat", "GeneratedText", "TextGenerationOptions", "TextGenerationPipeline"]

_RETURNS = ("return_full_text", "return_tensors", "return_text", "return_type")

Chat: TypeAlias = Sequence[Mapping[str, Any]]


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


class TextGenerationPipeline(GenerationPipeline[TextGenerationOptions]):
    """What follows texts, or chats.

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

    def _preprocess(self, text: str | Chat, options: TextGenerationOptions) -> list[Prompt]:
        """Turn a text or a chat into its prompt."""
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

    def _postprocess(
        self, text: str | Chat, rows: Sequence[Row], outputs: Sequence[RowOutput], options: TextGenerationOptions
    ) -> list[GeneratedText]:
        """Turn a prompt's sequences into texts."""
        (row,), (sequences,) = rows, outputs
        prompt_length = len(row.ids) if isinstance(row, Prompt) else len(row)
        details = self._details(rows, sequences, options, generated_from=prompt_length)
        answers = self._answers(text, row, sequences, options)
        return [{**answer, **detail} for answer, detail in zip(answers, details, strict=True)]

    def _answers(
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
        changes = _with_return_type(
            {name: value for name, value in changes.items() if value is not None or name not in _NONE_IS_NOT_GIVEN}
        )
        if "stop_sequence" in changes:
            changes["eos_token_id"] = self._stop_token_ids(changes.pop("stop_sequence"))
        return changes

    def _single_input(self, text: str | Chat) -> Any:
        return _one_chat(text)

    def _decoding_options(self, options: TextGenerationOptions) -> dict[str, bool]:
        return {
            "skip_special_tokens": options.skip_special_tokens,
            "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces,
        }

    def _context(self, prompt: Prompt, options: TextGenerationOptions) -> Context:
        text = self.tokenizer.decode(prompt.encoding.ids, **self._decoding_options(options))
        return Context(prompt.ids, len(text))

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

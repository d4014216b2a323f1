"""The tokenizer: from texts to model inputs."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Self

import tokenizers
from tokenizers import Encoding

from torchless.errors import OptionError
from torchless.folder.hub import open_folder
from torchless.folder.model_folder import ModelFolder
from torchless.tokenization.backend import adapt_backend, read_backend
from torchless.tokenization.chat_template import (
    check_chat_options,
    choose_template,
    conversations_of,
    read_templates,
    render,
)
from torchless.tokenization.encoding import BatchEncoding, as_array, encoding_columns, encoding_error, spans_mask
from torchless.tokenization.fork_safe_lock import fork_safe_lock, threads_used
from torchless.tokenization.languages import LanguageFrame, language_frame
from torchless.tokenization.padding import NO_LIMIT_ABOVE, Padding, pad_encodings, padded_width
from torchless.tokenization.pickling import reduced
from torchless.tokenization.settings import read_settings
from torchless.tokenization.text_batch import text_batch
from torchless.tokenization.truncation import (
    Truncation,
    TruncationSide,
    TruncationStrategy,
    enable_truncation,
    read_truncation,
)
from torchless.tokenization.vocabulary import Vocabulary

__all__ = ["Encoding", "Padding", "Tokenizer"]

_NO_LIMIT = int(1e30)  # what `transformers` writes for a tokenizer without a limit
_INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")


class Tokenizer(Vocabulary):
    """A fast tokenizer that is called as those of `transformers` are. Any number of threads may call it at once.

    Args:
        backend: The tokenizer of `tokenizer.json`.
        config: Its settings, as `tokenizer_config.json` names them.
        chat_template: How chats become texts: a Jinja template, or several by name.
        language_frame: The place of the language token in a text to translate; None if the tokenizer has no languages.

    Attributes:
        model_max_length: The longest input in tokens that the checkpoint declares, or 1e30.
        max_positions: The longest input in tokens that the model beside the tokenizer takes; None without a limit.
        language_frame: The place of the language token in a text to translate; None if the tokenizer has no languages.
        model_input_names: What calling the tokenizer returns by default.
        padding_side: `right` or `left`.
        truncation_side: `right` or `left`.

    Source: `PreTrainedTokenizerFast` of transformers 4.57.6.
    """

    is_fast = True

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        config: Mapping[str, Any],
        *,
        chat_template: str | Mapping[str, str] | None = None,
        language_frame: LanguageFrame | None = None,
    ) -> None:
        super().__init__(backend, config)
        self._lock = fork_safe_lock()
        self._truncation: Truncation | None = None
        backend.no_truncation()
        backend.no_padding()
        self.chat_template = chat_template
        self.model_max_length = int(config.get("model_max_length") or config.get("max_len") or _NO_LIMIT)
        self.padding_side: str = config.get("padding_side", "right")
        self.truncation_side: str = config.get("truncation_side", "right")
        self.pad_token_type_id = int(config.get("pad_token_type_id", 0))
        self.model_input_names: list[str] = config.get("model_input_names") or list(_INPUT_NAMES)
        self.language_frame = language_frame
        self.max_positions: int | None = None
        self._location: tuple[str, str | None] | None = None
        self._config = dict(config)

    @classmethod
    def from_pretrained(cls, source: str | PathLike[str], *, revision: str | None = None) -> Self:
        """Load the tokenizer of an exported folder, or of a name on the Hub, of which no graph is downloaded.

        Args:
            source: It holds `tokenizer.json`, and most often `tokenizer_config.json`.
            revision: A branch, tag or commit on the Hub.

        Raises:
            CheckpointError: A file is missing or damaged, or the name cannot be found.
        """
        return cls.from_folder(open_folder(source, revision=revision))

    @classmethod
    def from_folder(cls, folder: ModelFolder) -> Self:
        """Load the tokenizer of an open folder.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        backend = read_backend(folder)
        settings = read_settings(folder, backend)
        frame = language_frame(settings, backend, folder.config.get("model_type"))
        adapt_backend(backend, settings, frame)
        tokenizer = cls(backend, settings, chat_template=read_templates(folder, settings), language_frame=frame)
        tokenizer.max_positions = folder.config.max_tokens
        tokenizer._location = folder.location
        return tokenizer

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self, self._location, self._backend, self._config)

    def __call__(
        self,
        text: str | Sequence[str] | Sequence[Sequence[str]],
        text_pair: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | Padding = False,
        truncation: bool | TruncationStrategy | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["right", "left"] | None = None,
        truncation_side: TruncationSide | None = None,
        return_tensors: Literal["np"] | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> BatchEncoding:
        """Turn one text or many into model inputs.

        Args:
            text: A text, or a list of them; with `is_split_into_words`, a list of words or a list of such lists.
            text_pair: What each text is paired with.
            add_special_tokens: Add the model's own, for example `[CLS]` and `[SEP]`.
            padding: True or `longest` to the longest of the texts, `max_length` to `max_length` tokens.
            truncation: True or `longest_first` cuts to `max_length`, `only_first` and `only_second` one of a pair.
            max_length: In tokens, special ones included; by default what the model takes.
            stride: The tokens that windows overlap by, with `return_overflowing_tokens`.
            is_split_into_words: The texts are lists of words already.
            pad_to_multiple_of: Round the padded length up to a multiple of this many tokens.
            padding_side: `right` or `left`, by default the model's own.
            truncation_side: The same of what is cut. Not in the reference.
            return_tensors: `np` for int64 arrays of (texts, tokens); None for lists.
            return_token_type_ids: By default, if the model takes them.
            return_attention_mask: By default, if the model takes it.
            return_overflowing_tokens: Also return what truncation cut, as further rows.
            return_special_tokens_mask: Also return 1 where a token is special.
            return_offsets_mapping: Also return each token's start and end in its text, in characters.
            return_length: Also return each row's length in tokens.

        Returns:
            `input_ids` and the others, a row a text; for one text without tensors, the row itself.

        Raises:
            InputError: A text is not a string, or rows of different lengths cannot make an array.
            OptionError: An option has a value that it cannot have.
        """
        is_single, texts = text_batch(text, text_pair, is_split_into_words=is_split_into_words)
        if return_tensors not in (None, "np"):
            raise OptionError(
                f"return_tensors={return_tensors!r} is not possible here.",
                hint="Give return_tensors='np' for NumPy arrays, or leave it out for lists.",
            )
        implied = max_length is not None and padding is False
        cut = read_truncation(
            implied if truncation is None else truncation,
            max_length=max_length,
            stride=stride,
            model_max_length=self._declared_length,
            side=truncation_side,
        )
        encoded = self.encode_batch(
            texts, truncation=cut, add_special_tokens=add_special_tokens, is_split_into_words=is_split_into_words
        )
        rows = [[encoding, *(encoding.overflowing if return_overflowing_tokens else [])] for encoding in encoded]
        encodings = [encoding for row in rows for encoding in row]
        if cut and padding not in (False, "do_not_pad") and cut.max_length % (pad_to_multiple_of or 1):
            raise OptionError(
                f"max_length={cut.max_length} is not a multiple of pad_to_multiple_of={pad_to_multiple_of}.",
                hint="Give a max_length that is, or leave truncation or pad_to_multiple_of out.",
            )
        width = padded_width(
            [len(encoding) for encoding in encodings],
            padding,
            self.model_max_length if max_length is None else max_length,
            multiple_of=pad_to_multiple_of or 1,
        )
        if width is not None:
            pad_encodings(encodings, width, self, side=padding_side or self.padding_side)

        requested = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        columns = encoding_columns(
            encodings,
            [name for name, value in requested.items() if (name in self.model_input_names if value is None else value)],
        )
        if return_length:
            columns["length"] = [len(encoding) for encoding in encodings]
        if return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = [index for index, row in enumerate(rows) for _ in row]
        if return_tensors == "np":
            return BatchEncoding({name: as_array(column) for name, column in columns.items()}, encodings)
        if is_single and not return_overflowing_tokens:
            columns = {name: column if name == "length" else column[0] for name, column in columns.items()}
        return BatchEncoding(columns, encodings)

    def encode_batch(
        self,
        texts: Sequence[Any],
        *,
        truncation: Truncation | None = None,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
    ) -> list[Encoding]:
        """Encode texts without padding: the tokenizer's own encodings, with offsets and what was cut.

        Args:
            texts: Strings or (string, string) pairs; with `is_split_into_words`, lists of strings for strings.
            truncation: How to cut what is too long; None cuts nothing.
            add_special_tokens: Add the model's own.
            is_split_into_words: The texts are lists of words already.

        Raises:
            InputError: A text cannot be encoded, or cannot be cut by this strategy.
            OptionError: The stride is not smaller than what truncation leaves of a text.
        """
        with self._lock.lend():  # truncation is a state of the backend, which other threads use too
            if truncation != self._truncation:
                self._truncation = None
                enable_truncation(self._backend, truncation, side=self.truncation_side)
                self._truncation = truncation
            try:
                if len(texts) == 1 and isinstance(texts[0], str):  # a batch would wake the backend's threads
                    return [self._backend.encode(texts[0], add_special_tokens=add_special_tokens)]
                threads_used()
                options = {"add_special_tokens": add_special_tokens, "is_pretokenized": is_split_into_words}
                return list(self._backend.encode_batch(list(texts), **options))
            except BaseException as error:  # tokenizers raises a bare Exception, and if it panics no Exception
                raise encoding_error(error, texts, stride=truncation.stride if truncation else 0) from error

    def truncation(
        self,
        truncation: bool | TruncationStrategy | None,
        *,
        max_length: int | None = None,
        stride: int = 0,
        implied: bool = False,
        side: TruncationSide | None = None,
    ) -> Truncation | None:
        """Read `truncation=` and `max_length=` as the pipelines of `transformers` do.

        Args:
            truncation: A strategy's name, True for `longest_first`, False for none, None for the default.
            max_length: In tokens; by default `max_tokens`, and nothing is cut where that has no limit.
            stride: The tokens that windows overlap by.
            implied: None means `longest_first` here, since a `max_length` alone asks for it.
            side: What is cut, by default as the tokenizer says.

        Raises:
            OptionError: There is no such strategy or side, or a value is not a number.
        """
        return read_truncation(
            implied if truncation is None else truncation,
            max_length=max_length,
            stride=stride,
            model_max_length=self.max_tokens,
            side=side,
        )

    def num_special_tokens(self, *, pair: bool) -> int:
        """Return how many special tokens a text, or a text with its pair, is given."""
        return int(self._backend.num_special_tokens_to_add(is_pair=pair))

    @property
    def max_tokens(self) -> int | None:
        """The longest input in tokens that both the tokenizer and its model declare; None where neither has a limit."""
        limits = (self._declared_length, self.max_positions)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def _declared_length(self) -> int | None:
        return None if self.model_max_length > NO_LIMIT_ABOVE else self.model_max_length

    def tokenize(self, text: str, pair: str | None = None, *, add_special_tokens: bool = False) -> list[str]:
        """Return the tokens of a text, as strings."""
        return self(text, pair, add_special_tokens=add_special_tokens).tokens()

    def encode(self, text: str, text_pair: str | None = None, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text."""
        return list(self(text, text_pair, add_special_tokens=add_special_tokens).encodings[0].ids)

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        tools: Sequence[Mapping[str, Any] | Callable[..., Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | Padding = False,
        truncation: bool | TruncationStrategy = False,
        max_length: int | None = None,
        return_tensors: Literal["np"] | None = None,
        return_dict: bool = False,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> Any:
        """Turn a chat, or a list of chats, into what the model was trained to continue. It needs the extra `chat`.

        Args:
            conversation: Messages, each with a `role` and most often a `content`; or a list of such lists.
            tools: What the model may call: JSON schemas, or functions with type hints and a docstring.
            documents: What it may read.
            chat_template: A Jinja template, or the name of one of the model's; by default the model's own.
            add_generation_prompt: End with what begins the assistant's turn.
            continue_final_message: Leave the last message open, so that the model continues it.
            tokenize: Return token ids; otherwise the text.
            padding: As of a call.
            truncation: As of a call.
            max_length: As of a call.
            return_tensors: As of a call.
            return_dict: Return all that a call returns, not the ids alone.
            return_assistant_tokens_mask: Also return `assistant_masks`, 1 where the template's `{% generation %}` blocks are.
            tokenizer_kwargs: Further options of the call.
            variables: What else the template reads, for example `enable_thinking=False`.

        Returns:
            Text, token ids or model inputs; a list or rows of them for a list of chats.

        Raises:
            InputError: There is no template, it refuses the messages, or they are not messages.
            OptionError: The template is malformed, or options contradict each other.
            MissingExtraError: jinja2 is not installed.

        Source: `apply_chat_template` in transformers 4.57.6, tokenization_utils_base.py.
        """
        check_chat_options(
            tokenize=tokenize,
            return_dict=return_dict,
            mask=return_assistant_tokens_mask,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )
        template = choose_template(self.chat_template, chat_template, tools=tools is not None)
        is_single, chats = conversations_of(conversation)
        rendered = [
            render(
                template,
                chat,
                tools=tools,
                documents=documents,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                variables={**self.special_tokens_map, **variables},
                track_assistant=return_assistant_tokens_mask,
            )
            for chat in chats
        ]
        texts = [chat.text for chat in rendered]
        if not tokenize:
            return texts[0] if is_single else texts
        encoded = self(
            texts[0] if is_single else texts,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            add_special_tokens=False,
            return_tensors=return_tensors,
            **(tokenizer_kwargs or {}),
        )
        if return_assistant_tokens_mask:
            pairs = zip(encoded.encodings, rendered, strict=True)
            masks = [spans_mask(encoding, chat.assistant) for encoding, chat in pairs]
            listed = masks[0] if is_single else masks
            encoded["assistant_masks"] = listed if return_tensors is None else as_array(masks)
        return encoded if return_dict else encoded["input_ids"]

"""The vocabulary of a tokenizer: tokens and their ids, in both directions."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import tokenizers

from torchless.tokenization.clean_up import clean_up
from torchless.tokenization.special_tokens import all_special_tokens, special_tokens, special_tokens_map

__all__ = ["Vocabulary"]


class Vocabulary:
    """The tokens of a model, called as those of a tokenizer of `transformers` are.

    Args:
        backend: The tokenizer of `tokenizer.json`.
        config: Its settings, as `tokenizer_config.json` names them.

    Attributes:
        all_special_tokens: The model's own tokens, each once.
        special_tokens_map: The same by role, which chat templates read.
        clean_up: Whether `decode` removes spaces before punctuation by default.

    Source: `PreTrainedTokenizerFast` of transformers 4.57.6.
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
        self._backend = backend
        self._special = special_tokens(config)
        self.special_tokens_map = special_tokens_map(config)
        self.all_special_tokens = all_special_tokens(config)
        self.clean_up = bool(config.get("clean_up_tokenization_spaces", False))

    def token_id(self, token: str) -> int | None:
        """Return the id of a token, or None where the vocabulary lacks it."""
        try:
            found: int | None = self._backend.token_to_id(token)
        except UnicodeEncodeError:  # a surrogate, which is no character
            return None
        return found

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Return the id of a token, or a list of ids; of the unknown token where the vocabulary lacks one."""
        if isinstance(tokens, str):
            found = self.token_id(tokens)
            return self.unk_token_id if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: int | Sequence[int], *, skip_special_tokens: bool = False) -> Any:
        """Return the token of an id, or a list of tokens; None where the vocabulary lacks one."""
        if isinstance(ids, int):
            return self._backend.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._backend.id_to_token(int(index)) for index in ids if int(index) not in skipped]

    def decode(
        self,
        token_ids: int | Sequence[int],
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """Turn token ids into text.

        Args:
            token_ids: One id, or a row of them (a list or a 1-D array).
            skip_special_tokens: Leave out the model's own tokens.
            clean_up_tokenization_spaces: Remove spaces before punctuation; by default as the checkpoint says.
        """
        ids = [int(index) for index in ([token_ids] if isinstance(token_ids, int) else token_ids)]
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special_tokens)
        should_clean = self.clean_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return clean_up(text) if should_clean else text

    def batch_decode(
        self,
        sequences: Sequence[Sequence[int]],
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[str]:
        """Turn rows of token ids into texts; see `decode`."""
        return [
            self.decode(
                sequence,
                skip_special_tokens=skip_special_tokens,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )
            for sequence in sequences
        ]

    def get_vocab(self) -> dict[str, int]:
        """Return every token with its id, added ones included."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def vocab_size(self) -> int:
        """The number of tokens in the vocabulary, added ones not counted."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Join tokens into text, as the tokenizer's decoder does."""
        decoder = self._backend.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    @cached_property
    def decoders(self) -> tuple[str, ...]:
        """The kinds of what turns tokens into text, in their order; none where tokens are joined by spaces."""
        decoder = self._backend.decoder
        state = {} if decoder is None else json.loads(decoder.__getstate__())
        return tuple(step["type"] for step in state.get("decoders", [state] if state else []))

    @cached_property
    def skipped_ids(self) -> frozenset[int]:
        """The ids that `decode` leaves out with `skip_special_tokens`."""
        added = self._backend.get_added_tokens_decoder()
        return frozenset(index for index, token in added.items() if token.special)

    @property
    def continuing_subword_prefix(self) -> str | None:
        """What marks a token that continues a word (`##` for WordPiece), or None where nothing does."""
        return getattr(self._backend.model, "continuing_subword_prefix", None) or None

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of `all_special_tokens`."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]

    def __getattr__(self, name: str) -> Any:
        """`pad_token`, `pad_token_id` and their like: None where the tokenizer has no such token."""
        special: dict[str, str | None] = self.__dict__.get("_special", {})
        if name in special:
            return special[name]
        if name.endswith("_id") and (token_name := name.removesuffix("_id")) in special:
            token = special[token_name]
            return None if token is None else self.token_id(token)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

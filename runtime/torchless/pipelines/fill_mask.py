"""Fill-mask: the likeliest tokens in the place of a mask."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, OptionError, check_whole_number, shortened
from torchless.numerics import softmax, top_k
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import TokenizerOptions, updated, without_none
from torchless.tasks import find_task

__all__ = ["FillMaskOptions", "FillMaskPipeline", "Filling"]


_FILLING_TOKENS = 32  # what a filling costs beside its text, in tokens that are decoded


class Filling(TypedDict):
    """A token in the place of a mask, and the text with it."""

    score: float
    token: int
    token_str: str
    sequence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FillMaskOptions:
    """The options of `fill-mask`.

    Attributes:
        top_k: The number of tokens to return for each mask.
        targets: The tokens to return, one or several; their scores are the probabilities among all tokens.
        tokenizer_kwargs: The tokenizer's options as a mapping: `truncation`, `max_length` and so on.
    """

    top_k: int = 5
    targets: str | Sequence[str] | None = None
    tokenizer_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_whole_number("top_k", self.top_k, at_least=1, hint="Give a number of tokens.")
        if self.targets is not None and (
            not isinstance(self.targets, str | list | tuple)
            or not len(self.targets)
            or not all(isinstance(target, str) for target in self.targets)
        ):
            raise OptionError(f"targets={self.targets!r} is not possible.", hint="Give a string, or a list of strings.")
        if not isinstance(self.tokenizer_kwargs, Mapping):
            raise OptionError(
                f"tokenizer_kwargs={self.tokenizer_kwargs!r} is not possible.",
                hint="Give the tokenizer's options by name: tokenizer_kwargs={'truncation': True}.",
            )
        _encoding(self.tokenizer_kwargs)


class FillMaskPipeline(Pipeline[FillMaskOptions]):
    """The likeliest tokens in the place of each mask of a text.

    Source: `FillMaskPipeline` of transformers 4.57.6, pipelines/fill_mask.py.
    """

    task = find_task("fill-mask")
    options_class = FillMaskOptions
    too_long_hint = "Cut it with tokenizer_kwargs={{'truncation': True}}."

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Fill the masks of one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings that contain the mask token, `tokenizer.mask_token`.
            batch_size: The most rows in a batch.
            options: See `FillMaskOptions`.

        Returns:
            For a text with one mask a list of `Filling`; for a text with several masks a list of such lists. For a list of
            texts a list of these results, but for a list of one text only its result.

        Raises:
            InputError: A text has no mask, is not a string, or is longer than the model takes.
            OptionError: There is no such option, or its value is not possible.
        """
        result = super().__call__(inputs, batch_size=batch_size, **options)
        return result[0] if isinstance(inputs, list) and len(inputs) == 1 else result

    def _preprocess(self, text: str, options: FillMaskOptions) -> list[Row]:
        """Turn a text into its row."""
        encoding = _encoding(options.tokenizer_kwargs)
        truncation = encoding.read_truncation(self.tokenizer)
        row = self.encode(text_input(text), truncation, add_special_tokens=encoding.add_special_tokens)
        mask = self.tokenizer.mask_token
        if self.tokenizer.mask_token_id not in row.encoding.ids:
            if row.cut and mask in text:
                raise InputError(
                    f"The text {shortened(text)} has no mask left after it was cut to {len(row)} tokens.",
                    hint=f"Put {mask} closer to the end that is kept, or give a larger max_length.",
                )
            raise InputError(f"The text {shortened(text)} has no mask.", hint=f"Put {mask} where a token is missing.")
        return [replace(row, reduce=partial(_of_masks, self._masks(row)))]

    def _postprocess(
        self, text: str, rows: Sequence[Row], outputs: Sequence[RowOutput], options: FillMaskOptions
    ) -> list[Filling] | list[list[Filling]]:
        """Turn a text's logits into the likeliest tokens of each mask."""
        ((logits,),) = outputs  # (masks, vocabulary)
        ids, masks = np.array(rows[0].encoding.ids), self._masks(rows[0])  # (tokens,), (masks,)
        scores = softmax(logits)  # (masks, vocabulary)
        candidates = np.arange(scores.shape[-1])
        if options.targets is not None:
            found = self._tokens_of(options.targets).values()
            candidates = np.unique([token for token in found if token is not None])
        count = options.top_k if options.targets is None else min(options.top_k, len(candidates))
        if count > len(candidates):
            raise OptionError(
                f"top_k={count} is more than the {len(candidates)} tokens of the vocabulary.",
                hint=f"Give top_k={len(candidates)} or less.",
            )
        _, best = top_k(scores[:, candidates], count)  # (masks, count)
        result = [
            [
                self._filling(ids, int(mask), int(token), scores_of_mask, alone=len(masks) == 1)
                for token in candidates[chosen]
            ]
            for mask, chosen, scores_of_mask in zip(masks, best, scores, strict=True)
        ]
        return result[0] if len(masks) == 1 else result

    def _count_values(self, rows: Sequence[Row], options: FillMaskOptions) -> int:
        """Return the number of tokens of all texts that are filled."""
        (row,) = rows
        candidates = len(self.tokenizer) if options.targets is None else len(options.targets)
        return len(self._masks(row)) * min(options.top_k, candidates) * (len(row) + _FILLING_TOKENS)

    def with_options(self, options: FillMaskOptions, changes: Mapping[str, Any]) -> FillMaskOptions:
        """Return options with some of them changed; None does not change an option."""
        if self.tokenizer.mask_token_id is None:
            raise OptionError("This tokenizer has no mask token.", hint="Use a model that was trained to fill masks.")
        changes = without_none(changes)
        changed = super().with_options(options, changes)
        for target, token in self._tokens_of(changes.get("targets", ())).items():
            if self.tokenizer.token_id(target) is not None:
                continue
            instead = "it is left out"
            if token is not None:
                instead = f"its first subtoken {self.tokenizer.convert_ids_to_tokens(token)!r} is used instead"
            warnings.warn(f"The target {target!r} is not in the vocabulary; {instead}.", UserWarning, stacklevel=4)
        return changed

    def _masks(self, row: Row) -> NDArray[np.intp]:
        """Return the places of the masks in a row, (masks,)."""
        return np.flatnonzero(np.array(row.encoding.ids) == self.tokenizer.mask_token_id)

    def _filling(
        self, ids: NDArray[np.int64], mask: int, token: int, scores: NDArray[np.floating], *, alone: bool
    ) -> Filling:
        CURRENT_LIMITS.get().check()
        filled = np.where(np.arange(len(ids)) == mask, token, ids)
        return {
            "score": scores[token].item(),
            "token": token,
            "token_str": self.tokenizer.decode([token]),
            # With several masks, the text keeps the other masks, which are special tokens.
            "sequence": self.tokenizer.decode(filled[filled != self.tokenizer.pad_token_id], skip_special_tokens=alone),
        }

    def _tokens_of(self, targets: str | Sequence[str]) -> dict[str, int | None]:
        """Return the token of each target: the target itself, or else its first subtoken; None if it has no subtokens."""
        names = [targets] if isinstance(targets, str) else targets
        CURRENT_LIMITS.get().expect_rows(len(names), len(names))
        tokens = {target: self._token_of(target) for target in names}
        if tokens and set(tokens.values()) == {None}:
            raise OptionError(f"targets={targets!r} have no tokens in the vocabulary.", hint="Give other targets.")
        return tokens

    def _token_of(self, target: str) -> int | None:
        token = self.tokenizer.token_id(target)
        if token is not None:
            return token
        # As in the reference, this is the last subtoken if the tokenizer cuts texts on the left.
        subtokens = self.tokenizer(target, add_special_tokens=False, truncation=True, max_length=1)["input_ids"]
        return subtokens[0] if subtokens else None


def _of_masks(masks: NDArray[np.intp], output: RowOutput) -> RowOutput:
    """Return the logits of the masks, (masks, vocabulary), of those of all tokens."""
    return tuple(logits[masks] for logits in output)


def _encoding(tokenizer_kwargs: Mapping[str, Any]) -> TokenizerOptions:
    return updated(TokenizerOptions(), tokenizer_kwargs, called="tokenizer_kwargs")

"""The steps of generation with the graph of a decoder, alone or after an encoder."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.errors import CheckpointError, InputError, ScoreError
from torchless.generation.cache import Cache
from torchless.ort.session import Session

__all__ = ["DecoderSteps", "empty_past", "is_decoder_input"]

_PAST, _PRESENT = "past_key_values.", "present."
_OF_ENCODER = ".encoder."
_INPUTS = frozenset({
    "attention_mask", "encoder_attention_mask", "encoder_hidden_states", "input_ids", "num_logits_to_keep", "position_ids",
    "use_cache_branch",
})  # fmt: skip


class DecoderSteps:
    """The steps of one generation through a graph that takes and returns the keys and values of past tokens.

    The outputs of a run are inputs of the next run. ONNX Runtime returns its memory as arrays and reads arrays in place, so
    the cache is never copied between runs.

    Args:
        session: The graph. It gets `attention_mask`, `position_ids`, `use_cache_branch` and `num_logits_to_keep` if it has
            these inputs.
        encoded: The outputs of the encoder: `encoder_hidden_states`, (rows, tokens, hidden), and `encoder_attention_mask`,
            (rows, tokens).
        limit: The most tokens of a row, by the model's positions; None if there is no limit.
        recompute_above: The tokens of a row above which all of its past is computed anew; None never does.

    Raises:
        CheckpointError: The graph has no inputs for past tokens, or an unknown input.

    Source: `GenerationMixin.prepare_inputs_for_generation` and `_update_model_kwargs_for_generation` in
        transformers 4.57.6, generation/utils.py; for the graphs' inputs, modeling_decoder.py and modeling_seq2seq.py of
        optimum-onnx 0.1.0.
    """

    def __init__(
        self,
        session: Session,
        *,
        encoded: Mapping[str, NDArray[Any]] | None = None,
        limit: int | None = None,
        recompute_above: int | None = None,
    ) -> None:
        self._session = session
        self._encoded = encoded or {}
        self._limit = limit
        self._recompute_above = recompute_above
        self._past = tuple(name for name in session.inputs if name.startswith(_PAST))
        if not self._past or not all(map(is_decoder_input, session.inputs)):
            raise CheckpointError(
                f"{session.graph} cannot be run token by token as a decoder: its inputs are {', '.join(session.inputs)}.",
                hint="Export the model with its past: torchless export MODEL OUT",
            )
        self._input_names = (*session.inputs, *(_INPUTS & session.optional_inputs.keys()))
        # The encoder's keys and values do not change after the first run.
        self._growing = tuple(name for name in self._past if _OF_ENCODER not in name)
        self._output_names = {
            past: ["logits", *(name.replace(_PAST, _PRESENT) for name in past)] for past in (self._past, self._growing)
        }
        self._cache = Cache(0)

    def begin(self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the prompts: see `Steps.begin`.

        Raises:
            InputError: A prompt is longer than the model takes, or is padded and the graph takes no mask.
        """
        return _last(self._begin(ids, attention_mask, all_logits=False))

    def score(self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the prompts as `begin` does, and return the logits after each of their tokens.

        Args:
            ids: Token ids, (rows, tokens), padded on the left.
            attention_mask: 1 where a token counts and 0 where it is padding, (rows, tokens).

        Returns:
            (rows, tokens, vocabulary).

        Raises:
            InputError: As of `begin`.
        """
        return np.ascontiguousarray(self._begin(ids, attention_mask, all_logits=True), np.float32)

    def _begin(
        self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64], *, all_logits: bool
    ) -> NDArray[np.floating]:
        if "attention_mask" not in self._session.inputs and not attention_mask.all():
            raise InputError(
                "The decoder's first tokens are padded, and its graph takes no mask.",
                hint="Generate for prompts of different lengths separately.",
            )
        cache = self._cache = Cache(len(ids))
        counts = attention_mask.cumsum(axis=1)
        self._check_length(counts[:, -1:])
        cache.kept["attention_mask"] = attention_mask.copy()  # the cache writes to its arrays
        cache.kept["position_ids"] = np.where(attention_mask == 1, counts - 1, 1)
        cache.kept.update(empty_past(self._session, self._past, rows=len(ids)))
        cache.shared.update({name: array.copy() for name, array in self._encoded.items()})
        if self._recompute_above is not None:
            cache.kept["input_ids"] = ids.copy()
        logits = self._run(ids, self._past, cached=False, all_logits=all_logits)
        cache.kept["position_ids"] = counts[:, -1:] - 1
        cache.shared.update({name: cache.kept.pop(name) for name in self._past if _OF_ENCODER in name})
        return logits

    def advance(self, tokens: NDArray[np.int64], parents: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Run one more token for each row: see `Steps.advance`.

        Raises:
            InputError: A row becomes longer than the model takes.
        """
        cache = self._cache
        if parents is not None:
            cache.follow(parents)
        ids = np.empty((len(tokens), 1), np.int64)  # (slots, 1)
        ids[cache.slots, 0] = tokens
        positions = cache.kept["position_ids"] + 1
        self._check_length(positions + 1)
        cache.kept["position_ids"] = positions
        cache.kept["attention_mask"] = np.concatenate([cache.kept["attention_mask"], np.ones_like(ids)], axis=1)
        if self._recompute_above is not None:
            cache.kept["input_ids"] = np.concatenate([cache.kept["input_ids"], ids], axis=1)
            if (positions == self._recompute_above).any():
                return self.begin(cache.kept["input_ids"][cache.slots], cache.kept["attention_mask"][cache.slots])
        logits = _last(self._run(ids, self._growing, cached=True))
        return logits if cache.in_order else logits[cache.slots]

    def _run(
        self, ids: NDArray[np.int64], past: tuple[str, ...], *, cached: bool, all_logits: bool = False
    ) -> NDArray[np.floating]:
        """Run the graph with tokens and the cache, update the cache, and return logits, (slots, tokens, vocabulary).

        The logits are those of the last token, unless all are requested or the graph has no other.
        """
        cache = self._cache
        values = {
            **cache.shared,
            **cache.kept,
            "input_ids": ids,
            "use_cache_branch": np.array([cached]),
            "num_logits_to_keep": np.array(0 if all_logits else 1, np.int64),
        }
        feeds = {name: values[name] for name in self._input_names}
        logits, *present = self._session.run(feeds, self._output_names[past])
        cache.kept.update(zip(past, present, strict=True))
        return logits

    def _check_length(self, counts: NDArray[np.int64]) -> None:
        if self._limit is not None and counts.max(initial=0) > self._limit:
            raise InputError(
                f"The text has {counts.max()} tokens, and this model takes {self._limit}.",
                hint=f"Shorten the prompt or lower max_new_tokens: together they may have {self._limit} tokens.",
            )


def _last(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the logits of the last token, (slots, vocabulary); the copy frees those of a whole prompt.

    Raises:
        ScoreError: A row's logits are not numbers.
    """
    last = np.ascontiguousarray(logits[:, -1], np.float32)
    # Minus infinity bars a token. The maximum of NaN and others is NaN.
    if not np.isfinite(last.max(axis=-1)).all():
        raise ScoreError
    return last


def is_decoder_input(name: str) -> bool:
    """Return whether generation fills an input of a decoder's graph, by the input's name."""
    return name in _INPUTS or name.startswith(_PAST)


def empty_past(session: Session, names: Iterable[str], *, rows: int) -> dict[str, NDArray[Any]]:
    """Return empty keys and values, for a decoder's first run.

    Args:
        session: The decoder's graph.
        names: The names of the inputs.
        rows: The length of the first axis.

    Returns:
        Arrays by name, (rows, …), in which each further axis of variable length is empty. An input without variable axes,
        such as `use_cache_branch`, is zero.
    """
    past = {}
    for name in names:
        tensor = session.inputs[name]
        shape = [(0 if index else rows) if axis is None else axis for index, axis in enumerate(tensor.shape)]
        past[name] = np.zeros(shape, dtype=tensor.dtype)
    return past

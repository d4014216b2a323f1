"""The steps of a decoder's graph, alone or after an encoder."""

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
# Of how many tokens, from the end, logits are wanted; 0 is all.
_KEPT_LOGITS = "num_logits_to_keep"
_GIVEN = frozenset({
    "attention_mask", "encoder_attention_mask", "encoder_hidden_states", "input_ids", "position_ids", "use_cache_branch",
    _KEPT_LOGITS,
})  # fmt: skip
_ONE = np.array(1, np.int64)


class DecoderSteps:
    """One call's way through a graph that takes the keys and values of past tokens, and answers with all so far.

    What a run answers is what the next one takes: ONNX Runtime hands out its own memory as arrays, and takes arrays as
    they are, so a cache is never copied on its way.

    Args:
        session: The graph. What it takes of `attention_mask`, `position_ids`, `use_cache_branch` and `num_logits_to_keep`,
            it is given.
        encoded: What an encoder gave: `encoder_hidden_states`, (rows, tokens, hidden), and `encoder_attention_mask`,
            (rows, tokens).
        limit: How many tokens a row may have, by the model's positions; None without a limit.

    Raises:
        CheckpointError: The graph takes no past, or what is not known.

    Source: `GenerationMixin.prepare_inputs_for_generation` and `_update_model_kwargs_for_generation` in
        transformers 4.57.6, generation/utils.py; for the graphs' inputs, modeling_decoder.py and modeling_seq2seq.py of
        optimum-onnx 0.1.0.
    """

    def __init__(
        self, session: Session, *, encoded: Mapping[str, NDArray[Any]] | None = None, limit: int | None = None
    ) -> None:
        self._session = session
        self._encoded = encoded or {}
        self._limit = limit
        self._past = tuple(name for name in session.inputs if name.startswith(_PAST))
        if not self._past or not all(map(is_decoder_input, session.inputs)):
            raise CheckpointError(
                f"{session.graph} is no decoder that can be run token by token: it takes {', '.join(session.inputs)}.",
                hint="Export the model with its past: torchless export MODEL OUT",
            )
        self._taken = (*session.inputs, *(_GIVEN & session.optional_inputs.keys()))
        # The encoder's keys and values stay as the first run gave them.
        self._growing = tuple(name for name in self._past if _OF_ENCODER not in name)
        self._asked = {
            past: ["logits", *(name.replace(_PAST, _PRESENT) for name in past)] for past in (self._past, self._growing)
        }
        self._cache = Cache(0)

    def begin(self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the prompts: see `Steps.begin`.

        Raises:
            InputError: A prompt is longer than the model takes, or padded where the graph takes no mask.
        """
        if "attention_mask" not in self._session.inputs and not attention_mask.all():
            raise InputError(
                "The decoder's first tokens are padded, and its graph takes no mask.",
                hint="Generate for prompts of different lengths one by one.",
            )
        cache = self._cache = Cache(len(ids))
        counts = attention_mask.cumsum(axis=1)
        self._check_length(counts[:, -1:])
        cache.kept["attention_mask"] = attention_mask.copy()  # the caller's own; the cache writes into its arrays
        cache.kept["position_ids"] = np.where(attention_mask == 1, counts - 1, 1)
        cache.kept.update(empty_past(self._session, self._past, rows=len(ids)))
        cache.shared.update({name: array.copy() for name, array in self._encoded.items()})
        logits = self._run(ids, self._past, cached=False)
        cache.kept["position_ids"] = counts[:, -1:] - 1
        cache.shared.update({name: cache.kept.pop(name) for name in self._past if _OF_ENCODER in name})
        return logits

    def advance(self, tokens: NDArray[np.int64], parents: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Run one more token a row: see `Steps.advance`.

        Raises:
            InputError: A row gets longer than the model takes.
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
        logits = self._run(ids, self._growing, cached=True)
        return logits if cache.in_order else logits[cache.slots]

    def _run(self, ids: NDArray[np.int64], past: tuple[str, ...], *, cached: bool) -> NDArray[np.float32]:
        """Run the graph on tokens and the cache, take over what past it answers, and return the last logits, (slots, vocabulary).

        Raises:
            ScoreError: A row's logits are not numbers.
        """
        cache = self._cache
        offered = {
            **cache.shared,
            **cache.kept,
            "input_ids": ids,
            "use_cache_branch": np.array([cached]),
            _KEPT_LOGITS: _ONE,
        }
        feeds = {name: offered[name] for name in self._taken}
        logits, *present = self._session.run(feeds, self._asked[past])
        cache.kept.update(zip(past, present, strict=True))
        # Where a prompt's logits all come back, the copy lets go of the others. Of one token it is none.
        last = np.ascontiguousarray(logits[:, -1], np.float32)
        if not np.isfinite(
            last.max(axis=-1)
        ).all():  # minus infinity bars a token; the maximum of NaN and others is NaN
            raise ScoreError
        return last

    def _check_length(self, counts: NDArray[np.int64]) -> None:
        if self._limit is not None and counts.max(initial=0) > self._limit:
            raise InputError(
                f"The text has {counts.max()} tokens, and this model takes {self._limit}.",
                hint=f"Cut the prompt, or ask for less: prompt and continuation have room for {self._limit} tokens.",
            )


def is_decoder_input(name: str) -> bool:
    """Whether an input of a decoder's graph, by its name, is given something at each step."""
    return name in _GIVEN or name.startswith(_PAST)


def empty_past(session: Session, names: Iterable[str], *, rows: int) -> dict[str, NDArray[Any]]:
    """Return keys and values of no tokens, for a decoder's first run.

    Args:
        session: The decoder's graph.
        names: The inputs to make.
        rows: The length of the first axis.

    Returns:
        Arrays by name, (rows, …), where each axis of any length is empty. An input without axes that vary, such as
        `use_cache_branch`, is zero.
    """
    past = {}
    for name in names:
        tensor = session.inputs[name]
        shape = [(0 if index else rows) if axis is None else axis for index, axis in enumerate(tensor.shape)]
        past[name] = np.zeros(shape, dtype=tensor.dtype)
    return past

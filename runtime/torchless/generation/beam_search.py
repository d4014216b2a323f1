"""Beam search, with or without sampling.

Source: `_beam_search` in transformers 4.57.6, generation/utils.py.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import LogitsProcessor
from torchless.generation.sampling import draw_distinct
from torchless.generation.steps import Steps
from torchless.generation.stopping import Stopping
from torchless.numerics import top_k

__all__ = ["beam_search"]

# The reference adds this to scores that must not win. It is finite, so these scores keep their order.
_LOW = np.float32(-1e9)


def beam_search(
    steps: Steps,
    ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    processors: Sequence[LogitsProcessor],
    stopping: Stopping,
    random: np.random.Generator | None = None,
) -> tuple[list[NDArray[np.int64]], NDArray[np.float32]]:
    """Continue the likeliest sequences of each prompt until no better result is possible.

    Args:
        steps: The model, before its first step.
        ids: The prompts, (prompts, tokens), padded on the left.
        attention_mask: 1 for a token and 0 for padding, (prompts, tokens).
        config: The options; `num_beams` is at least 2.
        processors: Functions that change the log-probabilities before the choice.
        stopping: The rules that end a sequence.
        random: The generator of random numbers for drawing; None takes the likeliest candidates.

    Returns:
        The new tokens of `num_return_sequences` sequences for each prompt, the best first, and their scores, (rows,).
    """
    prompts, prompt_length = ids.shape
    beams = config.num_beams
    candidates_kept = max(2, 1 + len(config.eos_token_ids)) * beams  # enough for `beams` to continue if the rest end
    first = np.repeat(np.arange(prompts), beams)
    logits, parents_of = steps.begin(ids, attention_mask)[first], first
    running = np.repeat(ids, beams, axis=0).reshape(prompts, beams, prompt_length)
    running_scores = np.full((prompts, beams), _LOW, dtype=np.float32)
    running_scores[:, 0] = 0  # the beams of a prompt begin equal, so only the first counts
    finished = _Finished(prompts, config, prompt_length, stopping.max_length)
    while True:
        length = running.shape[2]
        scores = _log_probabilities(logits)
        for process in processors:
            scores = process(running.reshape(prompts * beams, length), scores)
        vocabulary = scores.shape[1]
        scores += running_scores.reshape(-1, 1)
        scores = scores.reshape(prompts, beams * vocabulary)
        candidate_scores, candidates = _candidates(scores, min(candidates_kept, scores.shape[1]), random)
        parents, tokens = np.divmod(candidates, vocabulary)  # both (prompts, candidates)
        sequences = np.concatenate([_rows(running, parents), tokens[:, :, None]], axis=2)
        ended = stopping.ended(tokens.reshape(-1), length + 1, sequences.reshape(-1, length + 1)).reshape(tokens.shape)

        finished.add(sequences, candidate_scores, ended)
        running_scores, kept = top_k(candidate_scores + _lowered(ended), beams)
        running = _rows(sequences, kept)
        if ended.all() or not finished.improvable(running_scores[:, :1]):
            return finished.sequences(), finished.scores[:, : config.num_return_sequences].reshape(-1)
        rows = _rows(parents, kept) + np.arange(0, prompts * beams, beams)[:, None]
        logits = steps.advance(running[:, :, -1].reshape(-1), parents_of[rows.reshape(-1)])
        parents_of = np.arange(prompts * beams)


class _Finished:
    """The best finished sequences of each prompt.

    Args:
        prompts: The number of prompts.
        config: The options.
        prompt_length: The number of tokens of a prompt.
        max_length: The most tokens of a row, with the prompt.

    Attributes:
        scores: (prompts, beams), the best first.
    """

    def __init__(self, prompts: int, config: GenerationConfig, prompt_length: int, max_length: int) -> None:
        self.scores = np.full((prompts, config.num_beams), _LOW, dtype=np.float32)
        self._config = config
        self._prompt_length = prompt_length
        self._max_new_tokens = max_length - prompt_length
        self._tokens: list[list[NDArray[np.int64]]] = [
            [np.empty(0, dtype=np.int64)] * config.num_beams for _ in range(prompts)
        ]
        self._full = np.zeros((prompts, config.num_beams), dtype=bool)
        self._open = np.ones((prompts, 1), dtype=bool)
        self._length = 0

    def add(self, sequences: NDArray[np.int64], scores: NDArray[np.float32], ended: NDArray[np.bool_]) -> None:
        """Keep the candidates that have ended and are better than earlier results.

        Args:
            sequences: (prompts, candidates, tokens), the likeliest first.
            scores: The sums of their log-probabilities, (prompts, candidates).
            ended: (prompts, candidates).
        """
        beams = self._config.num_beams
        self._length = sequences.shape[2] - self._prompt_length
        ended = ended & (np.arange(ended.shape[1]) < beams)  # only the likeliest become results
        done = ~self._open
        if self._config.early_stopping is True:
            done = done | self._full.all(axis=1, keepdims=True)
        if not (ended & ~done).any():
            return
        scores = _per_length(scores, self._length, self._config.length_penalty)
        scores = scores + _lowered(done) + _lowered(~ended)
        merged = np.concatenate([self.scores, scores], axis=1)
        self.scores, kept = top_k(merged, beams)
        self._full = _rows(np.concatenate([self._full, ended], axis=1), kept)
        self._tokens = [
            [tokens[place] if place < beams else rows[place - beams, self._prompt_length :] for place in places]
            for tokens, rows, places in zip(self._tokens, sequences, kept.tolist(), strict=True)
        ]

    def improvable(self, best_running: NDArray[np.float32]) -> bool:
        """Return whether a sequence that continues can still become a result.

        Args:
            best_running: The best sum of log-probabilities of each prompt's continuing sequences, (prompts, 1).
        """
        early, penalty = self._config.early_stopping, self._config.length_penalty
        length = self._max_new_tokens if early == "never" and penalty > 0 else self._length
        possible = _per_length(best_running, length, penalty)
        worst = np.where(self._full, self.scores.min(axis=1, keepdims=True), _LOW)  # (prompts, beams)
        self._open &= (possible > worst).any(axis=1, keepdims=True)
        return bool(self._open.any()) and not (early is True and bool(self._full.all()))

    def sequences(self) -> list[NDArray[np.int64]]:
        """Return the new tokens of each prompt's results, the best first."""
        return [tokens for results in self._tokens for tokens in results[: self._config.num_return_sequences]]


def _per_length(scores: NDArray[np.float32], length: int, penalty: float) -> NDArray[np.float32]:
    """Divide sums of log-probabilities by the length penalty: the scores by which beams are compared."""
    with np.errstate(over="ignore", divide="ignore"):  # extreme penalties give infinities or zeros
        return np.asarray(scores / np.float32(np.power(float(length), penalty)))


def _candidates(
    scores: NDArray[np.float32], count: int, random: np.random.Generator | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Choose continuations of each prompt from (prompts, beams · vocabulary).

    Returns:
        Their scores and indices, both (prompts, count).
    """
    if random is None:
        return top_k(scores, count)
    drawn = draw_distinct(scores, count, random)
    return _rows(scores, drawn), drawn


def _log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute `log_softmax` in place: to allocate arrays of this size would cost more time than the computation."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def _lowered(where: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(where, _LOW, np.float32(0))


def _rows(values: NDArray, places: NDArray[np.integer]) -> NDArray:  # type: ignore[type-arg]
    """Select values of each prompt: (prompts, values, …) and places (prompts, places) give (prompts, places, …)."""
    return np.asarray(values[np.arange(len(values))[:, None], places])

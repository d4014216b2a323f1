"""Sampling: the processors that narrow the choice of tokens, and the draw.

Source: transformers 4.57.6, generation/logits_process.py; the order is that of `_get_logits_processor` in
generation/utils.py.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import LogitsProcessor
from torchless.numerics import log_softmax, softmax, top_k

__all__ = ["draw", "draw_distinct", "warpers"]

# From the scores of a row's candidates, (tokens,), to a mask of the candidates to remove, (tokens,).
_Filter = Callable[[NDArray[np.float32]], NDArray[np.bool_]]


def warpers(config: GenerationConfig) -> Iterator[LogitsProcessor]:
    """Yield the processors that narrow the choice of tokens, in the reference's order.

    Args:
        config: The options. With beams, more tokens are kept than can end a text, so that some beam continues.

    Yields:
        Processors that set the score of each removed token to -infinity.
    """
    min_tokens = 1 if config.num_beams == 1 else max(2, len(config.eos_token_ids) + 1)
    if config.temperature not in {None, 1.0}:
        yield partial(_tempered, config.temperature)
    if config.top_k:
        yield partial(_likeliest, max(config.top_k, min_tokens))
    if config.top_p is not None and config.top_p < 1:
        yield partial(_filtered, partial(_nucleus, config.top_p, min_tokens))
    if config.min_p is not None:
        yield partial(_filtered, partial(_relative, config.min_p, min_tokens))
    if config.typical_p is not None and config.typical_p < 1:
        yield partial(_filtered, partial(_typical, config.typical_p, min_tokens))
    if config.epsilon_cutoff:
        yield partial(_filtered, partial(_absolute, config.epsilon_cutoff, min_tokens))
    if config.eta_cutoff:
        yield partial(_filtered, partial(_entropic, config.eta_cutoff, min_tokens))


def draw(scores: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw one token for each row.

    Args:
        scores: (rows, vocabulary); the probabilities are their softmax.
        random: The generator of random numbers; each row takes one number.

    Returns:
        The tokens, (rows,).

    Raises:
        OptionError: No token is left to draw, or a score is infinity or nan.
    """
    tokens = np.empty(len(scores), dtype=np.int64)
    for index, (row, point) in enumerate(zip(scores, random.random(len(scores)), strict=True)):
        candidates = _candidates(row)
        if not len(candidates) or row[candidates].max() == np.inf:
            raise OptionError(
                f"{len(candidates)} of {len(row)} tokens may follow, and no token can be drawn from their scores.",
                hint="Suppress fewer tokens; if the model gives infinity or nan, remove_invalid_values=True.",
            )
        cumulated = np.cumsum(softmax(row[candidates]), dtype=np.float64)
        tokens[index] = candidates[np.searchsorted(cumulated, point * cumulated[-1], side="right")]
    return tokens


def draw_distinct(scores: NDArray[np.float32], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw several tokens for each row, one after another and without repetition.

    Args:
        scores: (rows, choices); the probabilities are their softmax.
        count: The number of tokens, at most `choices`.
        random: The generator of random numbers.

    Returns:
        The tokens, (rows, count), in the order of the draws.

    Source: the Gumbel-top-k trick, https://arxiv.org/abs/1903.06059.
    """
    keys = np.full(scores.shape, -np.inf)
    for key, row in zip(keys, scores, strict=True):
        candidates = _candidates(row)
        key[candidates] = row[candidates] + random.gumbel(size=len(candidates))
    return top_k(keys, count)[1]


def _candidates(row: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the tokens that can be drawn: (vocabulary,) to (tokens,)."""
    return np.flatnonzero(row > -np.inf)


def _tempered(temperature: float, _ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    scores /= np.float32(temperature)
    return scores


def _likeliest(count: int, _ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    least = top_k(scores, min(count, scores.shape[1]))[0][:, -1:]
    np.putmask(scores, scores < least, -np.inf)
    return scores


def _filtered(removed: _Filter, _ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply a filter to the candidates of each row."""
    for row in scores:
        candidates = _candidates(row)
        row[candidates[removed(row[candidates])]] = -np.inf
    return scores


def _below_the_best(scores: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Return which scores are below the `count` highest scores."""
    count = min(count, len(scores))
    return np.asarray(scores < np.partition(scores, -count)[-count])


def _nucleus(mass: float, min_tokens: int, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Keep the likeliest tokens that together reach a probability. Source: https://arxiv.org/abs/1904.09751."""
    probabilities = softmax(scores)
    # All tokens of at most this probability have together less than the removed mass: they need no sorting.
    unlikely = probabilities <= np.float32((1 - mass) / len(scores))
    likely = np.flatnonzero(~unlikely)
    order = likely[np.argsort(scores[likely], kind="stable")]
    cumulated = probabilities[unlikely].sum(dtype=np.float64) + np.cumsum(probabilities[order], dtype=np.float64)
    unlikely[order] = cumulated.astype(np.float32) <= np.float32(1 - mass)
    return unlikely & _below_the_best(scores, min_tokens)


def _relative(share: float, min_tokens: int, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Keep the tokens with at least a share of the highest probability. Source: https://arxiv.org/abs/2407.01082."""
    probabilities = softmax(scores)
    unlikely = np.asarray(probabilities < np.float32(share) * probabilities.max())
    return unlikely & _below_the_best(scores, min_tokens)


def _typical(mass: float, min_tokens: int, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Keep the tokens whose information is close to the expected information. Source: https://arxiv.org/abs/2202.00666."""
    logarithms = log_softmax(scores)
    probabilities = np.exp(logarithms)
    distances = np.abs(-logarithms + (logarithms * probabilities).sum())
    order = np.argsort(distances, kind="stable")
    cumulated = np.cumsum(probabilities[order], dtype=np.float64).astype(np.float32)
    last = min(int((cumulated < np.float32(mass)).sum()), len(order) - 1)
    far: NDArray[np.bool_] = distances > distances[order[last]]
    far[order[:min_tokens]] = False
    return far


def _absolute(probability: float, min_tokens: int, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Keep the tokens with at least a probability. Source: https://arxiv.org/abs/2210.15191."""
    return np.asarray(softmax(scores) < np.float32(probability)) & _below_the_best(scores, min_tokens)


def _entropic(probability: float, min_tokens: int, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Keep the tokens with at least a probability, which is lower in a flat distribution.

    Source: https://arxiv.org/abs/2210.15191.
    """
    logarithms = log_softmax(scores)
    probabilities = np.exp(logarithms)
    eta = min(probability, probability**0.5 * np.exp((logarithms * probabilities).sum()))
    return np.asarray(probabilities < np.float32(eta)) & _below_the_best(scores, min_tokens)

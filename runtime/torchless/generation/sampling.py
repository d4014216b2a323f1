"""Which tokens a draw chooses among, and the draw.

Source: transformers 4.57.6, generation/logits_process.py, and for the order `_get_logits_processor` in
generation/utils.py.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import LogitsProcessor
from torchless.numerics import log_softmax, softmax, top_k

__all__ = ["draw", "draw_distinct", "warpers"]

# The scores that are left of one row, to what is removed of them: (tokens,) both.
_Filter = Callable[[NDArray[np.float32]], NDArray[np.bool_]]


def warpers(config: GenerationConfig) -> Iterator[LogitsProcessor]:
    """Yield what narrows scores to the tokens among which is drawn, in the reference's order.

    Args:
        config: The options. Beams need more tokens to go on with than may end them, so these are always kept.

    Yields:
        Processors; what is not drawn has a score of -infinity.
    """
    at_least = 1 if config.num_beams == 1 else max(2, len(config.eos_token_ids) + 1)
    if config.temperature not in {None, 1.0}:
        yield _tempered(config.temperature)
    if config.top_k:
        yield _likeliest(max(config.top_k, at_least))
    if config.top_p is not None and config.top_p < 1:
        yield _filtered(_nucleus(config.top_p, at_least))
    if config.min_p is not None:
        yield _filtered(_relative(config.min_p, at_least))
    if config.typical_p is not None and config.typical_p < 1:
        yield _filtered(_typical(config.typical_p, at_least))
    if config.epsilon_cutoff:
        yield _filtered(_absolute(config.epsilon_cutoff, at_least))
    if config.eta_cutoff:
        yield _filtered(_entropic(config.eta_cutoff, at_least))


def draw(scores: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw one token a row.

    Args:
        scores: (rows, vocabulary); the probabilities are their softmax.
        random: What decides: one number a row.

    Returns:
        (rows,).

    Raises:
        OptionError: No token is left to draw, or the scores are no numbers.
    """
    tokens = np.empty(len(scores), dtype=np.int64)
    for index, (row, point) in enumerate(zip(scores, random.random(len(scores)), strict=True)):
        left = _left(row)
        if not len(left) or row[left].max() == np.inf:
            raise OptionError(
                f"Of {len(row)} scores, {len(left)} are those of tokens that may follow, and no token can be drawn by them.",
                hint="Suppress fewer tokens; if the model gives infinity or nan, remove_invalid_values=True.",
            )
        chances = np.cumsum(softmax(row[left]), dtype=np.float64)
        tokens[index] = left[np.searchsorted(chances, point * chances[-1], side="right")]
    return tokens


def draw_distinct(scores: NDArray[np.float32], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw several tokens a row one after another, none twice.

    Args:
        scores: (rows, choices); the probabilities are their softmax.
        count: How many, at most `choices`.
        random: What decides.

    Returns:
        (rows, count), in the order in which they were drawn.

    Source: the Gumbel-top-k trick, https://arxiv.org/abs/1903.06059.
    """
    keys = np.full(scores.shape, -np.inf)
    for key, row in zip(keys, scores, strict=True):
        left = _left(row)
        key[left] = row[left] + random.gumbel(size=len(left))
    return top_k(keys, count)[1]


def _left(row: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the tokens that can be drawn: (vocabulary,) to (tokens,)."""
    return np.flatnonzero(row > -np.inf)


def _filtered(removed: _Filter) -> LogitsProcessor:
    """Make a processor of a filter: row by row, and only of what is left."""

    def process(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        for row in scores:
            left = _left(row)
            row[left[removed(row[left])]] = -np.inf
        return scores

    return process


def _tempered(temperature: float) -> LogitsProcessor:
    def process(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        scores /= np.float32(temperature)
        return scores

    return process


def _likeliest(count: int) -> LogitsProcessor:
    def process(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        least = top_k(scores, min(count, scores.shape[1]))[0][:, -1:]
        np.putmask(scores, scores < least, -np.inf)
        return scores

    return process


def _below_the_best(scores: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Say which scores are below the `count` highest."""
    count = min(count, len(scores))
    return np.asarray(scores < np.partition(scores, -count)[-count])


def _nucleus(mass: float, at_least: int) -> _Filter:
    """Keep the likeliest that together reach a probability. Source: https://arxiv.org/abs/1904.09751."""

    def removed(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        probabilities = softmax(scores)
        # So many tokens of at most this probability are together below the mass that goes: they need no sorting.
        unlikely = probabilities <= np.float32((1 - mass) / len(scores))
        likely = np.flatnonzero(~unlikely)
        order = likely[np.argsort(scores[likely], kind="stable")]
        cumulated = probabilities[unlikely].sum(dtype=np.float64) + np.cumsum(probabilities[order], dtype=np.float64)
        unlikely[order] = cumulated.astype(np.float32) <= np.float32(1 - mass)
        return unlikely & _below_the_best(scores, at_least)

    return removed


def _relative(share: float, at_least: int) -> _Filter:
    """Keep what is likely beside the likeliest. Source: https://arxiv.org/abs/2407.01082."""

    def removed(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        probabilities = softmax(scores)
        unlikely = np.asarray(probabilities < np.float32(share) * probabilities.max())
        return unlikely & _below_the_best(scores, at_least)

    return removed


def _typical(mass: float, at_least: int) -> _Filter:
    """Keep what is about as surprising as the next token is on average. Source: https://arxiv.org/abs/2202.00666."""

    def removed(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        logarithms = log_softmax(scores)
        probabilities = np.exp(logarithms)
        distances = np.abs(-logarithms + (logarithms * probabilities).sum())
        order = np.argsort(distances, kind="stable")
        cumulated = np.cumsum(probabilities[order], dtype=np.float64).astype(np.float32)
        last = min(int((cumulated < np.float32(mass)).sum()), len(order) - 1)
        far: NDArray[np.bool_] = distances > distances[order[last]]
        far[order[:at_least]] = False
        return far

    return removed


def _absolute(probability: float, at_least: int) -> _Filter:
    """Keep what has a probability. Source: https://arxiv.org/abs/2210.15191."""
    return lambda scores: np.asarray(softmax(scores) < np.float32(probability)) & _below_the_best(scores, at_least)


def _entropic(probability: float, at_least: int) -> _Filter:
    """Keep what has a probability, less of one where the distribution is flat. Source: https://arxiv.org/abs/2210.15191."""

    def removed(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        logarithms = log_softmax(scores)
        probabilities = np.exp(logarithms)
        eta = min(probability, probability**0.5 * np.exp((logarithms * probabilities).sum()))
        return np.asarray(probabilities < np.float32(eta)) & _below_the_best(scores, at_least)

    return removed

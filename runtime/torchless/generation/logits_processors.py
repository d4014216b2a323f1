"""What changes the scores of the next token before one is chosen.

Each processor is a function of the tokens so far and the scores that follow, (rows, tokens) and (rows, vocabulary). It may
write to the scores, and returns them. The tokens include the prompt and its padding, as in the reference.

Source: transformers 4.57.6, generation/logits_process.py, and for their order `_get_logits_processor` in
generation/utils.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.numerics import log_softmax

__all__ = ["LogitsProcessor", "logits_processors", "normalised"]

LogitsProcessor: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]

_NEVER = -np.inf


def logits_processors(
    config: GenerationConfig, *, prompt_length: int, max_length: int, encoder_ids: NDArray[np.int64]
) -> list[LogitsProcessor]:
    """Return what the options ask for, in the reference's order; sampling comes after them.

    Args:
        config: The options.
        prompt_length: The tokens of a prompt, padding included.
        max_length: The tokens of a row at most, the prompt's included.
        encoder_ids: What the encoder read, or without an encoder the prompts: (prompts, tokens).

    Raises:
        OptionError: An option needs an end of text, and the model has none.
    """
    return [*_by_tokens(config, encoder_ids), *_by_length(config, prompt_length, max_length)]


def normalised(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithms of the probabilities that the scores stand for (`renormalize_logits`)."""
    return np.asarray(log_softmax(scores), dtype=np.float32)


def _by_tokens(config: GenerationConfig, encoder_ids: NDArray[np.int64]) -> Iterator[LogitsProcessor]:
    """Yield what depends on the tokens before."""
    if config.sequence_bias:
        yield _sequence_bias(_biases(config.sequence_bias))
    if config.encoder_repetition_penalty not in {None, 1.0}:
        yield _encoder_repetition_penalty(config.encoder_repetition_penalty, encoder_ids)
    if config.repetition_penalty not in {None, 1.0}:
        yield _repetition_penalty(config.repetition_penalty)
    if config.no_repeat_ngram_size:
        yield _no_repeated_ngrams(config.no_repeat_ngram_size)
    if config.encoder_no_repeat_ngram_size:
        yield _no_ngrams_of_the_encoder(config.encoder_no_repeat_ngram_size, encoder_ids)
    ends = {(end,) for end in config.eos_token_ids}
    if words := [tuple(word) for word in config.bad_words_ids or () if tuple(word) not in ends]:
        yield _sequence_bias(dict.fromkeys(words, _NEVER))


def _by_length(config: GenerationConfig, prompt_length: int, max_length: int) -> Iterator[LogitsProcessor]:
    """Yield what depends on how many tokens there are, and what comes among it."""
    eos, min_length = config.eos_token_ids, config.min_total_length(prompt_length)
    if eos and min_length > 0:
        yield _suppressed(eos, lambda length: length < min_length)
    if config.forced_bos_token_id is not None:
        yield _forced((config.forced_bos_token_id,), 1)
    if config.forced_eos_token_ids:
        yield _forced(config.forced_eos_token_ids, max_length - 1)
    if config.remove_invalid_values:
        yield _finite
    if config.exponential_decay_length_penalty is not None:
        start, factor = config.exponential_decay_length_penalty
        yield _decaying(prompt_length + start, factor, eos)
    if config.suppress_tokens:
        yield _suppressed(config.suppress_tokens, lambda _length: True)
    if config.begin_suppress_tokens:
        # The first token is the forced one where a decoder begins with a single token.
        begin = prompt_length + (prompt_length == 1 and config.forced_bos_token_id is not None)
        yield _suppressed(config.begin_suppress_tokens, lambda length: length == begin)


def _biases(biases: Mapping[tuple[int, ...], float] | Sequence[Sequence[Any]]) -> dict[tuple[int, ...], float]:
    pairs: Iterable[Any] = biases.items() if isinstance(biases, Mapping) else biases
    return {tuple(tokens): float(bias) for tokens, bias in pairs}


def _sequence_bias(biases: Mapping[tuple[int, ...], float]) -> LogitsProcessor:
    """Add to the score of every token that would complete one of the sequences."""
    tokens = sorted({token for sequence in biases for token in sequence})
    single = {sequence[0]: np.float32(bias) for sequence, bias in biases.items() if len(sequence) == 1}
    longer = {sequence: np.float32(bias) for sequence, bias in biases.items() if len(sequence) > 1}
    singles, single_biases = list(single), np.array(list(single.values()), dtype=np.float32)

    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if tokens[-1] >= scores.shape[1]:
            raise OptionError(
                f"A sequence holds the token {tokens[-1]}, and the vocabulary has {scores.shape[1]} tokens.",
                hint="Give ids of this model's tokenizer to sequence_bias and bad_words_ids.",
            )
        added: dict[int, NDArray[np.float32]] = {}
        for sequence, bias in longer.items():
            if len(sequence) > ids.shape[1]:
                continue
            completes = (ids[:, 1 - len(sequence) :] == sequence[:-1]).all(axis=1)  # (rows,)
            if completes.any():
                before = added.get(sequence[-1], single.get(sequence[-1], np.float32(0)))
                added[sequence[-1]] = before + np.where(completes, bias, np.float32(0))
        columns = {token: scores[:, token] + bias for token, bias in added.items()}
        scores[:, singles] += single_biases
        for token, column in columns.items():
            scores[:, token] = column
        return scores

    return process


def _penalised(scores: NDArray[np.float32], ids: NDArray[np.int64], penalty: float) -> None:
    """Divide the scores of tokens by a penalty, or multiply those below 0; both (rows, …)."""
    chosen = np.take_along_axis(scores, ids, axis=1)
    np.put_along_axis(scores, ids, np.where(chosen < 0, chosen * penalty, chosen / penalty), axis=1)


def _repetition_penalty(penalty: float) -> LogitsProcessor:
    """Make what occurs already less likely. Source: CTRL, https://arxiv.org/abs/1909.05858."""

    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        _penalised(scores, ids, penalty)
        return scores

    return process


def _encoder_repetition_penalty(penalty: float, encoder_ids: NDArray[np.int64]) -> LogitsProcessor:
    """Make what the encoder read likelier, in as many rows as there are inputs: the reference leaves out further beams."""

    def process(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        _penalised(scores[: len(encoder_ids)], encoder_ids, 1 / penalty)
        return scores

    return process


def _completions(source: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Find what follows each row's end elsewhere.

    Args:
        source: Where to look, (rows, tokens).
        ends: The last tokens of each row, (rows, size - 1).

    Returns:
        The rows, and the tokens that followed there.
    """
    size = ends.shape[1] + 1
    windows = source.shape[1] - size + 1
    if windows < 1:
        return np.empty(0, np.intp), np.empty(0, np.int64)
    same = np.ones((len(source), windows), dtype=bool)
    for offset in range(size - 1):
        same &= source[:, offset : offset + windows] == ends[:, offset, None]
    rows, positions = np.nonzero(same)
    return rows, source[rows, positions + size - 1]


def _no_repeated_ngrams(size: int) -> LogitsProcessor:
    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if ids.shape[1] >= size - 1:
            scores[_completions(ids, ids[:, ids.shape[1] - size + 1 :])] = _NEVER
        return scores

    return process


def _no_ngrams_of_the_encoder(size: int, encoder_ids: NDArray[np.int64]) -> LogitsProcessor:
    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if ids.shape[1] >= size - 1:
            source = np.repeat(encoder_ids, len(ids) // len(encoder_ids), axis=0)
            scores[_completions(source, ids[:, ids.shape[1] - size + 1 :])] = _NEVER
        return scores

    return process


def _within(tokens: Iterable[int], scores: NDArray[np.float32]) -> list[int]:
    """Return the tokens that the vocabulary has."""
    return [token for token in tokens if token < scores.shape[1]]


def _suppressed(tokens: Sequence[int], at: Callable[[int], bool]) -> LogitsProcessor:
    """Forbid tokens where a row has a certain length."""

    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if at(ids.shape[1]):
            scores[:, _within(tokens, scores)] = _NEVER
        return scores

    return process


def _forced(tokens: Sequence[int], at: int) -> LogitsProcessor:
    """Forbid all other tokens where a row has a certain length."""

    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if ids.shape[1] == at:
            if max(tokens, default=0) >= scores.shape[1]:
                raise OptionError(
                    f"The token {max(tokens)} cannot be forced: the vocabulary has {scores.shape[1]} tokens.",
                    hint="Give ids of this model's tokenizer to forced_bos_token_id and forced_eos_token_id.",
                )
            scores[:] = _NEVER
            scores[:, list(tokens)] = 0
        return scores

    return process


def _finite(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.nan_to_num(scores, copy=False, nan=0.0)


def _decaying(start: int, factor: float, eos: Sequence[int]) -> LogitsProcessor:
    """Make the end likelier with every token from `start`."""
    if not eos:
        raise OptionError(
            "exponential_decay_length_penalty makes the end of a text likelier, and the model has none.",
            hint="Give eos_token_id too.",
        )

    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if ids.shape[1] > start:
            ends = _within(eos, scores)
            with np.errstate(over="ignore", invalid="ignore"):  # infinity is what it comes to
                scores[:, ends] += np.abs(scores[:, ends]) * np.float32(
                    np.power(float(factor), ids.shape[1] - start) - 1
                )
        return scores

    return process

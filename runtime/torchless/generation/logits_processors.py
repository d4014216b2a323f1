"""Logits processors: functions that change the scores of the next token before the choice.

Each processor takes the tokens so far, (rows, tokens), and the scores of the next token, (rows, vocabulary). It may write to
the scores, and returns them. As in the reference, the tokens include the prompt and its padding.

Source: transformers 4.57.6, generation/logits_process.py; the order is that of `_get_logits_processor` in
generation/utils.py.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.numerics import log_softmax

__all__ = ["LogitsProcessor", "logits_processors", "normalised"]

LogitsProcessor: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]

_FORBIDDEN = -np.inf


def logits_processors(
    config: GenerationConfig, *, prompt_length: int, max_length: int, encoder_ids: NDArray[np.int64]
) -> list[LogitsProcessor]:
    """Return the processors that the options need, in the reference's order. The processors of sampling come after them.

    Args:
        config: The options.
        prompt_length: The number of tokens of a prompt, padding included.
        max_length: The most tokens of a row, with the prompt.
        encoder_ids: The encoder's input, or without an encoder the prompts: (prompts, tokens).

    Raises:
        OptionError: An option needs an end-of-text token, and the model has none.
    """
    return [*_by_tokens(config, encoder_ids), *_by_length(config, prompt_length, max_length)]


def normalised(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the scores into log-probabilities (`renormalize_logits`)."""
    return np.asarray(log_softmax(scores), dtype=np.float32)


def _by_tokens(config: GenerationConfig, encoder_ids: NDArray[np.int64]) -> Iterator[LogitsProcessor]:
    """Yield the processors that depend on the earlier tokens."""
    if config.sequence_bias:
        yield _sequence_bias(config.sequence_bias)
    if config.encoder_repetition_penalty not in {None, 1.0}:
        yield partial(_encoder_repetition_penalty, config.encoder_repetition_penalty, encoder_ids)
    if config.repetition_penalty not in {None, 1.0}:
        yield partial(_repetition_penalty, config.repetition_penalty)
    if config.no_repeat_ngram_size:
        yield partial(_no_repeated_ngrams, config.no_repeat_ngram_size, None)
    if config.encoder_no_repeat_ngram_size:
        yield partial(_no_repeated_ngrams, config.encoder_no_repeat_ngram_size, encoder_ids)
    ends = {(end,) for end in config.eos_token_ids}
    if words := [tuple(word) for word in config.bad_words_ids or () if tuple(word) not in ends]:
        yield _sequence_bias(dict.fromkeys(words, _FORBIDDEN))


def _by_length(config: GenerationConfig, prompt_length: int, max_length: int) -> Iterator[LogitsProcessor]:
    """Yield the processors that depend on the length of the rows, and those between them in the reference's order."""
    eos, min_length = config.eos_token_ids, config.min_total_length(prompt_length)
    if eos and min_length > 0:
        yield partial(_suppressed, eos, range(min_length))
    if config.forced_bos_token_id is not None:
        yield partial(_forced, (config.forced_bos_token_id,), 1)
    if config.forced_eos_token_ids:
        yield partial(_forced, config.forced_eos_token_ids, max_length - 1)
    if config.remove_invalid_values:
        yield _finite
    if config.exponential_decay_length_penalty is not None:
        if not eos:
            raise OptionError(
                "exponential_decay_length_penalty needs an end-of-text token, and the model has none.",
                hint="Give eos_token_id too.",
            )
        start, factor = config.exponential_decay_length_penalty
        yield partial(_likelier_end, prompt_length + start, factor, eos)
    if config.suppress_tokens:
        yield partial(_suppressed, config.suppress_tokens, None)
    if config.begin_suppress_tokens:
        # After a decoder's single first token comes the forced token; the first free token comes next.
        begin = prompt_length + (prompt_length == 1 and config.forced_bos_token_id is not None)
        yield partial(_suppressed, config.begin_suppress_tokens, (begin,))


def _sequence_bias(biases: Mapping[tuple[int, ...], float] | Sequence[Sequence[Any]]) -> LogitsProcessor:
    """Add a bias to the score of each token that would complete one of the sequences."""
    pairs: Iterable[Any] = biases.items() if isinstance(biases, Mapping) else biases
    bias_of = {tuple(sequence): np.float32(bias) for sequence, bias in pairs}
    max_token = max(token for sequence in bias_of for token in sequence)
    single = {sequence[0]: bias for sequence, bias in bias_of.items() if len(sequence) == 1}
    longer = {sequence: bias for sequence, bias in bias_of.items() if len(sequence) > 1}
    singles, single_biases = list(single), np.array(list(single.values()), dtype=np.float32)

    def process(ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if max_token >= scores.shape[1]:
            raise OptionError(
                f"A sequence holds the token {max_token}, and the vocabulary has {scores.shape[1]} tokens.",
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


def _repetition_penalty(penalty: float, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make the tokens of each row less likely to occur again, (rows, …). Source: CTRL, https://arxiv.org/abs/1909.05858."""
    chosen = np.take_along_axis(scores, ids, axis=1)
    np.put_along_axis(scores, ids, np.where(chosen < 0, chosen * penalty, chosen / penalty), axis=1)
    return scores


def _encoder_repetition_penalty(
    penalty: float, encoder_ids: NDArray[np.int64], _ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Make the encoder's input likelier. As in the reference, only the first rows change, one for each input."""
    _repetition_penalty(1 / penalty, encoder_ids, scores[: len(encoder_ids)])
    return scores


def _no_repeated_ngrams(
    size: int, source: NDArray[np.int64] | None, ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Forbid tokens that would repeat an n-gram of the source, (prompts, tokens); with None, of the row itself."""
    if ids.shape[1] >= size - 1:
        source = ids if source is None else np.repeat(source, len(ids) // len(source), axis=0)
        scores[_completions(source, ids[:, ids.shape[1] - size + 1 :])] = _FORBIDDEN
    return scores


def _completions(source: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Find the tokens that follow each row's last tokens elsewhere.

    Args:
        source: The tokens to search, (rows, tokens).
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


def _in_vocabulary(tokens: Iterable[int], scores: NDArray[np.float32]) -> list[int]:
    """Return the tokens that have a score."""
    return [token for token in tokens if token < scores.shape[1]]


def _suppressed(
    tokens: Sequence[int], lengths: Sequence[int] | None, ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Forbid tokens if the rows have one of these lengths; with None, always."""
    if lengths is None or ids.shape[1] in lengths:
        scores[:, _in_vocabulary(tokens, scores)] = _FORBIDDEN
    return scores


def _forced(
    tokens: Sequence[int], length: int, ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Forbid all other tokens if the rows have this length."""
    if ids.shape[1] == length:
        if max(tokens) >= scores.shape[1]:
            raise OptionError(
                f"The token {max(tokens)} cannot be forced: the vocabulary has {scores.shape[1]} tokens.",
                hint="Give ids of this model's tokenizer to forced_bos_token_id and forced_eos_token_id.",
            )
        scores[:] = _FORBIDDEN
        scores[:, list(tokens)] = 0
    return scores


def _finite(_ids: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.nan_to_num(scores, copy=False, nan=0.0)


def _likelier_end(
    start: int, factor: float, eos: Sequence[int], ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Make the end likelier with each token after `start`."""
    if ids.shape[1] > start:
        ends = _in_vocabulary(eos, scores)
        with np.errstate(over="ignore", invalid="ignore"):  # the scores may grow to infinity
            scores[:, ends] += np.abs(scores[:, ends]) * np.float32(np.power(float(factor), ids.shape[1] - start) - 1)
    return scores

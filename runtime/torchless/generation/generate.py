"""Prompts and options to sequences."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from torchless.errors import OptionError
from torchless.generation.beam_search import beam_search
from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import LogitsProcessor, logits_processors, normalised
from torchless.generation.sampling import draw, warpers
from torchless.generation.search import Step, likeliest, search
from torchless.generation.steps import Steps
from torchless.generation.stopping import Decode, ShouldContinue, Stopping, check_prompt

__all__ = ["Generated", "generate", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What was generated.

    Attributes:
        sequences: The new tokens of each row, with the one that ended it: of the first prompt's answers, then of the next's.
        scores: Beam search's score of each row, (rows,); the mean of its log-probabilities at a length penalty of 1. None
            without beams.
        fill: What `joined` pads with.
    """

    sequences: list[NDArray[np.int64]]
    scores: NDArray[np.float32] | None
    fill: int

    def joined(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return prompts and continuations in one array, as the reference's `generate` does.

        Args:
            ids: The prompts, (prompts, tokens).

        Returns:
            (rows, tokens), padded on the right.
        """
        longest = max(len(sequence) for sequence in self.sequences)
        joined = np.full((len(self.sequences), ids.shape[1] + longest), self.fill, dtype=np.int64)
        joined[:, : ids.shape[1]] = np.repeat(ids, len(self.sequences) // len(ids), axis=0)
        for row, sequence in zip(joined, self.sequences, strict=True):
            row[ids.shape[1] : ids.shape[1] + len(sequence)] = sequence
        return joined


def generate(
    steps: Steps,
    ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    encoder_ids: NDArray[np.int64] | None = None,
    decode: Decode | None = None,
    max_positions: int | None = None,
    should_continue: ShouldContinue | None = None,
) -> Generated:
    """Continue prompts.

    Args:
        steps: The model, at its beginning.
        ids: The prompts, (prompts, tokens), padded on the left; of an encoder-decoder, the decoder's first tokens.
        attention_mask: 1 where a token counts and 0 where it is padding, (prompts, tokens).
        config: The options.
        encoder_ids: What an encoder read, (prompts, tokens).
        decode: Token ids to text, special tokens kept and nothing cleaned up; only `stop_strings` needs it.
        max_positions: How many tokens the model takes, where it has a limit.
        should_continue: Asked between two steps: once it says no, what there is then is returned.

    Returns:
        `num_return_sequences` rows a prompt.

    Raises:
        InputError: A prompt leaves no room for a token.
        OptionError: An option needs what the model does not have.

    Source: `generate` in transformers 4.57.6, generation/utils.py.
    """
    plan = _Plan.of(
        ids,
        config,
        encoder_ids=encoder_ids,
        decode=decode,
        max_positions=max_positions,
        should_continue=should_continue,
    )
    if config.num_beams == 1:
        return _collected(plan.search(steps, ids, attention_mask), plan.pad_token_id)
    sequences, scores = beam_search(
        steps, ids, attention_mask, config, processors=plan.processors, stopping=plan.stopping, random=plan.random
    )
    eos = config.eos_token_ids
    # A padding id of 0 counts as none in the reference's beam search.
    return Generated(sequences=sequences, scores=scores, fill=config.pad_token_id or eos[0] if eos else -1)


def stream(
    steps: Steps,
    ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    config: GenerationConfig,
    *,
    encoder_ids: NDArray[np.int64] | None = None,
    decode: Decode | None = None,
    max_positions: int | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Continue prompts, a token at a time. Closing the iterator stops the work.

    Args:
        steps: As of `generate`, as is all else.
        ids: The prompts, (prompts, tokens).
        attention_mask: (prompts, tokens).
        config: The options, without beams.
        encoder_ids: (prompts, tokens).
        decode: Token ids to text.
        max_positions: How many tokens the model takes.

    Returns:
        The tokens of each step, (rows,): as soon as they are known. Rows that have ended go on with padding.

    Raises:
        InputError: A prompt leaves no room for a token.
        OptionError: There are beams, or an option needs what the model does not have.
    """
    if config.num_beams > 1:
        raise OptionError(
            f"num_beams={config.num_beams} cannot be streamed: its first token may change until its last is known.",
            hint="num_beams=1",
        )
    plan = _Plan.of(ids, config, encoder_ids=encoder_ids, decode=decode, max_positions=max_positions)
    return (step.tokens for step in plan.search(steps, ids, attention_mask))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What options mean for prompts."""

    config: GenerationConfig
    processors: list[LogitsProcessor]
    stopping: Stopping
    random: np.random.Generator | None
    pad_token_id: int

    @classmethod
    def of(
        cls,
        ids: NDArray[np.int64],
        config: GenerationConfig,
        *,
        encoder_ids: NDArray[np.int64] | None,
        decode: Decode | None,
        max_positions: int | None,
        should_continue: ShouldContinue | None = None,
    ) -> "_Plan":
        prompt_length = ids.shape[1]
        max_length = config.max_total_length(prompt_length, max_positions=max_positions)
        check_prompt(prompt_length, max_length)
        processors = logits_processors(
            config,
            prompt_length=prompt_length,
            max_length=max_length,
            encoder_ids=ids if encoder_ids is None else encoder_ids,
        )
        if config.do_sample:
            processors.extend(warpers(config))
        if config.renormalize_logits:
            processors.append(normalised)
        return cls(
            config=config,
            processors=processors,
            stopping=Stopping(config, max_length=max_length, decode=decode, should_continue=should_continue),
            random=np.random.default_rng(config.seed) if config.do_sample else None,
            pad_token_id=(*config.eos_token_ids, 0)[0] if config.pad_token_id is None else config.pad_token_id,
        )

    def search(self, steps: Steps, ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Iterator[Step]:
        return search(
            steps,
            ids,
            attention_mask,
            processors=self.processors,
            choose=likeliest if self.random is None else partial(draw, random=self.random),
            stopping=self.stopping,
            pad_token_id=self.pad_token_id,
            copies=self.config.num_return_sequences,
        )


def _collected(search_steps: Iterator[Step], fill: int) -> Generated:
    tokens, counts = zip(*search_steps, strict=True)
    table, lengths = np.stack(tokens, axis=1), np.stack(counts, axis=1).sum(axis=1)  # (rows, steps), (rows,)
    return Generated(
        sequences=[row[:length] for row, length in zip(table, lengths, strict=True)], scores=None, fill=fill
    )

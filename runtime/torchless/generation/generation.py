"""Generation: prompts and a configuration become generated sequences."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from torchless.errors import InputError, OptionError
from torchless.generation.beam_search import beam_search
from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import logits_processors, normalised
from torchless.generation.sampling import draw, warpers
from torchless.generation.search import Step, likeliest, search
from torchless.generation.steps import Steps
from torchless.generation.stopping import Decode, ShouldContinue, Stopping
from torchless.numerics import pad

__all__ = ["Generated", "Generation", "Prompts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompts before the first step.

    Attributes:
        steps: The model.
        ids: The token ids, (prompts, tokens), padded on the left; for an encoder-decoder, the decoder's first tokens.
        attention_mask: 1 for a token and 0 for padding, (prompts, tokens).
        encoder_ids: The encoder's input, (prompts, tokens), if there is an encoder.
        max_positions: The most tokens of a sequence that the model takes, if it has a limit.
    """

    steps: Steps
    ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    encoder_ids: NDArray[np.int64] | None = None
    max_positions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Generated sequences.

    Attributes:
        prompt_ids: The prompts, (prompts, tokens).
        sequences: The new tokens of each sequence, with the token that ended it, in the order of the prompts.
        scores: The score that beam search gave to each sequence, (sequences,); with a length penalty of 1 it is the mean
            of the log-probabilities. None without beams.
        fill: The token that `joined` uses for padding.
    """

    prompt_ids: NDArray[np.int64]
    sequences: list[NDArray[np.int64]]
    scores: NDArray[np.float32] | None
    fill: int

    def joined(self) -> NDArray[np.int64]:
        """Return each prompt with its new tokens, (sequences, tokens), padded on the right, as the reference's `generate`."""
        prompts = np.repeat(self.prompt_ids, len(self.sequences) // len(self.prompt_ids), axis=0)
        return np.concatenate([prompts, pad(self.sequences, max(map(len, self.sequences)), self.fill)], axis=1)


class Generation:
    """Prompts and their configuration, ready to run once. The time of `max_time` starts here.

    Args:
        prompts: The prompts.
        config: The options.
        decode: From token ids to text, with special tokens and without clean-up; only `stop_strings` needs it.
        should_continue: Called between two steps; when it returns false, all sequences end.

    Raises:
        InputError: A prompt leaves no room for a token.
        OptionError: An option needs something that the model does not have, or the folder sets what is not possible here.

    Source: `generate` in transformers 4.57.6, generation/utils.py.
    """

    def __init__(
        self,
        prompts: Prompts,
        config: GenerationConfig,
        *,
        decode: Decode | None = None,
        should_continue: ShouldContinue | None = None,
    ) -> None:
        config.check_supported()
        prompt_length = prompts.ids.shape[1]
        max_length = config.max_total_length(prompt_length, max_positions=prompts.max_positions)
        if prompt_length >= max_length:
            raise InputError(
                f"The prompt has {prompt_length} tokens, and max_length={max_length} includes them.",
                hint="Give a shorter prompt, or max_new_tokens=64, which does not include them.",
            )
        self._prompts = prompts
        self._config = config
        self._processors = logits_processors(
            config,
            prompt_length=prompt_length,
            max_length=max_length,
            encoder_ids=prompts.ids if prompts.encoder_ids is None else prompts.encoder_ids,
        )
        if config.do_sample:
            self._processors.extend(warpers(config))
        if config.renormalize_logits:
            self._processors.append(normalised)
        self._stopping = Stopping(config, max_length=max_length, decode=decode, should_continue=should_continue)
        self._random = np.random.default_rng(config.seed) if config.do_sample else None
        self._pad_token_id = (*config.eos_token_ids, 0)[0] if config.pad_token_id is None else config.pad_token_id

    def generate(self) -> Generated:
        """Return `num_return_sequences` sequences for each prompt."""
        prompts, config = self._prompts, self._config
        if config.num_beams == 1:
            tokens, counts = zip(*self._search(), strict=True)
            table, lengths = np.stack(tokens, axis=1), np.stack(counts, axis=1).sum(axis=1)  # (rows, steps), (rows,)
            return Generated(
                prompt_ids=prompts.ids,
                sequences=[row[:length] for row, length in zip(table, lengths, strict=True)],
                scores=None,
                fill=self._pad_token_id,
            )
        sequences, scores = beam_search(
            prompts.steps,
            prompts.ids,
            prompts.attention_mask,
            config,
            processors=self._processors,
            stopping=self._stopping,
            random=self._random,
        )
        eos = config.eos_token_ids
        # The reference's beam search treats a padding id of 0 as missing.
        fill = config.pad_token_id or eos[0] if eos else -1
        return Generated(prompt_ids=prompts.ids, sequences=sequences, scores=scores, fill=fill)

    def stream(self) -> Iterator[NDArray[np.int64]]:
        """Return an iterator over the tokens of each step, (sequences,). To stop generation, close the iterator.

        A sequence that has ended continues with padding.

        Raises:
            OptionError: `num_beams` is above 1.
        """
        if self._config.num_beams > 1:
            raise OptionError(
                f"num_beams={self._config.num_beams} cannot be streamed: the first token of a beam can change until the "
                "last step.",
                hint="num_beams=1",
            )
        return (step.tokens for step in self._search())

    def _search(self) -> Iterator[Step]:
        return search(
            self._prompts.steps,
            self._prompts.ids,
            self._prompts.attention_mask,
            processors=self._processors,
            choose=likeliest if self._random is None else partial(draw, random=self._random),
            stopping=self._stopping,
            pad_token_id=self._pad_token_id,
            copies=self._config.num_return_sequences,
        )

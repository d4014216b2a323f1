"""From prompts to sequences: prompts of similar length are generated for together, and given back in order."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.batching.policy import in_order, plan
from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import ShouldContinue
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["PromptRun", "PromptScheduler"]

# Options that look at the prompt, padding included: a prompt then shares a batch with those of its own length alone.
_OF_ENCODER = ("encoder_no_repeat_ngram_size", "encoder_repetition_penalty")
_OF_PROMPT = (*_OF_ENCODER, "bad_words_ids", "no_repeat_ngram_size", "repetition_penalty", "sequence_bias")


class PromptScheduler:
    """Generates for prompts, whoever they belong to.

    Args:
        model: The model that continues them, or answers them.
        tokenizer: It looks for stop strings.
        max_batch_tokens: The most tokens that a batch of prompts may have, padding included: what the first step reads.
        max_batch_sequences: The most sequences that are generated together; a beam is one.
        max_batch_rows: The most prompts a batch may have. None sets no other bound, but where an answer depends on the
            rows that share its batch, each prompt then is alone.

    Attributes:
        window_inputs: The most inputs to plan together.
    """

    window_inputs = 32

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        max_batch_tokens: int = 1024,
        max_batch_sequences: int = 8,
        max_batch_rows: int | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._encodes = model.task.encoder_decoder
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_sequences = max_batch_sequences
        self._max_batch_rows = 1 if max_batch_rows is None and model.batch_dependent else max_batch_rows

    def run(
        self, rows: Sequence[Row], *, max_batch_rows: int | None = None, should_continue: ShouldContinue | None = None
    ) -> list[RowOutput]:
        """Return the sequences of each prompt, in the order of the prompts: see `PromptRun.outputs`."""
        return self.start(rows, max_batch_rows=max_batch_rows, should_continue=should_continue).outputs()

    def start(
        self, rows: Sequence[Row], *, max_batch_rows: int | None = None, should_continue: ShouldContinue | None = None
    ) -> "PromptRun":
        """Plan prompts into batches; they run once their outputs are asked for.

        Args:
            rows: Prompts, any number, of any lengths.
            max_batch_rows: For these prompts, instead of the scheduler's own.
            should_continue: Asked between two steps: once it says no, each of the sequences ends as it is.
        """
        prompts = [row for row in rows if isinstance(row, Prompt)]
        batches: list[list[int]] = []
        for config, group in groupby(range(len(prompts)), key=lambda index: prompts[index].config):
            indices = list(group)
            lengths = [len(prompts[index].ids) for index in indices]
            bound = self._bound(config, max_batch_rows or self._max_batch_rows)
            planned = plan(lengths, max_batch_tokens=self._max_batch_tokens, max_batch_rows=bound)
            if self._sees_padding(config):
                by_length = [groupby(batch, key=lengths.__getitem__) for batch in planned]
                planned = [list(same) for batch in by_length for _, same in batch]
            batches.extend([indices[position] for position in batch] for batch in planned)
        return PromptRun(self, prompts, batches, should_continue)

    def generate(self, prompts: Sequence[Prompt], *, should_continue: ShouldContinue | None = None) -> list[RowOutput]:
        """Generate for prompts of one configuration, together.

        Args:
            prompts: At least one.
            should_continue: As of `start`.

        Returns:
            The token ids of each prompt's sequences, as long as the longest of them: with the prompt before them or, of an
            encoder-decoder, what its decoder began with.
        """
        every = [prompt.ids for prompt in prompts]
        config = prompts[0].config
        width = max(map(len, every))
        begins = [0 if self._encodes else width - len(ids) for ids in every]
        ids = np.full((len(every), width), config.pad_token_id or 0, dtype=np.int64)  # (prompts, tokens)
        mask = np.zeros_like(ids)
        for row, (begin, tokens) in enumerate(zip(begins, every, strict=True)):
            ids[row, begin : begin + len(tokens)] = tokens
            mask[row, begin : begin + len(tokens)] = 1
        options = {field.name: getattr(config, field.name) for field in fields(config)}
        sequences = self._model.generate(
            ids, mask, tokenizer=self._tokenizer, should_continue=should_continue, **options
        )
        if len(prompts) == 1:
            return [tuple(sequences)]
        first_new = 1 if self._encodes else width
        blocks = np.split(sequences, len(prompts))  # (sequences, tokens) each
        return [
            tuple(block[:, begin : _longest(block, first_new, config)])
            for begin, block in zip(begins, blocks, strict=True)
        ]

    def _bound(self, config: GenerationConfig, max_batch_rows: int | None) -> int:
        if config.stop_strings or config.max_time or (config.do_sample and config.seed is not None):
            return 1  # what ends a sequence, or is drawn, is then a matter of the batch
        together = max(1, self._max_batch_sequences // max(config.num_beams, config.num_return_sequences))
        return together if max_batch_rows is None else max_batch_rows

    def _sees_padding(self, config: GenerationConfig) -> bool:
        if any(
            getattr(config, name) != getattr(_NEUTRAL, name) for name in (_OF_ENCODER if self._encodes else _OF_PROMPT)
        ):
            return True
        counts_prompt = (config.max_length and not config.max_new_tokens) or (
            config.min_length and not config.min_new_tokens
        )
        return bool(counts_prompt) and not self._encodes


@dataclass(frozen=True, slots=True)
class PromptRun:
    """Prompts on their way.

    Attributes:
        scheduler: Whose they are.
        prompts: All of them.
        batches: The indices of each batch's prompts.
        should_continue: Asked between two steps.
    """

    scheduler: PromptScheduler
    prompts: Sequence[Prompt]
    batches: Sequence[Sequence[int]]
    should_continue: ShouldContinue | None = None

    def outputs(self) -> list[RowOutput]:
        """Generate, and return each prompt's sequences in the order of the prompts.

        Raises:
            InputError: A prompt leaves no room for what it is asked for.
        """
        prompts = ([self.prompts[index] for index in batch] for batch in self.batches)
        return in_order(
            self.batches, (self.scheduler.generate(batch, should_continue=self.should_continue) for batch in prompts)
        )


_NEUTRAL = GenerationConfig()


def _longest(block: NDArray[np.int64], first_new: int, config: GenerationConfig) -> int:
    """Return where the longest of a prompt's sequences ends: with the first token that ends a text, or with the array."""
    ends = np.isin(block[:, first_new:], config.eos_token_ids)  # (sequences, new tokens)
    lengths = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, ends.shape[1])
    return first_new + int(lengths.max())

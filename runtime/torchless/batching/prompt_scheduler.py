"""The scheduler of prompts: it plans batches, generates, and returns the sequences in the order of the prompts."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from torchless.batching.policy import in_order, plan
from torchless.batching.rows import Prompt, Row, RowChunk, RowOutput
from torchless.errors import ScoreError
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import ShouldContinue
from torchless.models.generative import GenerativeModel
from torchless.numerics import pad
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["PromptScheduler"]

# Options that read the prompt with its padding: a prompt with these options shares a batch only with equally long prompts.
_ENCODER_OPTIONS = ("encoder_no_repeat_ngram_size", "encoder_repetition_penalty")
_PROMPT_OPTIONS = (*_ENCODER_OPTIONS, "bad_words_ids", "no_repeat_ngram_size", "repetition_penalty", "sequence_bias")
_NEUTRAL = GenerationConfig()


class PromptScheduler:
    """Generates sequences for the prompts of any number of inputs.

    Args:
        model: The model.
        tokenizer: The tokenizer, which finds stop strings.
        max_batch_tokens: The most tokens in a batch of prompts, padding included.
        max_batch_sequences: The most sequences that are generated together; each beam counts as a sequence.
        max_batch_rows: The most prompts in a batch. None sets no further limit, but each prompt runs alone if its output
            depends on the other rows of a batch, or if the graph takes one row.

    Attributes:
        max_chunk_inputs: The most inputs in a chunk.
    """

    max_chunk_inputs = 32

    def __init__(
        self,
        model: GenerativeModel,
        tokenizer: Tokenizer,
        *,
        max_batch_tokens: int = 1024,
        max_batch_sequences: int = 8,
        max_batch_rows: int | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._has_encoder = model.task.encoder_decoder
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_sequences = max_batch_sequences
        self._max_batch_rows = max_batch_rows

    def run(
        self, rows: Sequence[Row], *, max_batch_rows: int | None = None, should_continue: ShouldContinue | None = None
    ) -> list[RowOutput]:
        """Return the sequences of each prompt, in the order of the prompts.

        Args:
            rows: Any number of prompts of any lengths.
            max_batch_rows: The most prompts in a batch, for these prompts.
            should_continue: Called between two steps; when it returns false, all sequences end.

        Returns:
            The token ids of each prompt's sequences, padded to the longest sequence of the prompt. A decoder's sequences
            begin with the prompt; those of an encoder-decoder begin with the decoder's first token.

        Raises:
            InputError: A prompt leaves no room for new tokens.
            ScoreError: The model's scores for a prompt are not numbers; `row` is the prompt's index.
        """
        prompts = [row for row in rows if isinstance(row, Prompt)]
        most = max_batch_rows or self._max_batch_rows
        if most is None and len(prompts) > 1:
            most = self._model.max_batch_rows(self._max_batch_tokens)
        batches = self._plan(prompts, most)
        return in_order(batches, (self._batch_sequences(prompts, batch, should_continue) for batch in batches))

    def run_chunks(
        self, row_chunks: Iterable[RowChunk], *, max_batch_rows: int | None = None
    ) -> Iterator[list[RowOutput]]:
        """Yield the sequences of each chunk of prompts, as `run` returns them.

        Args:
            row_chunks: The chunks; each is read only when the caller requests its sequences.
            max_batch_rows: The most prompts in a batch, for these prompts.

        Raises:
            InputError: A prompt leaves no room for new tokens.
        """
        return (self.run(chunk.rows, max_batch_rows=max_batch_rows) for chunk in row_chunks)

    def _plan(self, prompts: Sequence[Prompt], max_batch_rows: int | None) -> list[list[int]]:
        """Return the indices of each batch's prompts; the prompts of a batch have the same configuration."""
        batches: list[list[int]] = []
        for config, group in groupby(range(len(prompts)), key=lambda index: prompts[index].config):
            indices = list(group)
            lengths = [len(prompts[index].ids) for index in indices]
            limit = self._max_rows(config, max_batch_rows)
            planned = plan(lengths, max_batch_tokens=self._max_batch_tokens, max_batch_rows=limit)
            if self._reads_padding(config):
                planned = [list(same) for batch in planned for _, same in groupby(batch, key=lengths.__getitem__)]
            batches.extend([indices[position] for position in batch] for batch in planned)
        return batches

    def _batch_sequences(
        self, prompts: Sequence[Prompt], batch: Sequence[int], should_continue: ShouldContinue | None
    ) -> list[RowOutput]:
        """Return the sequences of a batch's prompts. Of several, the one whose scores are not numbers is looked for."""
        try:
            return self._generate([prompts[index] for index in batch], should_continue)
        except ScoreError as error:
            if len(batch) > 1:
                return [self._batch_sequences(prompts, [index], should_continue)[0] for index in batch]
            text = self._tokenizer.decode(prompts[batch[0]].ids, skip_special_tokens=True)
            raise ScoreError(text, row=batch[0]) from error

    def _generate(self, prompts: Sequence[Prompt], should_continue: ShouldContinue | None) -> list[RowOutput]:
        """Generate the sequences of prompts with the same configuration together."""
        prompt_ids = [prompt.ids for prompt in prompts]
        config, is_left = prompts[0].config, not self._has_encoder
        width = max(map(len, prompt_ids))
        sequences = self._model.generate(
            pad(prompt_ids, width, config.pad_token_id or 0, left=is_left),
            pad([[1] * len(ids) for ids in prompt_ids], width, 0, left=is_left),
            generation_config=config,
            tokenizer=self._tokenizer,
            should_continue=should_continue,
        )
        if len(prompts) == 1:
            return [tuple(sequences)]
        first_new = 1 if self._has_encoder else width
        blocks = np.split(sequences, len(prompts))  # (sequences, tokens) each
        return [
            tuple(block[:, width - len(ids) if is_left else 0 : _max_length(block, first_new, config)])
            for ids, block in zip(prompt_ids, blocks, strict=True)
        ]

    def _max_rows(self, config: GenerationConfig, max_batch_rows: int | None) -> int:
        if config.stop_strings or config.max_time or (config.do_sample and config.seed is not None):
            return 1  # in a batch, the other prompts would change the end of a sequence or its draws
        if max_batch_rows is not None:
            return max_batch_rows
        return max(1, self._max_batch_sequences // max(config.num_beams, config.num_return_sequences))

    def _reads_padding(self, config: GenerationConfig) -> bool:
        """Return whether the padding of a prompt would change its result."""
        names = _ENCODER_OPTIONS if self._has_encoder else _PROMPT_OPTIONS
        if any(getattr(config, name) != getattr(_NEUTRAL, name) for name in names):
            return True
        counts_prompt = (config.max_length and not config.max_new_tokens) or (
            config.min_length and not config.min_new_tokens
        )
        return bool(counts_prompt) and not self._has_encoder


def _max_length(block: NDArray[np.int64], first_new: int, config: GenerationConfig) -> int:
    """Return the length of a prompt's longest sequence, with the first token that ends the text."""
    ends = np.isin(block[:, first_new:], config.eos_token_ids)  # (sequences, new tokens)
    lengths = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, ends.shape[1])
    return first_new + int(lengths.max())

"""Generates for prompts: plans prompts of similar length into batches, and returns the sequences in the order of the prompts."""

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
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["PromptScheduler"]

# Options that read the prompt, padding included: such a prompt shares a batch only with prompts of its own length.
_ENCODER_OPTIONS = ("encoder_no_repeat_ngram_size", "encoder_repetition_penalty")
_PROMPT_OPTIONS = (
    *_ENCODER_OPTIONS,
    "bad_words_ids",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "sequence_bias",
)
_NEUTRAL = GenerationConfig()


class PromptScheduler:
    """Generates for prompts of any number of inputs.

    Args:
        model: The model.
        tokenizer: It finds stop strings.
        max_batch_tokens: The most tokens in a batch of prompts, padding included: what the first step reads.
        max_batch_sequences: The most sequences that are generated together; a beam is one.
        max_batch_rows: The most prompts in a batch. None sets no other bound, but a prompt is alone if an answer depends
            on the rows that share its batch, or if the graph takes one.

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
        self._max_batch_rows = model.max_batch_rows(max_batch_tokens) if max_batch_rows is None else max_batch_rows

    def run(
        self,
        rows: Sequence[Row],
        *,
        max_batch_rows: int | None = None,
        should_continue: ShouldContinue | None = None,
    ) -> list[RowOutput]:
        """Return the sequences of each prompt, in the order of the prompts.

        Args:
            rows: Prompts, any number, of any lengths.
            max_batch_rows: The most prompts in a batch, for these prompts.
            should_continue: Called between two steps; once it returns false, each sequence ends as it is.

        Returns:
            The token ids of each prompt's sequences, as long as the longest of them. A decoder's sequences begin with the
            prompt, those of an encoder-decoder with the decoder's first token.

        Raises:
            InputError: A prompt leaves no room for the tokens that it asks for.
            ScoreError: The model's scores for a prompt are not numbers; `row` is the prompt's index.
        """
        prompts = [row for row in rows if isinstance(row, Prompt)]
        batches = self._plan(prompts, max_batch_rows or self._max_batch_rows)
        return in_order(batches, (self._batch_sequences(prompts, batch, should_continue) for batch in batches))

    def run_chunks(
        self, row_chunks: Iterable[RowChunk], *, max_batch_rows: int | None = None
    ) -> Iterator[list[RowOutput]]:
        """Yield the sequences of each chunk of prompts, as `run` returns them.

        Args:
            row_chunks: The chunks; each is read only when its sequences are asked for.
            max_batch_rows: The most prompts in a batch, for these prompts.

        Raises:
            InputError: A prompt leaves no room for the tokens that it asks for.
        """
        return (self.run(chunk.rows, max_batch_rows=max_batch_rows) for chunk in row_chunks)

    def _plan(self, prompts: Sequence[Prompt], max_batch_rows: int | None) -> list[list[int]]:
        """Return the indices of each batch's prompts; the prompts of a batch have one configuration."""
        batches: list[list[int]] = []
        for config, group in groupby(range(len(prompts)), key=lambda index: prompts[index].config):
            indices = list(group)
            lengths = [len(prompts[index].ids) for index in indices]
            bound = self._max_rows(config, max_batch_rows)
            planned = plan(lengths, max_batch_tokens=self._max_batch_tokens, max_batch_rows=bound)
            if self._reads_padding(config):
                by_length = [groupby(batch, key=lengths.__getitem__) for batch in planned]
                planned = [list(same) for batch in by_length for _, same in batch]
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
        """Return the sequences of prompts of one configuration, generated together."""
        prompt_ids = [prompt.ids for prompt in prompts]
        config = prompts[0].config
        width = max(map(len, prompt_ids))
        begins = [0 if self._has_encoder else width - len(ids) for ids in prompt_ids]
        input_ids = np.full((len(prompts), width), config.pad_token_id or 0, dtype=np.int64)  # (prompts, tokens)
        mask = np.zeros_like(input_ids)
        for row, (begin, ids) in enumerate(zip(begins, prompt_ids, strict=True)):
            input_ids[row, begin : begin + len(ids)] = ids
            mask[row, begin : begin + len(ids)] = 1
        sequences = self._model.generate(
            input_ids,
            mask,
            generation_config=config,
            tokenizer=self._tokenizer,
            should_continue=should_continue,
        )
        if len(prompts) == 1:
            return [tuple(sequences)]
        first_new = 1 if self._has_encoder else width
        blocks = np.split(sequences, len(prompts))  # (sequences, tokens) each
        return [
            tuple(block[:, begin : _max_length(block, first_new, config)])
            for begin, block in zip(begins, blocks, strict=True)
        ]

    def _max_rows(self, config: GenerationConfig, max_batch_rows: int | None) -> int:
        if config.stop_strings or config.max_time or (config.do_sample and config.seed is not None):
            return 1  # the end of a sequence, or its draws, would depend on the batch
        together = max(1, self._max_batch_sequences // max(config.num_beams, config.num_return_sequences))
        return together if max_batch_rows is None else max_batch_rows

    def _reads_padding(self, config: GenerationConfig) -> bool:
        names = _ENCODER_OPTIONS if self._has_encoder else _PROMPT_OPTIONS
        if any(getattr(config, name) != getattr(_NEUTRAL, name) for name in names):
            return True
        counts_prompt = (config.max_length and not config.max_new_tokens) or (
            config.min_length and not config.min_new_tokens
        )
        return bool(counts_prompt) and not self._has_encoder


def _max_length(block: NDArray[np.int64], first_new: int, config: GenerationConfig) -> int:
    """Return where the longest of a prompt's sequences ends: with the first token that ends a text, or with the array."""
    ends = np.isin(block[:, first_new:], config.eos_token_ids)  # (sequences, new tokens)
    lengths = np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, ends.shape[1])
    return first_new + int(lengths.max())

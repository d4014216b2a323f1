"""Models that write: decoders, alone and after an encoder."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchless.folder.model_folder import ModelFolder
from torchless.errors import InputError, OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.decoders import DecoderSteps
from torchless.generation.generate import generate, stream
from torchless.generation.stopping import Decode, ShouldContinue
from torchless.models.model import Model, ModelOutput
from torchless.ort.session import Session
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["AutoModelForCausalLM", "AutoModelForSeq2SeqLM"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beginning:
    """What generation begins with.

    Attributes:
        steps: The model.
        ids: What is written already of each text, (texts, tokens).
        mask: 1 where a token of it counts, (texts, tokens).
        encoder_ids: What the encoder reads, (texts, tokens), where there is one.
    """

    steps: DecoderSteps
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    encoder_ids: NDArray[np.int64] | None = None


class _Writer(Model):
    """What models that write have in common."""

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """What the checkpoint says of generation.

        Raises:
            CheckpointError: It says what is not possible here.
        """
        folder, name = self.folder, "generation_config.json"
        return GenerationConfig.from_configs(
            folder.read_json("config.json"), folder.read_json(name) if folder.has(name) else None
        )

    def generate(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        *,
        tokenizer: Tokenizer | None = None,
        should_continue: ShouldContinue | None = None,
        **options: Any,
    ) -> NDArray[np.int64]:
        """Continue texts or, with an encoder, answer them.

        Args:
            input_ids: Integers, (texts, tokens); padded on the left, where they are continued. By default one text, of
                `bos_token_id`.
            attention_mask: 1 where a token counts and 0 where it is padding, (texts, tokens); by default `pad_token_id`
                is padding, unless it also ends texts.
            tokenizer: What `stop_strings` are looked for with.
            should_continue: Asked between two steps: once it says no, what there is then is returned.
            options: Those of `GenerationConfig`; they hold over the checkpoint's.

        Returns:
            The texts with their continuations or, with an encoder, the answers from `decoder_start_token_id` on:
            (texts x num_return_sequences, tokens), padded on the right.

        Raises:
            InputError: The shapes do not fit each other, a text to continue is padded on the right, or one is longer than
                the model takes, alone or with its continuation.
            OptionError: There is no such option, or a value is not possible.
        """
        config = self.generation_config.updated(**options)
        begun = self._begin(input_ids, attention_mask, config)
        return generate(
            begun.steps,
            begun.ids,
            begun.mask,
            config,
            encoder_ids=begun.encoder_ids,
            decode=_decode(tokenizer),
            max_positions=self.config.max_tokens,
            should_continue=should_continue,
        ).joined(begun.ids)

    def stream(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        *,
        tokenizer: Tokenizer | None = None,
        **options: Any,
    ) -> Iterator[NDArray[np.int64]]:
        """Continue or answer texts, a token at a time. Closing the iterator stops the work.

        Args:
            input_ids: As of `generate`, as is all else.
            attention_mask: (texts, tokens).
            tokenizer: What `stop_strings` are looked for with.
            options: Those of `GenerationConfig`, without beams.

        Returns:
            The tokens of each step, (texts x num_return_sequences,), as soon as they are known.

        Raises:
            InputError: As of `generate`.
            OptionError: The same, or there are beams.
        """
        config = self.generation_config.updated(**options)
        begun = self._begin(input_ids, attention_mask, config)
        return stream(
            begun.steps,
            begun.ids,
            begun.mask,
            config,
            encoder_ids=begun.encoder_ids,
            decode=_decode(tokenizer),
            max_positions=self.config.max_tokens,
        )

    @abstractmethod
    def _begin(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> _Beginning:
        """Return what generation begins with, once it is known to fit."""

    def _given(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids and mask as arrays, with what is left out as the reference makes it up."""
        if input_ids is None:
            input_ids = [[_token("bos_token_id", config.bos_token_id)]]
        ids = self._as_ids("input_ids", input_ids)
        if not ids.size:
            raise InputError(f"input_ids has the shape {ids.shape}.", hint="Give a token a text at least.")
        if attention_mask is not None:
            return ids, self._as_ids("attention_mask", attention_mask, like=ids)
        padding = config.pad_token_id
        if padding is None or padding in config.eos_token_ids:
            return ids, np.ones_like(ids)
        return ids, (ids != padding).astype(np.int64)

    def _check_room(self, tokens: int, new_tokens: int) -> None:
        """Raise if a text is longer than the model's positions once it is continued.

        Args:
            tokens: What is written already.
            new_tokens: What may be added at most; the last takes no position, as nothing follows it.

        Raises:
            InputError: It is.
        """
        self.check_length(tokens)
        limit = self.config.max_tokens
        if limit is not None and tokens + new_tokens - 1 > limit:
            raise InputError(
                f"{new_tokens} new tokens after {tokens} are more than this model takes, {limit}.",
                hint=f"Ask for fewer: max_new_tokens={limit - tokens + 1}",
            )


class AutoModelForCausalLM(_Writer):
    """A model that scores what comes next: `logits`, float, (texts, tokens, vocabulary).

    Source: `GenerationMixin.generate` in transformers 4.57.6, which counts positions the same way.
    """

    task = find_task("text-generation")

    def _begin(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> _Beginning:
        ids, mask = self._given(input_ids, attention_mask, config)
        if not mask[:, -1].all():
            raise InputError(
                "A text is padded on the right, where it is to be continued.",
                hint='Pad on the left: tokenizer(texts, padding=True, padding_side="left", return_tensors="np")',
            )
        limit, width = self.config.max_tokens, ids.shape[1]
        self._check_room(int(mask.sum(axis=1).max()), config.max_total_length(width, max_positions=limit) - width)
        return _Beginning(steps=DecoderSteps(self.session, limit=limit), ids=ids, mask=mask)

    def _answered(self, feeds: dict[str, NDArray[Any]]) -> ModelOutput:
        return _without_past(self, feeds)


class AutoModelForSeq2SeqLM(_Writer):
    """An encoder that reads, and a decoder that scores what comes next: `logits`, float, (texts, tokens, vocabulary).

    Args:
        folder: The folder.
        encoder: The encoder's graph, loaded.
        decoder: The decoder's, which takes past keys and values, or none where `use_cache_branch` is false.

    Source: `GenerationMixin.generate` in transformers 4.57.6; modeling_seq2seq.py of optimum-onnx 0.1.0.
    """

    task = find_task("text2text-generation")

    def __init__(self, folder: ModelFolder, encoder: Session, decoder: Session) -> None:
        super().__init__(folder, decoder)
        self.encoder = encoder

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All its graphs, loaded."""
        return (self.encoder, self.session)

    @staticmethod
    def _graphs(folder: ModelFolder, dtype: str, file_name: str | None) -> tuple[Path, ...]:
        if file_name is not None:
            raise OptionError(
                f"file_name={file_name!r} names one graph, and an encoder-decoder has two.",
                hint='Choose both by a dtype: dtype="fp32"',
            )
        return folder.encoder_and_decoder(dtype)

    def __call__(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        decoder_input_ids: ArrayLike | None = None,
    ) -> ModelOutput:
        """Run the encoder and the decoder once.

        Args:
            input_ids: What the encoder reads, integers, (texts, tokens).
            attention_mask: 1 where a token counts and 0 where it is padding; by default all count.
            token_type_ids: None or 0.
            decoder_input_ids: What the decoder has written already, integers, (texts, tokens written); by default
                `decoder_start_token_id`.

        Returns:
            The logits that follow each token written, (texts, tokens written, vocabulary).

        Raises:
            InputError: The shapes do not fit each other, or the texts are longer than the model takes.
        """
        ids = self._as_ids("input_ids", input_ids)
        mask = np.ones_like(ids) if attention_mask is None else self._as_ids("attention_mask", attention_mask, like=ids)
        if token_type_ids is not None and self._as_ids("token_type_ids", token_type_ids, like=ids).any():
            raise InputError("This model takes no token_type_ids.", hint="Leave token_type_ids out.")
        written = (
            _start(len(ids), self.generation_config)
            if decoder_input_ids is None
            else self._as_ids("decoder_input_ids", decoder_input_ids)
        )
        if len(written) != len(ids):
            raise InputError(
                f"decoder_input_ids has {len(written)} texts, input_ids has {len(ids)}.", hint="Give both as many."
            )
        self.check_length(written.shape[1])
        return self.run({"input_ids": ids, "attention_mask": mask, "decoder_input_ids": written})

    def run(self, given: Mapping[str, NDArray[np.int64]]) -> ModelOutput:
        """Run the encoder and the decoder once, on arrays that are known to fit.

        Args:
            given: `input_ids` and `attention_mask`, of one shape, and `decoder_input_ids`.

        Returns:
            As of a call.
        """
        encoded = self._encoded(given["input_ids"], given["attention_mask"])
        return _without_past(self, {"input_ids": given["decoder_input_ids"], **encoded})

    def _begin(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> _Beginning:
        ids, mask = self._given(input_ids, attention_mask, config)
        limit = self.config.max_tokens
        self._check_room(1, config.max_total_length(1, max_positions=limit) - 1)
        start = _start(len(ids), config)
        return _Beginning(
            steps=DecoderSteps(self.session, encoded=self._encoded(ids, mask), limit=limit),
            ids=start,
            mask=np.ones_like(start),
            encoder_ids=ids,
        )

    def _encoded(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        self.check_length(ids.shape[1])
        (hidden,) = self.encoder.run({"input_ids": ids, "attention_mask": mask}, ["last_hidden_state"])
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}


def _start(texts: int, config: GenerationConfig) -> NDArray[np.int64]:
    token = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    return np.full((texts, 1), _token("decoder_start_token_id", token))


def _token(name: str, token: int | None) -> int:
    if token is None:
        raise InputError(
            f"There is nothing to begin with: neither the checkpoint nor the call says {name}.",
            hint=f"Give input_ids, or a token: {name}=0",
        )
    return token


def _decode(tokenizer: Tokenizer | None) -> Decode | None:
    return None if tokenizer is None else partial(tokenizer.decode, clean_up_tokenization_spaces=False)


def _without_past(model: Model, feeds: dict[str, NDArray[Any]]) -> ModelOutput:
    """Run a decoder's graph where there is no past: no keys and values, and no branch for them."""
    texts = len(feeds["input_ids"])
    for name in model.session.inputs.keys() - feeds.keys():
        tensor = model.session.inputs[name]
        shape = [(0 if index else texts) if axis is None else axis for index, axis in enumerate(tensor.shape)]
        feeds[name] = np.zeros(shape, dtype=tensor.dtype)
    names = list(model.task.outputs)
    return ModelOutput(dict(zip(names, model.session.run(feeds, names), strict=True)))

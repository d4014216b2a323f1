"""Generative models: decoders, alone and after an encoder."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchless.errors import CheckpointError, InputError, OptionError
from torchless.folder.model_folder import ModelFolder
from torchless.generation.config import GenerationConfig
from torchless.generation.decoders import DecoderSteps, empty_past, is_decoder_input
from torchless.generation.generation import Generation, Prompts
from torchless.generation.stopping import ShouldContinue
from torchless.models.model import Model, ModelOutput
from torchless.models.signature import check_inputs
from torchless.models.static_axes import StaticAxes
from torchless.ort.session import Session
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "GenerativeModel"]

_ENCODER_INPUTS = frozenset({"attention_mask", "input_ids"})
_ENCODED = "last_hidden_state"


class GenerativeModel(Model):
    """A model that generates token ids: a decoder, alone or after an encoder."""

    def __init__(self, folder: ModelFolder, session: Session) -> None:
        super().__init__(folder, session)
        _check_axes(session, self._static_axes)

    def __reduce__(self) -> tuple[Any, ...]:
        chosen = self.__dict__.get("generation_config")
        is_changed = chosen is not None and chosen != self._read_generation_config()
        return (*super().__reduce__(), {"generation_config": chosen} if is_changed else None)

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """The options of generation that the folder's files set.

        Raises:
            CheckpointError: A value is not possible here.
        """
        return self._read_generation_config()

    def _read_generation_config(self) -> GenerationConfig:
        name = "generation_config.json"
        return GenerationConfig.from_configs(
            self.folder.read_json("config.json"), self.folder.read_json(name) if self.folder.has(name) else None
        )

    def generate(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        tokenizer: Tokenizer | None = None,
        should_continue: ShouldContinue | None = None,
        **options: Any,
    ) -> NDArray[np.int64]:
        """Continue texts or, with an encoder, answer them.

        Args:
            input_ids: Integers, (texts, tokens); padded on the left for a decoder alone. By default one text, of
                `bos_token_id`.
            attention_mask: 1 where a token counts and 0 where it is padding, (texts, tokens); by default `pad_token_id`
                is padding, unless it also ends texts.
            generation_config: The options; by default the model's.
            tokenizer: It finds `stop_strings`.
            should_continue: Called between two steps; once it returns false, the tokens so far are returned.
            options: Single options of `GenerationConfig`, which win.

        Returns:
            The texts with their continuations or, with an encoder, the answers from `decoder_start_token_id` on:
            (texts x num_return_sequences, tokens), padded on the right.

        Raises:
            InputError: The shapes do not fit each other, a text to continue is padded on the right, or a text is longer
                than the model takes, alone or with its continuation.
            OptionError: There is no such option, or a value is not possible.
        """
        config = (generation_config or self.generation_config).updated(**options)
        return self._generation(input_ids, attention_mask, config, tokenizer, should_continue).generate().joined()

    def stream(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        *,
        generation_config: GenerationConfig | None = None,
        tokenizer: Tokenizer | None = None,
        **options: Any,
    ) -> Iterator[NDArray[np.int64]]:
        """Continue or answer texts, a token at a time. Closing the iterator stops the work.

        Args:
            input_ids: As for `generate`, (texts, tokens).
            attention_mask: As for `generate`, (texts, tokens).
            generation_config: The options, without beams; by default the model's.
            tokenizer: It finds `stop_strings`.
            options: Single options of `GenerationConfig`, which win.

        Returns:
            The tokens of each step, (texts x num_return_sequences,), as soon as they are known.

        Raises:
            InputError: As for `generate`.
            OptionError: As for `generate`, or there are beams.
        """
        config = (generation_config or self.generation_config).updated(**options)
        return self._generation(input_ids, attention_mask, config, tokenizer).stream()

    def _generation(
        self,
        input_ids: ArrayLike | None,
        attention_mask: ArrayLike | None,
        config: GenerationConfig,
        tokenizer: Tokenizer | None,
        should_continue: ShouldContinue | None = None,
    ) -> Generation:
        decode = None if tokenizer is None else partial(tokenizer.decode, clean_up_tokenization_spaces=False)
        prompts = self.prompts(input_ids, attention_mask, config)
        return Generation(prompts, config, decode=decode, should_continue=should_continue)

    @staticmethod
    def _fills(name: str) -> bool:
        return is_decoder_input(name)

    @abstractmethod
    def prompts(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> Prompts:
        """Return prompts before their first step, once they are known to fit the model.

        Args:
            input_ids: As for `generate`, (texts, tokens).
            attention_mask: As for `generate`, (texts, tokens).
            config: The options.

        Raises:
            InputError: As for `generate`.
        """

    def _answer_row(self, ids: NDArray[np.int64], mask: NDArray[np.int64], _tokens: int) -> Sequence[NDArray[Any]]:
        """Run prompts, and return the logits after the first one."""
        prompts = self.prompts(ids, mask, self.generation_config.updated(max_new_tokens=1))
        return [prompts.steps.begin(prompts.ids, prompts.attention_mask)[0]]

    def _ids_and_mask(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return token ids and mask as arrays, with the reference's defaults for what the caller left out."""
        if input_ids is None:
            input_ids = [[_token("bos_token_id", config.bos_token_id)]]
        ids = self._as_ids("input_ids", input_ids)
        if not ids.size:
            raise InputError(f"input_ids has the shape {ids.shape}.", hint="Give at least one token for each text.")
        if attention_mask is not None:
            return ids, self._as_ids("attention_mask", attention_mask, like=ids)
        padding = config.pad_token_id
        if padding is None or padding in config.eos_token_ids:
            return ids, np.ones_like(ids)
        return ids, (ids != padding).astype(np.int64)

    @property
    def max_total_tokens(self) -> int | None:
        """The most tokens that the decoder takes, written ones included; None without a limit."""
        return self.max_tokens

    def _check_room(self, tokens: int, new_tokens: int) -> None:
        """Raise if a text is longer than the model's positions once it is continued.

        Args:
            tokens: The tokens of the text so far.
            new_tokens: The most tokens to generate; the last one takes no position, since nothing follows it.

        Raises:
            InputError: The text is too long.
        """
        limit = self.max_total_tokens
        if limit is not None and tokens + new_tokens - 1 > limit:
            raise InputError(
                f"{new_tokens} new tokens after {tokens} are more than this model takes, {limit}.",
                hint=f"Ask for fewer: max_new_tokens={limit - tokens + 1}",
            )


class AutoModelForCausalLM(GenerativeModel):
    """A model that scores what comes next: `logits`, float, (texts, tokens, vocabulary).

    Source: `GenerationMixin.generate` in transformers 4.57.6, which counts positions the same way.
    """

    task = find_task("text-generation")

    def prompts(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> Prompts:
        ids, mask = self._ids_and_mask(input_ids, attention_mask, config)
        if not mask[:, -1].all():
            raise InputError(
                "A text is padded on the right, where it is to be continued.",
                hint='Pad on the left: tokenizer(texts, padding=True, padding_side="left", return_tensors="np")',
            )
        limit, width = self.max_tokens, ids.shape[1]
        self.check_length(int(mask.sum(axis=1).max()))
        self._check_room(int(mask.sum(axis=1).max()), config.max_total_length(width, max_positions=limit) - width)
        self._warn_of_context(int(mask.sum(axis=1).max()), config.max_total_length(width, max_positions=limit) - width)
        steps = DecoderSteps(self.session, limit=limit, recompute_above=self.config.recompute_above)
        return Prompts(steps=steps, ids=ids, attention_mask=mask, max_positions=limit)

    def _warn_of_context(self, tokens: int, new_tokens: int) -> None:
        """Warn if a text with its continuation is longer than the context that the model was trained for."""
        context = self.config.context_length
        if context is not None and tokens + new_tokens > context + 1:
            warnings.warn(
                f"The prompt has {tokens} tokens, and up to {new_tokens} may follow. The model was trained for {context} in all, "
                "and may write nonsense beyond.",
                UserWarning,
                stacklevel=5,
            )

    def _answered(self, feeds: dict[str, NDArray[Any]]) -> ModelOutput:
        return _without_past(self, feeds)


class AutoModelForSeq2SeqLM(GenerativeModel):
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
        check_inputs(encoder, fills=_ENCODER_INPUTS.__contains__)
        if _ENCODED not in encoder.outputs:
            raise CheckpointError(
                f"{encoder.graph} has no output {_ENCODED!r}; it has: {', '.join(encoder.outputs)}.",
                hint="Export the encoder with its decoder: torchless export MODEL OUT",
            )
        self.encoder = encoder
        _check_axes(encoder, StaticAxes.of(encoder.inputs, self.task.input_axes))

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All its graphs, loaded."""
        return (self.encoder, self.session)

    @property
    def max_total_tokens(self) -> int | None:
        """The most tokens that the decoder writes, the first one included; None without a limit."""
        limits = (self.config.max_decoder_tokens, self.static_tokens)
        return min((limit for limit in limits if limit is not None), default=None)

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
        limit = self.max_total_tokens
        if limit is not None and written.shape[1] > limit:
            raise InputError(
                f"decoder_input_ids has {written.shape[1]} tokens, and this model takes {limit}.", hint="Give fewer."
            )
        return self.run({"input_ids": ids, "attention_mask": mask, "decoder_input_ids": written})

    def run(self, model_inputs: Mapping[str, NDArray[np.int64]]) -> ModelOutput:
        """Run the encoder and the decoder once, on arrays that are known to fit.

        Args:
            model_inputs: `input_ids` and `attention_mask`, of one shape, and `decoder_input_ids`.

        Returns:
            As of a call.
        """
        encoded = self._encode(model_inputs["input_ids"], model_inputs["attention_mask"])
        return _without_past(self, {"input_ids": model_inputs["decoder_input_ids"], **encoded})

    def prompts(
        self, input_ids: ArrayLike | None, attention_mask: ArrayLike | None, config: GenerationConfig
    ) -> Prompts:
        ids, mask = self._ids_and_mask(input_ids, attention_mask, config)
        limit = self.max_total_tokens
        self._check_room(1, config.max_total_length(1, max_positions=limit) - 1)
        start = _start(len(ids), config)
        return Prompts(
            steps=DecoderSteps(self.session, encoded=self._encode(ids, mask), limit=limit),
            ids=start,
            attention_mask=np.ones_like(start),
            encoder_ids=ids,
            max_positions=limit,
        )

    def _encode(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        self.check_length(ids.shape[1])
        offered = {"input_ids": ids, "attention_mask": mask}
        feeds = {name: offered[name] for name in self.encoder.inputs}
        if "attention_mask" not in feeds and not mask.all():
            raise InputError(
                f"{self.encoder.graph.name} takes no attention_mask, and these texts are padded.",
                hint="Give texts of different lengths one by one.",
            )
        (hidden,) = self.encoder.run(feeds, [_ENCODED])
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}


def _check_axes(session: Session, static: StaticAxes) -> None:
    """Raise if a graph that generates has axes of one length, but for a batch of one text."""
    if static.tokens is None and static.batch in (None, 1):
        return
    length = f"{static.batch} texts" if static.tokens is None else f"{static.tokens} tokens"
    raise CheckpointError(
        f"{session.graph} takes exactly {length} at each step, which generation cannot keep to.",
        hint="Export it with axes of any length: torchless export MODEL OUT",
    )


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


def _without_past(model: Model, feeds: dict[str, NDArray[Any]]) -> ModelOutput:
    """Run a decoder's graph without past keys and values."""
    taken = model.session.inputs.keys() | model.session.optional_inputs.keys()
    feeds = {name: array for name, array in feeds.items() if name in taken}
    missing = model.session.inputs.keys() - feeds.keys()
    feeds |= empty_past(model.session, missing, rows=len(feeds["input_ids"]))
    names = list(model.task.outputs)
    return ModelOutput(dict(zip(names, model.session.run(feeds, names), strict=True)))

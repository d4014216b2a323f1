"""Teacher forcing: the logits of a decoder for each next token, where the tokens before are given."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.generation.decoders import DecoderSteps
from torchless.models.generative import GenerativeModel
from torchless.tokenization.tokenizer import Tokenizer
from torchless_export.source.loading import LoadedModel

__all__ = ["greedy_logits", "steps_with_past", "stepwise_logits", "teacher_forced_logits"]

_MAX_TOKENS = 8
_STEPS = 2


def greedy_logits(loaded: LoadedModel, text: str) -> tuple[list[int], NDArray[np.float32]]:
    """Answer a text with PyTorch, the likeliest token at a time.

    Args:
        loaded: The model and its tokenizer.
        text: The text; it is cut to what the model takes.

    Returns:
        The decoder's input ids, and the logits after each of them, (tokens, vocabulary).
    """
    import torch

    inputs = loaded.tokenizer(text, truncation=True, return_tensors="pt", return_token_type_ids=False)
    decoder_input_ids = [_start(loaded.model.generation_config.to_dict(), loaded.model.config.to_dict())]
    logits: list[Any] = []
    past = None
    with torch.inference_mode():
        encoder = loaded.model.get_encoder()
        # After an export, T5's encoder is configured to use a cache, which only a decoder has.
        no_cache = {"use_cache": False} if "use_cache" in signature(encoder.forward).parameters else {}
        encoded = encoder(**inputs, **no_cache)
        while len(logits) < _MAX_TOKENS:
            output = loaded.model(
                encoder_outputs=encoded,
                attention_mask=inputs["attention_mask"],
                decoder_input_ids=torch.tensor([decoder_input_ids[-1:]]),
                past_key_values=past,
                use_cache=True,
            )
            past = output.past_key_values
            logits.append(output.logits[0, -1].numpy())
            best = int(logits[-1].argmax())
            if best == loaded.model.config.eos_token_id:
                break
            decoder_input_ids.append(best)
    return decoder_input_ids[: len(logits)], np.stack(logits)


def teacher_forced_logits(
    model: GenerativeModel, tokenizer: Tokenizer, text: str, decoder_input_ids: Sequence[int] = ()
) -> NDArray[np.float32]:
    """Return the logits after each of the decoder's input ids: the first without a past, the others with it.

    Args:
        model: The exported model; its steps are those of generation.
        tokenizer: Its tokenizer.
        text: The text; it is cut to what the model takes.
        decoder_input_ids: The decoder's input ids; by default its first token alone.

    Returns:
        (tokens, vocabulary).
    """
    encoded = tokenizer([text], truncation=True, return_tensors="np")
    prompts = model.prompts(encoded["input_ids"], encoded["attention_mask"], model.generation_config)
    first = np.array([decoder_input_ids[:1]]) if decoder_input_ids else prompts.ids
    logits = [prompts.steps.begin(first, prompts.attention_mask)[0].copy()]
    logits += [prompts.steps.advance(np.array([token_id]))[0].copy() for token_id in decoder_input_ids[1:]]
    return np.stack(logits)


def steps_with_past(lengths: Sequence[int]) -> int:
    """Return how many of the last tokens of texts that share a batch are run one at a time.

    Args:
        lengths: The texts' tokens.
    """
    return min(_STEPS, min(lengths) - 1)


def stepwise_logits(model: GenerativeModel, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """Return the logits after each token of the texts of a batch: the last tokens are run with a past, one at a time.

    The past is never computed anew, as in `forward` of PyTorch.

    Args:
        model: The exported decoder; its steps are those of generation.
        texts: The token ids of each text.

    Returns:
        (tokens, vocabulary) for each text.
    """
    count = steps_with_past([len(ids) for ids in texts])
    begun = [len(ids) - count for ids in texts]
    ids, mask = (np.zeros((len(texts), max(begun)), np.int64) for _ in range(2))
    for row, (token_ids, tokens) in enumerate(zip(texts, begun, strict=True)):
        ids[row, -tokens:], mask[row, -tokens:] = token_ids[:tokens], 1
    steps = DecoderSteps(model.session, limit=model.config.max_tokens)
    first = steps.score(ids, mask)
    later = [
        steps.advance(
            np.array([token_ids[tokens + step] for token_ids, tokens in zip(texts, begun, strict=True)])
        ).copy()
        for step in range(count)
    ]
    return [
        np.concatenate([first[row, -tokens:], *(step[row : row + 1] for step in later)])
        for row, tokens in enumerate(begun)
    ]


def _start(*configurations: dict[str, Any]) -> int:
    """Return the decoder's first token, which `generate` looks for in this order."""
    names = ("decoder_start_token_id", "bos_token_id")
    found = (configuration.get(name) for name in names for configuration in configurations)
    return int(next(token for token in found if token is not None))

"""An encoder-decoder that is told what to say: its logits for each next token, where the tokens before are given."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.folder.model_folder import ModelFolder
from torchless.ort.session import Session
from torchless.tokenization.tokenizer import Tokenizer
from torchless_export.source.source import LoadedModel
from torchless_export.verification.session_hooks import ObservedSession, Observer

__all__ = ["ToldModel", "logits_of_pytorch"]

_MOST_TOKENS = 8


def logits_of_pytorch(loaded: LoadedModel, text: str) -> tuple[list[int], NDArray[np.float32]]:
    """Let PyTorch answer a text, the likeliest token at a time.

    Args:
        loaded: The model and its tokenizer.
        text: It is cut to what the model takes.

    Returns:
        What the decoder was given, which begins with its start, and the logits that each was answered with,
        (tokens, vocabulary).
    """
    import torch

    inputs = loaded.tokenizer(text, truncation=True, return_tensors="pt", return_token_type_ids=False)
    said = [_start(loaded.model.generation_config.to_dict(), loaded.model.config.to_dict())]
    logits: list[Any] = []
    past = None
    with torch.inference_mode():
        encoder = loaded.model.get_encoder()
        # The exporter asks T5's for a cache, which it has only as a decoder.
        unasked = {"use_cache": False} if "use_cache" in signature(encoder.forward).parameters else {}
        encoded = encoder(**inputs, **unasked)
        while len(logits) < _MOST_TOKENS:
            answer = loaded.model(
                encoder_outputs=encoded,
                attention_mask=inputs["attention_mask"],
                decoder_input_ids=torch.tensor([said[-1:]]),
                past_key_values=past,
                use_cache=True,
            )
            past = answer.past_key_values
            logits.append(answer.logits[0, -1].numpy())
            best = int(logits[-1].argmax())
            if best == loaded.model.config.eos_token_id:
                break
            said.append(best)
    return said[: len(logits)], np.stack(logits)


class ToldModel:
    """The two graphs of an exported encoder-decoder.

    Args:
        path: The exported folder.
        dtype: The variant.
        observer: Is told of each run of either.
    """

    def __init__(self, path: Path, dtype: str, observer: Observer) -> None:
        folder = ModelFolder(path)
        encoder, decoder = folder.encoder_and_decoder(dtype)
        self._encoder = ObservedSession(Session(encoder), observer)
        self._decoder = ObservedSession(Session(decoder), observer)
        self._tokenizer = Tokenizer.from_folder(folder)
        generation = folder.read_json("generation_config.json")
        self._start = _start(generation, folder.read_json("config.json"))

    def __call__(self, text: str, said: Sequence[int] = ()) -> NDArray[np.float32]:
        """Return the logits after each token, (tokens, vocabulary): the first without a past, and the others with it.

        Args:
            text: It is cut to what the model takes.
            said: What the decoder is given; by default its start alone.
        """
        encoded = self._tokenizer([text], truncation=True, return_tensors="np")
        mask = encoded["attention_mask"]
        (hidden,) = self._encoder.run({"input_ids": encoded["input_ids"], "attention_mask": mask})
        feeds = {
            name: np.zeros([1 if index == 0 else axis or 0 for index, axis in enumerate(tensor.shape)], tensor.dtype)
            for name, tensor in self._decoder.inputs.items()
            if name.startswith("past_key_values")
        }
        feeds |= {"encoder_attention_mask": mask, "encoder_hidden_states": hidden}
        logits = []
        for past, token in enumerate(said or [self._start]):
            feeds |= {"input_ids": np.array([[token]]), "use_cache_branch": np.array([past > 0])}
            taken = {name: array for name, array in feeds.items() if name in self._decoder.inputs}
            answer = dict(zip(self._decoder.outputs, self._decoder.run(taken), strict=True))
            logits.append(answer.pop("logits")[0, -1])
            for name, array in answer.items():
                if past == 0 or ".encoder." not in name:  # which only the first run works out
                    feeds[name.replace("present", "past_key_values")] = array
        return np.stack(logits)


def _start(*configurations: dict[str, Any]) -> int:
    """Return the decoder's first token; `generate` asks the same in this order."""
    names = ("decoder_start_token_id", "bos_token_id")
    found = (one.get(name) for name in names for one in configurations)
    return int(next(token for token in found if token is not None))

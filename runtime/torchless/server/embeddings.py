"""Embeddings, as several interfaces give them: with a prompt before each text, and compared."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from torchless.errors import InputError, OptionError, nearest
from torchless.folder.model_folder import ModelFolder
from torchless.models.pooling import declares_pooling
from torchless.pipelines.inputs import text_input
from torchless.server.models import ServedModel

__all__ = ["SimilarityInputs", "TruncationDirection", "check_some", "pools", "prompted", "similarities"]

TruncationDirection: TypeAlias = Literal["Left", "Right", "left", "right"]

_PROMPTS = "config_sentence_transformers.json"


class SimilarityInputs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Sentences to compare.

    Attributes:
        source_sentence: What the others are compared with.
        sentences: The others.
    """

    source_sentence: str
    sentences: list[str]


async def similarities(
    served: ServedModel,
    inputs: SimilarityInputs,
    options: Mapping[str, Any],
    *,
    prompt_name: str | None = None,
) -> list[float]:
    """Return the cosines of the angles between a source sentence and others.

    Args:
        served: A model of embeddings.
        inputs: The sentences.
        options: The pipeline's; without `pooling`, what the model's folder says.
        prompt_name: Which of the model's prompts comes before each sentence.

    Raises:
        InputError: There is nothing to compare, or a sentence cannot be answered.
        OptionError: There is no such option or prompt, or the folder does not say how to pool.
    """
    check_some(inputs.sentences, "sentences")
    texts = prompted(served, [inputs.source_sentence, *inputs.sentences], prompt_name)
    embeddings = np.array(
        await served.answer(texts, {"pooling": "auto", **options, "normalize": True}), np.float32
    )  # (1 + sentences, hidden)
    cosines: list[float] = (embeddings[1:] @ embeddings[0]).tolist()
    return cosines


def prompted(served: ServedModel, texts: Sequence[Any], prompt_name: str | None) -> list[Any]:
    """Return texts with one of the model's prompts before each.

    Args:
        served: The model; its prompts are in `config_sentence_transformers.json`.
        texts: Any number.
        prompt_name: None for no prompt.

    Raises:
        InputError: With a prompt, one of them is no string.
        OptionError: There is no such prompt.
    """
    if prompt_name is None:
        return list(texts)
    folder: ModelFolder = served.pipeline.model.folder
    prompts = folder.read_optional_json(_PROMPTS).get("prompts") or {}
    if prompt_name not in prompts:
        raise OptionError(f"There is no prompt {prompt_name!r}.", hint=nearest(prompt_name, prompts))
    return [f"{prompts[prompt_name]}{text_input(text)}" for text in texts]


def pools(served: ServedModel) -> bool:
    """Whether a model's graph or folder says how texts become embeddings."""
    return declares_pooling(served.pipeline.model)


def check_some(inputs: Sequence[Any], name: str) -> None:
    """Raise unless there are inputs, and no text among them is empty.

    Args:
        inputs: Of a request.
        name: What the interface calls them.

    Raises:
        InputError: There are none, or a text is empty.
    """
    if not len(inputs):
        raise InputError(f"There are no {name}.", hint="Give at least one.")
    if any(isinstance(text, str) and not text for text in inputs):
        raise InputError(f"One of the {name} is empty.", hint="Give texts with at least one character.")

"""The parts of embedding requests that several interfaces share: prompts, similarities, and a check of the inputs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from torchless.errors import InputError, OptionError, nearest
from torchless.folder.model_folder import ModelFolder
from torchless.pipelines.inputs import text_input
from torchless.server.models import ServedModel

__all__ = ["SimilarityInputs", "TruncationDirection", "add_prompt", "check_not_empty", "similarities"]

TruncationDirection: TypeAlias = Literal["Left", "Right", "left", "right"]

_PROMPTS_FILE = "config_sentence_transformers.json"


class SimilarityInputs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Sentences to compare.

    Attributes:
        source_sentence: The sentence to compare with each of `sentences`.
        sentences: The sentences.
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
    """Return the cosine similarity of the source sentence and each sentence.

    Args:
        served: A model for `feature-extraction`.
        inputs: The sentences.
        options: The options of the pipeline; without `pooling`, the pooling of the model's folder.
        prompt_name: The name of the prompt before each sentence.

    Raises:
        InputError: There are no sentences, or a sentence cannot be answered.
        LimitError: There are too many sentences.
        OptionError: There is no such option or prompt, or the folder declares no pooling.
    """
    served.check_count(inputs.sentences)
    check_not_empty(inputs.sentences, "sentences")
    texts = add_prompt(served, [inputs.source_sentence, *inputs.sentences], prompt_name)
    embeddings = np.array(
        await served.answer(texts, {"pooling": "auto", **options, "normalize": True}), np.float32
    )  # (1 + sentences, hidden)
    cosines: list[float] = (embeddings[1:] @ embeddings[0]).tolist()
    return cosines


def add_prompt(served: ServedModel, texts: Sequence[Any], prompt_name: str | None) -> list[Any]:
    """Return the texts with a prompt of the model before each text.

    Args:
        served: The model; its prompts are in `config_sentence_transformers.json`.
        texts: The texts.
        prompt_name: The name of the prompt, or None for no prompt.

    Raises:
        InputError: There is a prompt, and a text is not a string.
        OptionError: There is no such prompt.
    """
    if prompt_name is None:
        return list(texts)
    folder: ModelFolder = served.pipeline.model.folder
    prompts = folder.read_optional_json(_PROMPTS_FILE).get("prompts") or {}
    if prompt_name not in prompts:
        raise OptionError(f"There is no prompt {prompt_name!r}.", hint=nearest(prompt_name, prompts))
    return [f"{prompts[prompt_name]}{text_input(text)}" for text in texts]


def check_not_empty(inputs: Sequence[Any], name: str) -> None:
    """Raise if there are no inputs, or if a text is empty.

    Args:
        inputs: The inputs of a request.
        name: The name of the inputs in the request.

    Raises:
        InputError: There are no inputs, or a text is empty.
    """
    if not inputs:
        raise InputError(f"There are no {name}.", hint=f"Give {name}.")
    if "" in inputs:
        raise InputError(f"A text in {name} is empty.", hint="Give texts with at least one character.")

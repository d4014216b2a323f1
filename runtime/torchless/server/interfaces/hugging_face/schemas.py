"""The results of Hugging Face's interface, for the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypeAlias, TypedDict, TypeVar, Union

from torchless.generation.stopping import FinishReason
from torchless.pipelines.fill_mask import Filling
from torchless.pipelines.multiple_choice import Choice
from torchless.pipelines.question_answering import Answer
from torchless.pipelines.text_classification import Classification
from torchless.pipelines.text_ranking import RankedText
from torchless.pipelines.token_classification import Entity
from torchless.pipelines.zero_shot_classification import ZeroShotClassification
from torchless.server.interfaces.hugging_face.generated_text import Details

__all__ = ["Result"]

ResultT = TypeVar("ResultT")


class _GenerationResult(TypedDict):
    """The details of a generated text, if the request asks for them."""

    details: NotRequired[Details]
    finish_reason: NotRequired[FinishReason]
    generated_tokens: NotRequired[int]
    prompt_tokens: NotRequired[int]


class Generated(_GenerationResult):
    """A generated text; for a chat, its messages."""

    generated_text: str | list[Mapping[str, Any]]


class GeneratedTokens(_GenerationResult):
    """The token ids of a generated text."""

    generated_token_ids: list[int]


class Summary(_GenerationResult):
    """A summary."""

    summary_text: str


class SummaryTokens(_GenerationResult):
    """The token ids of a summary."""

    summary_token_ids: list[int]


class Translation(_GenerationResult):
    """A translation."""

    translation_text: str


class TranslationTokens(_GenerationResult):
    """The token ids of a translation."""

    translation_token_ids: list[int]


# A result, a list, or nested lists, as inputs and options select it.
_Nested: TypeAlias = Union[ResultT, list[ResultT | list[ResultT | list[ResultT]]]]  # noqa: UP007 - an alias with a type variable

Result: TypeAlias = Union[  # noqa: UP007 - Litestar cannot name a `|` union
    _Nested[Classification],
    _Nested[Entity],
    _Nested[Answer],
    _Nested[Filling],
    _Nested[ZeroShotClassification],
    _Nested[RankedText],
    _Nested[Choice],
    _Nested[Generated],
    _Nested[GeneratedTokens],
    _Nested[Summary],
    _Nested[SummaryTokens],
    _Nested[Translation],
    _Nested[TranslationTokens],
    list[float],
    list[list[float]],
    list[list[list[float]]],
    list[list[list[list[float]]]],
]
"""A result of any task."""

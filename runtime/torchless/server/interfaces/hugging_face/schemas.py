"""What Hugging Face's interface answers with, task by task, as the document says it."""

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


class _Written(TypedDict):
    """How a text came about, if asked."""

    details: NotRequired[Details]
    finish_reason: NotRequired[FinishReason]
    generated_tokens: NotRequired[int]
    prompt_tokens: NotRequired[int]


class Generated(_Written):
    """A text that was generated; of a chat, its messages."""

    generated_text: str | list[Mapping[str, Any]]


class GeneratedTokens(_Written):
    """The tokens of one."""

    generated_token_ids: list[int]


class Summary(_Written):
    """A summary."""

    summary_text: str


class SummaryTokens(_Written):
    """The tokens of one."""

    summary_token_ids: list[int]


class Translation(_Written):
    """A translation."""

    translation_text: str


class TranslationTokens(_Written):
    """The tokens of one."""

    translation_token_ids: list[int]


# One, a list, or lists of lists, as inputs and options make it.
_Nested: TypeAlias = Union[ResultT, list[ResultT | list[ResultT | list[ResultT]]]]  # noqa: UP007 - an alias of a variable

Result: TypeAlias = Union[  # noqa: UP007 - Litestar cannot name the other kind
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
"""The results of every task."""

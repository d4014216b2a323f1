"""The requests and responses of text-embeddings-inference's interface."""

from typing import Any

import msgspec

from torchless.server.embeddings import SimilarityInputs, TruncationDirection

__all__ = [
    "DecodeRequest",
    "EmbedAllRequest",
    "EmbedRequest",
    "Info",
    "PredictRequest",
    "Prediction",
    "Rank",
    "RerankRequest",
    "SimilarityParameters",
    "SimilarityRequest",
    "SimpleToken",
    "TokenizeRequest",
    "TruncatedRequest",
]


class TruncatedRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields that several requests share.

    Attributes:
        truncate: Truncate a text that is too long; otherwise it is an error.
        truncation_direction: The end of the text to remove, right or left.
    """

    truncate: bool | None = None
    truncation_direction: TruncationDirection = "Right"


class EmbedRequest(TruncatedRequest, kw_only=True):
    """Texts to embed.

    Attributes:
        inputs: A text, or a list of texts.
        normalize: Scale embeddings to length 1.
        prompt_name: The name of the model's prompt before each text.
        truncate: Truncate a text that is too long; otherwise it is an error.
        truncation_direction: The end of the text to remove, right or left.
    """

    inputs: str | list[str]
    normalize: bool = True
    prompt_name: str | None = None


class EmbedAllRequest(TruncatedRequest, kw_only=True):
    """Texts to embed, with an embedding for each token.

    Attributes:
        inputs: A text, or a list of texts.
        prompt_name: The name of the model's prompt before each text.
        truncate: Truncate a text that is too long; otherwise it is an error.
        truncation_direction: The end of the text to remove, right or left.
    """

    inputs: str | list[str]
    prompt_name: str | None = None


class SimilarityParameters(TruncatedRequest, kw_only=True):
    """The parameters of a comparison.

    Attributes:
        prompt_name: The name of the model's prompt before each text.
        truncate: Truncate a text that is too long; otherwise it is an error.
        truncation_direction: The end of the text to remove, right or left.
    """

    prompt_name: str | None = None


class SimilarityRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Sentences to compare.

    Attributes:
        inputs: The sentences.
        parameters: The parameters.
    """

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class PredictRequest(TruncatedRequest, kw_only=True):
    """Texts to classify.

    Attributes:
        inputs: A text; a pair of texts as a list of two texts; or a list of lists with one or two texts each.
        raw_scores: Return the logits of the model.
        truncate: Truncate a text that is too long; otherwise it is an error.
        truncation_direction: The end of the text to remove, right or left.
    """

    inputs: str | list[str | list[str]]
    raw_scores: bool = False


class Prediction(msgspec.Struct, kw_only=True):
    """A label with its score."""

    score: float
    label: str


class RerankRequest(TruncatedRequest, kw_only=True):
    """Texts to rank.

    Attributes:
        query: The query.
        texts: The texts.
        raw_scores: Return the logits of the model, not scores from 0 to 1.
        return_text: Return each text with its score.
        truncate: Truncate a text that is too long; otherwise it is an error.
        truncation_direction: The end of the text to remove, right or left.
    """

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Rank(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The index of a text in the request, with its score."""

    index: int
    text: str | None = None
    score: float


class TokenizeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to tokenize.

    Attributes:
        inputs: A text, or a list of texts.
        add_special_tokens: Add the special tokens of the model.
        prompt_name: The name of the model's prompt before each text.
    """

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class SimpleToken(msgspec.Struct, kw_only=True):
    """A token: its id, its text, and the place of its text in characters. A special token has no place."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Token ids to turn into texts.

    Attributes:
        ids: The token ids of a text, or a list of such lists.
        skip_special_tokens: Leave out the special tokens of the model.
    """

    ids: list[int | list[int]]
    skip_special_tokens: bool = True


class Info(msgspec.Struct, kw_only=True):
    """The description of a model, with the field names of text-embeddings-inference."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[str, dict[str, Any]]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool = False
    tokenization_workers: int = 1
    version: str
    sha: str | None = None
    docker_label: str | None = None

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
    """What the requests to a model share.

    Attributes:
        truncate: Cut a text that is too long; otherwise it is an error.
        truncation_direction: The end that is cut, right or left.
    """

    truncate: bool | None = None
    truncation_direction: TruncationDirection = "Right"


class EmbedRequest(TruncatedRequest, kw_only=True):
    """Texts to embed.

    Attributes:
        inputs: A text, or a list of texts.
        normalize: Scale embeddings to length 1.
        prompt_name: Which of the model's prompts comes before each text.
        truncate: Cut a text that is too long; otherwise it is an error.
        truncation_direction: What is cut, the right end or the left.
    """

    inputs: str | list[str]
    normalize: bool = True
    prompt_name: str | None = None


class EmbedAllRequest(TruncatedRequest, kw_only=True):
    """Texts whose tokens to embed, one by one.

    Attributes:
        inputs: A text, or a list of texts.
        prompt_name: Which of the model's prompts comes before each text.
        truncate: Cut a text that is too long; otherwise it is an error.
        truncation_direction: What is cut, the right end or the left.
    """

    inputs: str | list[str]
    prompt_name: str | None = None


class SimilarityParameters(TruncatedRequest, kw_only=True):
    """How sentences are compared.

    Attributes:
        prompt_name: Which of the model's prompts comes before each text.
        truncate: Cut a text that is too long; otherwise it is an error.
        truncation_direction: What is cut, the right end or the left.
    """

    prompt_name: str | None = None


class SimilarityRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Sentences to compare, and how.

    Attributes:
        inputs: The sentences.
        parameters: How.
    """

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class PredictRequest(TruncatedRequest, kw_only=True):
    """Texts to classify.

    Attributes:
        inputs: A text; a pair of texts as a list of two; or a list of lists, each of one text or of two.
        raw_scores: Give the model's own scores.
        truncate: Cut a text that is too long; otherwise it is an error.
        truncation_direction: What is cut, the right end or the left.
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
        query: What they are to answer.
        texts: The texts.
        raw_scores: Give the model's own scores, not those from 0 to 1.
        return_text: Repeat each text.
        truncate: Cut a text that is too long; otherwise it is an error.
        truncation_direction: What is cut, the right end or the left.
    """

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Rank(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The place of a text among those of a request, with its score."""

    index: int
    text: str | None = None
    score: float


class TokenizeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to turn into tokens.

    Attributes:
        inputs: A text, or a list of texts.
        add_special_tokens: Add the model's own.
        prompt_name: Which of the model's prompts comes before each text.
    """

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class SimpleToken(msgspec.Struct, kw_only=True):
    """A token: its id, the text that it stands for, and where that is, in characters; a special one is nowhere."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Tokens to turn into texts.

    Attributes:
        ids: The ids of a text's tokens, or a list of such lists.
        skip_special_tokens: Leave the model's own tokens out.
    """

    ids: list[int | list[int]]
    skip_special_tokens: bool = True


class Info(msgspec.Struct, kw_only=True):
    """What a server says of one of its models, by text-embeddings-inference's names."""

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

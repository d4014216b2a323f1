"""The requests and responses of OpenAI's interface."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from torchless.server.openapi import ModelNamed

__all__ = [
    "Chat",
    "ChatChoice",
    "ChatMessage",
    "ChatRequest",
    "Completion",
    "CompletionRequest",
    "Embedding",
    "Embeddings",
    "EmbeddingsRequest",
    "EmbeddingsUsage",
    "GenerationRequest",
    "ModelCard",
    "Models",
    "TextChoice",
    "Usage",
]

FinishReason = Literal["stop", "length"]
Token = Annotated[int, Meta(ge=0, lt=2**31)]


class ModelCard(Struct, kw_only=True):
    """A model that is served."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "torchless"


class Models(Struct, kw_only=True):
    """All of them."""

    data: list[ModelCard]
    object: Literal["list"] = "list"


class EmbeddingsRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to embed: a text, texts, the tokens of a text, or those of texts.

    Attributes:
        model: The name of a model; without effect where the path names one.
        input: Tokens are those of this model's tokenizer, and read as the text that they stand for.
        encoding_format: Lists of numbers, or float32 in base64.
        dimensions: Keep so many of each embedding's dimensions, the first, and scale them to length 1.
        user: Accepted, and without effect.
    """

    model: ModelNamed | None = None
    input: str | list[str | Token | list[Token]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None


class Embedding(Struct, kw_only=True):
    """One embedding."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingsUsage(Struct, kw_only=True):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Struct, kw_only=True):
    """The embeddings of a request."""

    model: str
    data: list[Embedding]
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """How to stream.

    Attributes:
        include_usage: End with a chunk that has no choices, but the usage.
        include_obfuscation: Accepted, and without effect.
    """

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What completions and chats have in common.

    Attributes:
        model: The name of a model; without effect where the path names one.
        max_tokens: How many tokens may be generated.
        temperature: 0 takes the likeliest tokens; above it, they are drawn.
        top_p: Draw among the likeliest that together have this probability.
        n: How many answers to give; more than one are drawn, and not streamed.
        stop: Texts that end an answer, and are no part of it.
        seed: What makes draws repeatable.
        logit_bias: What is added to the score of a token, by its id.
        stream: Send the answer while it is written.
        stream_options: How.
        frequency_penalty: Only 0 is possible.
        presence_penalty: Only 0 is possible.
        user: Accepted, and without effect.
    """

    model: ModelNamed | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=4)]
        | None
    ) = None
    seed: Annotated[int, Meta(ge=0)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    user: str | None = None

    @property
    def stops(self) -> list[str]:
        """The texts that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(GenerationRequest, kw_only=True, forbid_unknown_fields=True):
    """What to continue: a text, texts, the tokens of a text, or those of texts.

    Attributes:
        prompt: As `input` of embeddings.
        echo: Begin each answer with its prompt.
        best_of: Only the value of `n` is possible.
        logprobs: Not possible.
        suffix: Not possible.
    """

    prompt: str | list[str | Token | list[Token]]
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None
    suffix: str | None = None


class ChatRequest(GenerationRequest, kw_only=True, forbid_unknown_fields=True):
    """A chat to answer.

    Attributes:
        messages: Each with a role and its content, a text or parts that are texts.
        max_completion_tokens: `max_tokens`, by its newer name.
        chat_template_kwargs: What else the model's template reads, for example `{"enable_thinking": false}`.
        response_format: Only text is possible.
        logprobs: Not possible.
        top_logprobs: Not possible.
        tools: Not possible.
        tool_choice: Only `none` is possible.
        functions: Not possible.
        function_call: Only `none` is possible.
        modalities: Only text is possible.
        audio: Not possible.
        prediction: Accepted, and without effect; as is all that follows.
        parallel_tool_calls: Of a model that calls no tools.
        metadata: Of a store that is none.
        store: The same.
        service_tier: There is one.
        safety_identifier: As `user`.
        prompt_cache_key: As `user`.
    """

    messages: list[dict[str, Any]]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    function_call: str | dict[str, Any] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class Usage(Struct, kw_only=True):
    """How many tokens were read, and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TextChoice(Struct, kw_only=True):
    """One continuation, or a piece of it."""

    index: int
    text: str
    finish_reason: FinishReason | None
    logprobs: None = None


class Completion(Struct, kw_only=True):
    """The continuations of a request, or pieces of them."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET
    object: Literal["text_completion"] = "text_completion"


class ChatMessage(Struct, kw_only=True):
    """What the assistant says, or a piece of it."""

    content: str | UnsetType | None = UNSET
    role: Literal["assistant"] | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChatChoice(Struct, kw_only=True):
    """One answer, or a piece of it."""

    index: int
    finish_reason: FinishReason | None
    message: ChatMessage | UnsetType = UNSET
    delta: ChatMessage | UnsetType = UNSET
    logprobs: None = None


class Chat(Struct, kw_only=True):
    """The answers to a chat, or pieces of them."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage | UnsetType | None = UNSET
    object: Literal["chat.completion", "chat.completion.chunk"] = "chat.completion"

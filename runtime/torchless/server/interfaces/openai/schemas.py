"""The requests and responses of OpenAI's interface."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from torchless.server.openapi import ModelNameField

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
Stop = Annotated[str, Meta(min_length=1, max_length=1024)]


class ModelCard(Struct, kw_only=True):
    """A model of the server."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "torchless"


class Models(Struct, kw_only=True):
    """The models of the server."""

    data: list[ModelCard]
    object: Literal["list"] = "list"


class EmbeddingsRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts to embed.

    Attributes:
        model: The name of a model; without effect if the path names a model.
        input: A text, a list of texts, the token ids of a text, or a list of such lists. Token ids are turned into
            their text.
        encoding_format: `float` for lists of numbers, or `base64` for float32 in base64.
        dimensions: The number of dimensions to keep of each embedding, which is then scaled to length 1.
        user: Accepted, but without effect.
    """

    model: ModelNameField | None = None
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
    """The number of tokens of the inputs."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(Struct, kw_only=True):
    """The embeddings of a request."""

    model: str
    data: list[Embedding]
    usage: EmbeddingsUsage
    object: Literal["list"] = "list"


class StreamOptions(Struct, kw_only=True, forbid_unknown_fields=True):
    """The options of a stream.

    Attributes:
        include_usage: Send a last chunk that has the usage, and no choices.
        include_obfuscation: Accepted, but without effect.
    """

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields that completions and chats share.

    Attributes:
        model: The name of a model; without effect if the path names a model.
        max_tokens: The maximum number of generated tokens.
        temperature: 0 selects the likeliest tokens; a higher value samples tokens.
        top_p: Sample from the likeliest tokens that together have this probability.
        n: The number of answers; more than 1 needs sampling, and cannot be streamed.
        stop: Texts that end an answer, and are not part of it.
        seed: The seed of the sampling.
        logit_bias: The value to add to the logit of a token, by token id.
        stream: Send the answer while it is generated.
        stream_options: The options of the stream.
        frequency_penalty: Only 0 is possible.
        presence_penalty: Only 0 is possible.
        user: Accepted, but without effect.
    """

    model: ModelNameField | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=4)] | None = None
    seed: Annotated[int, Meta(ge=0)] | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1024)] | None = None
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
    """Prompts to continue.

    Attributes:
        prompt: A text, a list of texts, the token ids of a text, or a list of such lists.
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
        messages: The messages, each with a role and a content, which is a text or a list of text parts.
        max_completion_tokens: The newer name of `max_tokens`.
        chat_template_kwargs: More variables of the model's chat template, for example `{"enable_thinking": false}`.
        response_format: Only text is possible.
        logprobs: Not possible.
        top_logprobs: Not possible.
        tools: Not possible.
        tool_choice: Only `none` is possible.
        functions: Not possible.
        function_call: Only `none` is possible.
        modalities: Only text is possible.
        audio: Not possible.
        prediction: Accepted, but without effect.
        parallel_tool_calls: Accepted, but without effect.
        metadata: Accepted, but without effect.
        store: Accepted, but without effect.
        service_tier: Accepted, but without effect.
        safety_identifier: Accepted, but without effect.
        prompt_cache_key: Accepted, but without effect.
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
    """The numbers of tokens of the prompts and of the answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TextChoice(Struct, kw_only=True):
    """The continuation of a prompt, or a piece of it."""

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
    """A message of the assistant, or a piece of it."""

    content: str | UnsetType | None = UNSET
    role: Literal["assistant"] | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChatChoice(Struct, kw_only=True):
    """An answer to a chat, or a piece of it."""

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

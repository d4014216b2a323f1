"""The options and the inputs of a pipeline for the requests of OpenAI's interface."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from msgspec import Struct

from torchless.errors import InputError
from torchless.server.interfaces.openai.errors import ParameterError
from torchless.server.interfaces.openai.schemas import ChatRequest, CompletionRequest, GenerationRequest
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["chat_options", "completion_options", "messages_of"]

_COMPLETION_TOKENS = 16  # the default of `max_tokens` for a completion
_MIN_TEMPERATURE = 1e-5  # a division by less would overflow the scores
_MAX_TOKEN_ID_DIGITS = 9
_TEMPLATE_OPTIONS = frozenset(signature(Tokenizer.apply_chat_template).parameters)


def completion_options(request: CompletionRequest) -> dict[str, Any]:
    """Return the options of `text-generation` for a completion.

    Raises:
        OptionError: A value of the request is not possible.
    """
    _refuse(request, {"logprobs": None, "suffix": None, "best_of": request.n or 1})
    return _options(request) | {"max_new_tokens": request.max_tokens or _COMPLETION_TOKENS}


def chat_options(request: ChatRequest, *, max_tokens: int | None) -> dict[str, Any]:
    """Return the options of `text-generation` for a chat.

    Args:
        request: The request.
        max_tokens: The maximum number of tokens of the model, if it has a limit. Without a limit in the request, the
            chat and its answer may have this length.

    Raises:
        OptionError: A value of the request is not possible.
    """
    _refuse(
        request,
        {
            "logprobs": False,
            "top_logprobs": 0,
            "tools": [],
            "tool_choice": "none",
            "functions": [],
            "function_call": "none",
            "modalities": ["text"],
            "audio": None,
            "response_format": {"type": "text"},
        },
    )
    options = _options(request) | {"continue_final_message": False}
    for name in request.chat_template_kwargs or {}:
        if name in _TEMPLATE_OPTIONS:
            raise ParameterError(
                f"chat_template_kwargs has {name!r}, which is an option of the tokenizer, not a variable of templates.",
                hint=f"Leave {name} out.",
                parameter="chat_template_kwargs",
            )
    if request.chat_template_kwargs:
        options["tokenizer_encode_kwargs"] = request.chat_template_kwargs
    tokens = request.max_completion_tokens or request.max_tokens
    if tokens is None and max_tokens is not None:
        return options | {"max_new_tokens": None, "max_length": max_tokens}
    return options if tokens is None else options | {"max_new_tokens": tokens}


def messages_of(request: ChatRequest) -> list[dict[str, Any]]:
    """Return the messages of a chat as templates read them: contents are texts, and the role developer is system.

    Raises:
        InputError: There are no messages, or a content is not a text.
    """
    if not request.messages:
        raise InputError("The chat has no messages.", hint='Give [{"role": "user", "content": "…"}].')
    messages = []
    for message in request.messages:
        role = "system" if message.get("role") == "developer" else message.get("role")
        messages.append({**message, "role": role, "content": _content(message.get("content"))})
    return messages


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InputError(f"The content of a message is {content!r}.", hint="Give a string.")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InputError(f"A message has the part {part!r}, which is not a text.", hint="Give only texts.")
    return "".join(part["text"] for part in content)


def _options(request: GenerationRequest) -> dict[str, Any]:
    _refuse(request, {"frequency_penalty": 0, "presence_penalty": 0})
    temperature = 1.0 if request.temperature is None else request.temperature
    top_p = 1.0 if request.top_p is None else request.top_p
    do_sample = temperature > _MIN_TEMPERATURE and top_p > 0
    answers = request.n or 1
    if answers > 1 and (request.stream or not do_sample):
        raise ParameterError(
            f"n={answers} is not possible here.",
            hint="Leave n out, or give a temperature above 0 and leave stream out.",
            parameter="n",
        )
    return {
        "do_sample": do_sample,
        "temperature": temperature if do_sample else 1.0,
        "top_p": top_p if do_sample else 1.0,
        "top_k": 0,
        "num_beams": 1,
        "num_return_sequences": answers,
        "seed": request.seed,
        "stop_strings": request.stops or None,
        "sequence_bias": _biases(request.logit_bias),
        "clean_up_tokenization_spaces": False,
        "return_full_text": False,
        "return_details": True,
    }


def _biases(biases: Mapping[str, float] | None) -> list[tuple[list[int], float]] | None:
    for token in biases or {}:
        if not (token.isascii() and token.isdigit() and len(token) <= _MAX_TOKEN_ID_DIGITS):
            raise ParameterError(
                f"logit_bias has the key {token!r}, which is not a token id.",
                hint='Give token ids: {"50256": -100}',
                parameter="logit_bias",
            )
    return [([int(token)], bias) for token, bias in biases.items()] if biases else None


def _refuse(request: Struct, possible: Mapping[str, Any]) -> None:
    """Raise if a field has a value other than its only possible value."""
    for name, neutral in possible.items():
        value = getattr(request, name)
        if value is not None and value != neutral:
            raise ParameterError(f"{name}={value!r} is not possible here.", hint=f"Leave {name} out.", parameter=name)

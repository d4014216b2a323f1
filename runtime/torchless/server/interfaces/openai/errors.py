"""The error body and the statuses of OpenAI's interface."""

from msgspec import Struct

from torchless.errors import InputError, OptionError, TaskError
from torchless.server.errors import STATUSES, ErrorInfo

__all__ = ["OPENAI_STATUSES", "OpenAIError", "OpenAIErrorDetails", "ParameterError", "openai_error"]

# OpenAI's API, and other servers with this interface, answer 400, not 422, to a value that is not possible.
OPENAI_STATUSES = {**STATUSES, InputError: 400, OptionError: 400, TaskError: 400}

_TYPES = {408: "timeout_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


class OpenAIErrorDetails(Struct, kw_only=True):
    """The details of an error.

    Attributes:
        message: What is wrong, and what to do about it.
        type: OpenAI's type of the error.
        param: The name of the wrong parameter, if one parameter is wrong.
        code: The kind of error, in one word.
    """

    message: str
    type: str
    param: str | None = None
    code: str


class OpenAIError(Struct, kw_only=True):
    """The error body of OpenAI's interface."""

    error: OpenAIErrorDetails


class ParameterError(OptionError):
    """The value of a request's parameter is not possible.

    Args:
        problem: What is wrong, with the value.
        hint: What to give instead.
        parameter: The name of the parameter.
    """

    def __init__(self, problem: str, *, hint: str, parameter: str) -> None:
        super().__init__(problem, hint=hint)
        self.parameter = parameter


def openai_error(info: ErrorInfo) -> OpenAIError:
    """Return the error body of OpenAI's interface."""
    fallback = "server_error" if info.status >= 500 else "invalid_request_error"
    code = _CODES.get(info.status, info.name)
    if not info.has_route:
        code = "unknown_url" if info.status == 404 else info.name
    details = OpenAIErrorDetails(
        message=info.text,
        type=_TYPES.get(info.status, fallback),
        param=info.parameter or ("model" if info.status == 404 else None),
        code=code,
    )
    return OpenAIError(error=details)

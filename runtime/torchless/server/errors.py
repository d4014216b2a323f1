"""What errors are over HTTP: one table of statuses, and the body of each interface's family."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from traceback import format_tb
from typing import Any

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, ExceptionHandlersMap, Message, Receive, Scope, Send

from torchless.errors import (
    AccessError,
    ClosingError,
    DeadlineError,
    InputError,
    LimitError,
    OptionError,
    OverloadedError,
    TaskError,
    TorchlessError,
    UnknownModelError,
)

__all__ = [
    "Problem",
    "exception_handlers",
    "hugging_face",
    "inference_protocol",
    "openai",
    "problem_of",
    "text_embeddings",
]

_LOGGER = logging.getLogger(__name__)

# In what msgspec says of a body that is not of its shape: `input[1]`, or a message.
_NAME = re.compile(r"(\w+)")
_FIELD = re.compile(r"(?:unknown|required) field `(\w+)`")

# A request that is no JSON, or not of the shape that the interface declares, is a 400: Litestar says so itself.
_STATUSES: Mapping[type[TorchlessError], int] = {
    AccessError: 401,
    UnknownModelError: 404,
    DeadlineError: 408,
    LimitError: 413,
    InputError: 422,
    OptionError: 422,
    TaskError: 422,
    OverloadedError: 429,
    ClosingError: 503,
}
_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1", "Connection": "close"},
}
_NAMES: Mapping[int, str] = {
    400: "malformed",
    401: "access",
    404: "not_found",
    405: "method",
    408: "timeout",
    413: "limit",
    422: "invalid",
    429: "overloaded",
    503: "closing",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong.

    Attributes:
        status: Of HTTP.
        what: With the value that is wrong.
        hint: What to do about it, or nothing.
        parameter: Of the request, the one that is wrong, where it is one.
    """

    status: int
    what: str
    hint: str = ""
    parameter: str | None = None

    @property
    def name(self) -> str:
        """The kind of problem, in a word."""
        return _NAMES.get(self.status, "failed" if self.status >= 500 else "refused")

    @property
    def text(self) -> str:
        """Both, in a line."""
        return f"{self.what} {self.hint}".strip()


def hugging_face(problem: Problem) -> dict[str, Any]:
    """Return the body of Hugging Face's interface, and of whatever has none of its own."""
    return {"error": problem.text, "error_type": problem.name}


_TEXT_EMBEDDINGS = {
    401: "unauthorized",
    413: "validation",
    422: "validation",
    424: "backend",
    429: "overloaded",
    503: "unhealthy",
}


def text_embeddings(problem: Problem) -> dict[str, Any]:
    """Return the body of text-embeddings-inference's interface."""
    fallback = "backend" if problem.status >= 500 else "validation"
    return {"error": problem.text, "error_type": _TEXT_EMBEDDINGS.get(problem.status, fallback)}


_OPENAI_TYPES = {408: "timeout_error", 429: "rate_limit_error"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def openai(problem: Problem) -> dict[str, Any]:
    """Return the body of OpenAI's interface."""
    fallback = "server_error" if problem.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": problem.text,
            "type": _OPENAI_TYPES.get(problem.status, fallback),
            "param": problem.parameter or ("model" if problem.status == 404 else None),
            "code": _OPENAI_CODES.get(problem.status, problem.name),
        }
    }


def inference_protocol(problem: Problem) -> dict[str, Any]:
    """Return the body of the Open Inference Protocol."""
    return {"error": problem.text}


def exception_handlers(
    body: Callable[[Problem], dict[str, Any]], *, statuses: Mapping[type[TorchlessError], int] | None = None
) -> ExceptionHandlersMap:
    """Return what answers a router's errors.

    Args:
        body: From a problem to the body that the interface's clients read.
        statuses: Where the interface has others than the table.
    """
    table = {**_STATUSES, **(statuses or {})}

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        problem = problem_of(error, table)
        if problem.status >= 500 and not isinstance(error, TorchlessError):
            where = "".join(format_tb(error.__traceback__))  # not what it says, which may quote the request
            _LOGGER.error("%s %s failed: %s\n%s", request.method, request.url.path, type(error).__name__, where)
        declared = error.headers if isinstance(error, HTTPException) else None  # the methods of a 405
        headers = {**(declared or {}), **_HEADERS.get(problem.status, {})}
        return Response(body(problem), status_code=problem.status, headers=headers, media_type=MediaType.JSON)

    return {Exception: answer, HTTPException: answer}


class Refusals(ASGIMiddleware):
    """Answers the errors of the middleware within it as the route's own are, so that what is around it sees the answer."""

    scopes = ("http",)  # type: ignore[assignment]

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on, and answer what refuses it."""
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await next_app(scope, receive, noticed)
        except TorchlessError as error:
            if begun:  # too late for another answer: the connection ends
                raise
            request: Request[Any, Any, Any] = Request(scope, receive, send)
            response = scope["route_handler"].resolve_exception_handlers()[Exception](request, error)
            await response.to_asgi_response(app=None, request=request)(scope, receive, send)


def problem_of(error: Exception, statuses: Mapping[type[TorchlessError], int] = _STATUSES) -> Problem:
    """Return what an error is over HTTP.

    Args:
        error: Whatever was raised; what this library did not raise on purpose is told to the log alone.
        statuses: The table.
    """
    if isinstance(error, TorchlessError):
        status = next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), 500)
        return Problem(status, error.problem, error.hint, getattr(error, "parameter", None))
    if isinstance(error, HTTPException):
        return Problem(error.status_code, _detail(error), parameter=_parameter(error))
    return Problem(500, "The server failed at this request.", "Its log says why.")


def _detail(error: HTTPException) -> str:
    places = "; ".join(f"{one.get('key', '')}: {one.get('message', '')}".strip(": ") for one in _places(error))
    return f"{error.detail} ({places})" if places else str(error.detail)


def _parameter(error: HTTPException) -> str | None:
    """Return the field of a body that is not of its shape: `data` is the body itself, whose message names the field."""
    for place in _places(error):
        key = place.get("key", "")
        if named := _FIELD.search(place.get("message", "")) if key == "data" else _NAME.match(key):
            return named[1]
    return None


def _places(error: HTTPException) -> list[dict[str, Any]]:
    return error.extra if isinstance(error.extra, list) else []

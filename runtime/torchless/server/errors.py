"""What errors are over HTTP: one table of statuses, and the body of each interface's family."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from traceback import format_tb
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, ExceptionHandlersMap, Message, Receive, Scope, Send

from torchless.errors import (
    AccessError,
    ClosingError,
    DeadlineError,
    InputError,
    LimitError,
    LoadingError,
    OptionError,
    OverloadedError,
    TaskError,
    TorchlessError,
    UnknownModelError,
)

__all__ = [
    "STATUS_DESCRIPTIONS",
    "ErrorInfo",
    "InferenceProtocolError",
    "NamedError",
    "OpenAIError",
    "OpenAIProblem",
    "answered_ready",
    "error_info",
    "exception_handlers",
    "hugging_face",
    "inference_protocol",
    "openai",
    "statuses_with",
    "text_embeddings",
    "took_longer",
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
    LoadingError: 503,
    ClosingError: 503,
}
_GONE = 499  # nginx's: nobody reads it, but what counts requests sees it
_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1", "Connection": "close"},
}
STATUS_DESCRIPTIONS: Mapping[int, str] = {
    400: "The request is malformed, or asks for what is not possible.",
    401: "The key is missing or wrong.",
    404: "There is no such model.",
    408: "The request took too long.",
    413: "The request has more than the server takes, or an input that is not possible.",
    422: "An input or an option is not possible.",
    424: "The model is for something else.",
    429: "As much is under way as may be: ask again after `Retry-After` seconds.",
    500: "The server failed at this request.",
    503: "The server is about to stop.",
}
"""What each status says, for the document."""

_NOTHING = NotFoundException().detail  # what Litestar says where there is no path
_NAMES: Mapping[int, str] = {
    400: "malformed",
    401: "access",
    404: "not_found",
    405: "method",
    408: "timeout",
    413: "limit",
    422: "invalid",
    429: "overloaded",
    503: "unavailable",
}


@dataclass(frozen=True, slots=True)
class ErrorInfo:
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


class NamedError(msgspec.Struct, kw_only=True):
    """What went wrong.

    Attributes:
        error: In words, with what to do about it.
        error_type: In one word.
    """

    error: str
    error_type: str


class OpenAIProblem(msgspec.Struct, kw_only=True):
    """What went wrong.

    Attributes:
        message: In words, with what to do about it.
        type: What kind of error OpenAI has for it.
        param: The parameter that is wrong, where one is.
        code: In one word.
    """

    message: str
    type: str
    param: str | None = None
    code: str


class OpenAIError(msgspec.Struct, kw_only=True):
    """An error as OpenAI's clients read it."""

    error: OpenAIProblem


class InferenceProtocolError(msgspec.Struct, kw_only=True):
    """An error as clients of the Open Inference Protocol read it.

    Attributes:
        error: What went wrong, in words, with what to do about it.
    """

    error: str


def hugging_face(problem: ErrorInfo) -> NamedError:
    """Return the body of Hugging Face's interface, and of whatever has none of its own."""
    return NamedError(error=problem.text, error_type=problem.name)


_TEXT_EMBEDDINGS = {
    401: "unauthorized",
    413: "validation",
    422: "validation",
    424: "backend",
    429: "overloaded",
    503: "unhealthy",
}


def text_embeddings(problem: ErrorInfo) -> NamedError:
    """Return the body of text-embeddings-inference's interface."""
    fallback = "backend" if problem.status >= 500 else "validation"
    return NamedError(error=problem.text, error_type=_TEXT_EMBEDDINGS.get(problem.status, fallback))


_OPENAI_TYPES = {408: "timeout_error", 429: "rate_limit_error"}
_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def openai(problem: ErrorInfo) -> OpenAIError:
    """Return the body of OpenAI's interface."""
    fallback = "server_error" if problem.status >= 500 else "invalid_request_error"
    return OpenAIError(
        error=OpenAIProblem(
            message=problem.text,
            type=_OPENAI_TYPES.get(problem.status, fallback),
            param=problem.parameter or ("model" if problem.status == 404 else None),
            code=_OPENAI_CODES.get(problem.status, problem.name),
        )
    )


def inference_protocol(problem: ErrorInfo) -> InferenceProtocolError:
    """Return the body of the Open Inference Protocol."""
    return InferenceProtocolError(error=problem.text)


def _openai_without_route(problem: ErrorInfo) -> OpenAIError:
    told = openai(problem)
    told.error.code = "unknown_url" if problem.status == 404 else problem.name
    return told


_OF_PATHS = {"/v1/": _openai_without_route, "/v2/": inference_protocol}


def _of_path(path: str) -> Callable[[ErrorInfo], Any]:
    """Return the body of the interface that a path would be of, where no route takes it."""
    return _OF_PATHS.get(path[:4], hugging_face)


def statuses_with(others: Mapping[type[TorchlessError], int] | None) -> Mapping[type[TorchlessError], int]:
    """Return the table of statuses, with an interface's own in place of some."""
    return {**_STATUSES, **(others or {})}


def exception_handlers(
    body: Callable[[ErrorInfo], Any] | None = None, *, statuses: Mapping[type[TorchlessError], int] | None = None
) -> ExceptionHandlersMap:
    """Return what answers errors.

    Args:
        body: From a problem to the body that the interface's clients read; by default as the path says.
        statuses: Where the interface has others than the table.
    """
    table = statuses_with(statuses)

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        problem = _without_route(request, error) or error_info(error, table)
        if problem.status >= 500 and not isinstance(error, TorchlessError):
            where = "".join(format_tb(error.__traceback__))  # not what it says, which may quote the request
            _LOGGER.error("%s %s failed: %s\n%s", request.method, request.url.path, type(error).__name__, where)
        declared = error.headers if isinstance(error, HTTPException) else None  # the methods of a 405
        headers = {**(declared or {}), **_HEADERS.get(problem.status, {})}
        shown = body or _of_path(request.url.path)
        return Response(shown(problem), status_code=problem.status, headers=headers, media_type=MediaType.JSON)

    return {Exception: answer, HTTPException: answer}


def answered_ready(body: Any, *, taken: bool) -> Response[Any]:
    """Return what answers whether requests are taken.

    Args:
        body: Of the interface.
        taken: Whether they are: if not, the status and the headers are those of a request that is not.
    """
    return Response(body) if taken else Response(body, status_code=503, headers=_HEADERS[503])


def took_longer(seconds: float) -> DeadlineError:
    """Return the error of a request that was not answered within so many seconds."""
    return DeadlineError(f"The request took longer than {seconds:g} s.", hint="Ask for less, or ask again later.")


class ErrorMiddleware(ASGIMiddleware):
    """Answers the errors of the middleware within it as the route's own are, so that what is around it sees the answer.

    Where there is none since the client has gone, that is what it sees.
    """

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
            return
        if not begun:
            await send({"type": "http.response.start", "status": _GONE, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_info(error: Exception, statuses: Mapping[type[TorchlessError], int] = _STATUSES) -> ErrorInfo:
    """Return what an error is over HTTP.

    Args:
        error: Whatever was raised; what this library did not raise on purpose is told to the log alone.
        statuses: The table.
    """
    if isinstance(error, TorchlessError):
        status = next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), 500)
        return ErrorInfo(status, error.problem, error.hint, getattr(error, "parameter", None))
    if isinstance(error, HTTPException):
        return ErrorInfo(error.status_code, _detail(error), parameter=_parameter(error))
    return ErrorInfo(500, "The server failed at this request.", "Its log says why.")


def _without_route(request: Request[Any, Any, Any], error: Exception) -> ErrorInfo | None:
    """Return what is wrong where no route takes a request."""
    if isinstance(error, MethodNotAllowedException):
        allowed = (error.headers or {}).get("allow", "")
        return ErrorInfo(405, f"The method {request.method} is not possible here.", f"Possible: {allowed}.")
    if isinstance(error, NotFoundException) and error.detail == _NOTHING:
        return ErrorInfo(404, f"There is nothing at {request.url.path!r}.", "/docs shows what there is.")
    return None


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

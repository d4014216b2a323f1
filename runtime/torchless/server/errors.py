"""Errors over HTTP: the status of each error, the handlers that answer errors, and the default error body."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import format_tb
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, ExceptionHandlersMap, Message, Receive, Scope, Send

from torchless.errors import ClosingError, InputError, OptionError, TaskError, TorchlessError
from torchless.server.exceptions import (
    AccessError,
    DeadlineError,
    LimitError,
    LoadingError,
    MediaTypeError,
    OverloadedError,
    UnknownModelError,
)
from torchless.server.request_body import discard

__all__ = [
    "STATUSES",
    "STATUS_DESCRIPTIONS",
    "ErrorBody",
    "ErrorInfo",
    "ErrorMiddleware",
    "NamedError",
    "error_info",
    "exception_handlers",
    "named_error",
    "readiness_response",
    "without_folder",
]

_LOGGER = logging.getLogger(__name__)

# How msgspec names the wrong part of a body: `input[1]`, or a field.
_NAME = re.compile(r"(\w+)")
_FIELD = re.compile(r"(?:unknown|required) field `(\w+)`")

# Litestar answers 400 if the body is not JSON, or does not have the declared shape.
STATUSES: Mapping[type[TorchlessError], int] = {
    AccessError: 401,
    UnknownModelError: 404,
    DeadlineError: 408,
    LimitError: 413,
    MediaTypeError: 415,
    InputError: 422,
    OptionError: 422,
    TaskError: 422,
    OverloadedError: 429,
    LoadingError: 503,
    ClosingError: 503,
}
"""The HTTP status of each error; an interface may have other statuses."""

STATUS_DESCRIPTIONS: Mapping[int, str] = {
    400: "The request is malformed, or a value in it is not possible.",
    401: "The key is missing or wrong.",
    404: "There is no such model.",
    408: "The request took too long.",
    413: "The request is larger than the server accepts, or an input is not possible.",
    415: "The body is not declared as JSON, or has an encoding that the server does not read.",
    422: "An input or an option is not possible.",
    424: "The model is for another task.",
    429: "The server has as much work as it accepts: try again after `Retry-After` seconds.",
    500: "The server failed to answer this request.",
    503: "The server is loading its models, or is about to stop.",
}
"""The meaning of each status, for the OpenAPI document."""

_MAX_CHARACTERS = 2000  # of a problem
_CLIENT_CLOSED_REQUEST = 499  # nginx's status, for the metrics and the access log: the client has disconnected
_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1", "Connection": "close"},
}
_NO_ROUTE = NotFoundException().detail  # Litestar's message if no route has the path
_NAMES: Mapping[int, str] = {
    400: "malformed",
    401: "access",
    404: "not_found",
    405: "method",
    408: "timeout",
    413: "limit",
    415: "media_type",
    422: "invalid",
    429: "overloaded",
    503: "unavailable",
}


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """The content of an error, before an interface makes its error body from it.

    Attributes:
        status: The HTTP status.
        problem: What is wrong, with the value.
        hint: What to do about it, or an empty string.
        parameter: The name of the wrong parameter, if one parameter is wrong.
        has_route: Whether a route has the path and the method of the request.
    """

    status: int
    problem: str
    hint: str = ""
    parameter: str | None = None
    has_route: bool = True

    @property
    def name(self) -> str:
        """The kind of error, in one word."""
        return _NAMES.get(self.status, "failed" if self.status >= 500 else "refused")

    @property
    def text(self) -> str:
        """The problem and the hint, in one line."""
        return f"{self.problem} {self.hint}".strip()


ErrorBody = Callable[[ErrorInfo], Any]
"""Returns the error body of an interface."""


class NamedError(msgspec.Struct, kw_only=True):
    """An error.

    Attributes:
        error: What is wrong, and what to do about it.
        error_type: The kind of error, in one word.
    """

    error: str
    error_type: str


def named_error(info: ErrorInfo) -> NamedError:
    """Return the error body of Hugging Face's interface, and of routes without an interface."""
    return NamedError(error=info.text, error_type=info.name)


def exception_handlers(
    body_of_path: Callable[[str], ErrorBody], *, statuses: Mapping[type[TorchlessError], int] = STATUSES
) -> ExceptionHandlersMap:
    """Return the handlers that answer errors.

    Args:
        body_of_path: Returns the error body of a path's interface.
        statuses: The status of each error.
    """

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        info = _without_paths(_no_route_info(request, error) or error_info(error, statuses), request)
        if info.status >= 500 and not isinstance(error, TorchlessError):
            trace = "".join(format_tb(error.__traceback__))  # without the message, which may quote the request
            _LOGGER.error("%s %s failed: %s\n%s", request.method, request.url.path, type(error).__name__, trace)
        allowed = error.headers if isinstance(error, HTTPException) else None  # the methods, for the status 405
        headers = {**(allowed or {}), **_HEADERS.get(info.status, {})}
        body = body_of_path(request.url.path)(info)
        return Response(body, status_code=info.status, headers=headers, media_type=MediaType.JSON)

    return {Exception: answer, HTTPException: answer}


def readiness_response(body: Any, *, ready: bool) -> Response[Any]:
    """Return the response of a readiness probe.

    Args:
        body: The body of the interface.
        ready: Whether requests are accepted. If not, the response has the status 503 and its headers.
    """
    return Response(body) if ready else Response(body, status_code=503, headers=_HEADERS[503])


class ErrorMiddleware(ASGIMiddleware):
    """Answers the errors of inner middleware with the route's error body, so that outer middleware sees a response.

    If the client has disconnected and there is no response, outer middleware sees the status 499.
    """

    scopes = ("http",)  # type: ignore[assignment]

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on, and answer its error."""
        started, is_read = False, False

        async def receive_and_note() -> Any:
            nonlocal is_read
            message: Any = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await next_app(scope, receive_and_note, send_and_note)
        except TorchlessError as error:
            if started:  # a second response is not possible: the connection ends
                raise
            if not is_read:
                await discard(receive)
            request: Request[Any, Any, Any] = Request(scope, receive, send)
            response = scope["route_handler"].resolve_exception_handlers()[Exception](request, error)
            await response.to_asgi_response(app=None, request=request)(scope, receive, send)
            return
        if not started:
            await send({"type": "http.response.start", "status": _CLIENT_CLOSED_REQUEST, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def error_info(error: Exception, statuses: Mapping[type[TorchlessError], int] = STATUSES) -> ErrorInfo:
    """Return the content of an error.

    Args:
        error: Any exception. Clients see no details of an unexpected exception: the log has them.
        statuses: The status of each error.
    """
    if isinstance(error, TorchlessError):
        status = next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), 500)
        return ErrorInfo(status, _cut(error.problem), _cut(error.hint), getattr(error, "parameter", None))
    if isinstance(error, HTTPException):
        wrong_parts = error.extra if isinstance(error.extra, list) else []
        return ErrorInfo(error.status_code, _cut(_detail(error.detail, wrong_parts)), parameter=_parameter(wrong_parts))
    return ErrorInfo(500, "The server failed to answer this request.", "The log of the server has the reason.")


def without_folder(info: ErrorInfo, name: str, folder: Path) -> ErrorInfo:
    """Return the content of an error with the name of a model instead of the path of its folder.

    Args:
        info: The content.
        name: The name of the model.
        folder: The folder of the model.
    """
    for path in {str(folder.resolve()), str(folder.absolute())}:
        info = replace(info, problem=info.problem.replace(path, name), hint=info.hint.replace(path, name))
    return info


def _without_paths(info: ErrorInfo, request: Request[Any, Any, Any]) -> ErrorInfo:
    """Return the content of an error with the names of models instead of their folders."""
    loading = request.app.state.loading
    if loading.loaded:
        for name in loading.registry.names:
            info = without_folder(info, name, loading.registry[name].folder)
    return info


def _no_route_info(request: Request[Any, Any, Any], error: Exception) -> ErrorInfo | None:
    """Return the content of the error if no route has the path and the method of a request."""
    if isinstance(error, MethodNotAllowedException):
        allowed = (error.headers or {}).get("allow", "")
        problem = f"The method {request.method} is not possible for this path."
        return ErrorInfo(405, problem, f"Use one of: {allowed}.", has_route=False)
    if isinstance(error, NotFoundException) and error.detail == _NO_ROUTE:
        problem = _cut(f"There is nothing at {request.url.path!r}.")
        return ErrorInfo(404, problem, "See /docs for the paths.", has_route=False)
    return None


def _cut(text: str) -> str:
    """Return a text without its middle, if it is long: it may quote the request."""
    half = _MAX_CHARACTERS // 2
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def _detail(detail: str, wrong_parts: list[dict[str, Any]]) -> str:
    parts = "; ".join(f"{part.get('key', '')}: {part.get('message', '')}".strip(": ") for part in wrong_parts)
    return f"{detail} ({parts})" if parts else detail


def _parameter(wrong_parts: list[dict[str, Any]]) -> str | None:
    """Return the field that has the wrong shape. If the key is `data`, the whole body, the message names the field."""
    for part in wrong_parts:
        key = part.get("key", "")
        if match := _FIELD.search(part.get("message", "")) if key == "data" else _NAME.match(key):
            return match[1]
    return None

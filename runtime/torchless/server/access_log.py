"""The access log: one line for each request, with times, sizes and the status; with the body only for `--log-inputs`."""

import sys
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal

import msgspec
from litestar.types import ASGIApp, Message, Receive, Send

__all__ = ["AccessLog"]


class AccessLog:
    """Writes a line to standard error after each response, or after the client has disconnected.

    Args:
        app: The application.
        log_format: `json` for lines of JSON, `text` for lines of text.
        models: The model names that may appear in the log. A client can put any text in the place of a name.
    """

    def __init__(self, app: ASGIApp, log_format: Literal["json", "text"], *, models: Container[str]) -> None:
        self._app = app
        self._models = models
        self._format = _FORMATS[log_format]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass a request on, and write its line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        status, size = 0, 0

        async def send_and_count(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_count)
        finally:
            model = scope.get("path_params", {}).get("name")
            state = scope["state"]
            entry = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "method": scope["method"],
                "path": scope.get("path_template"),
                "model": model if model in self._models else None,
                "status": status,
                "milliseconds": round(1000 * (perf_counter() - start), 2),
                "request_bytes": state.get("body_bytes", 0),
                "response_bytes": size,
            }
            if "body" in state:  # only with --log-inputs
                entry["body"] = state["body"].decode(errors="replace")
            with suppress(OSError):  # nobody reads the log any more
                sys.stderr.write(self._format(entry) + "\n")


def _text_line(entry: Mapping[str, Any]) -> str:
    line = (
        f"{entry['time']} {entry['method']} {entry['path']} {entry['status']} {entry['milliseconds']} ms "
        f"{entry['request_bytes']} B in {entry['response_bytes']} B out"
    )
    return f"{line} {entry['body']!r}" if "body" in entry else line


_FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "json": lambda entry: msgspec.json.encode(entry).decode(),
    "text": _text_line,
}

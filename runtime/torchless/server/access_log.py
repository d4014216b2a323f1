"""A line for each request: sizes, times and the answer's status; of what was asked nothing, unless that is wanted."""

import sys
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AccessLog"]


class AccessLog:
    """Writes a line to standard error once a request is answered, or its client has gone.

    Args:
        app: What answers.
        log_format: `json` for a JSON object a line, `text` for words.
        models: The names that may be written: others are the client's own words.
    """

    def __init__(self, app: ASGIApp, log_format: Literal["json", "text"], *, models: Container[str]) -> None:
        self._app = app
        self._models = models
        self._line = _FORMATS[log_format]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write its line."""
        known: Mapping[str, Any] = scope  # to which the application adds what it finds out, if it knows the path
        if known["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        status, size = 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            model = known.get("path_params", {}).get("name")
            state = known["state"]
            entry = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "method": known["method"],
                "path": known.get("path_template"),
                "model": model if model in self._models else None,
                "status": status,
                "milliseconds": round(1000 * (perf_counter() - begun), 2),
                "request_bytes": state.get("body_bytes", 0),
                "response_bytes": size,
            }
            if "body" in state:  # asked for, by --log-inputs
                entry["body"] = state["body"].decode(errors="replace")
            sys.stderr.write(self._line(entry) + "\n")


def _as_text(entry: dict[str, Any]) -> str:
    line = (
        f"{entry['time']} {entry['method']} {entry['path']} {entry['status']} {entry['milliseconds']} ms "
        f"{entry['request_bytes']} B in {entry['response_bytes']} B out"
    )
    return f"{line} {entry['body']!r}" if "body" in entry else line


def _as_json(entry: dict[str, Any]) -> str:
    return msgspec.json.encode(entry).decode()


_FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {"json": _as_json, "text": _as_text}

"""The parts of an HTTP interface: its routes, its error body, and its statuses."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from torchless.errors import OptionError, TorchlessError
from torchless.server.errors import STATUS_DESCRIPTIONS, STATUSES, ErrorBody, exception_handlers, named_error

__all__ = ["Interface", "check_no_template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Routes that share an error body and the statuses of errors.

    Attributes:
        name: The name in the OpenAPI document.
        handlers: The routes. A route with `opt={"public": True}` needs no key.
        error_body: Returns the body of an error.
        statuses: The status of each error.
        path: The prefix of its paths, if no other interface has it. An unknown path with this prefix gets this error
            body.
    """

    name: str
    handlers: Sequence[HTTPRouteHandler]
    error_body: ErrorBody = named_error
    statuses: Mapping[type[TorchlessError], int] = field(default_factory=lambda: STATUSES)
    path: str | None = None

    def router(self) -> Router:
        """Return the routes, each with its possible errors."""
        error_type = get_type_hints(self.error_body)["return"]
        handlers = []
        for handler in map(copy, self.handlers):
            errors = {
                status: ResponseSpec(error_type, description=STATUS_DESCRIPTIONS[status])
                for status in self._error_statuses(handler)
            }
            handler.responses = {**errors, **(handler.responses or {})}
            if handler.opt.get("public"):
                handler.security = [{}]
            handlers.append(handler)
        return Router(
            "/",
            route_handlers=handlers,
            exception_handlers=exception_handlers(lambda _: self.error_body, statuses=self.statuses),
            tags=[self.name],
        )

    def _error_statuses(self, handler: HTTPRouteHandler) -> Iterator[int]:
        if "POST" in handler.http_methods:
            yield from sorted({400, 500, *self.statuses.values()})
            return
        if not handler.opt.get("public"):
            yield 401
        if any("{" in path for path in handler.paths):
            yield from (400, 404)


def check_no_template(options: Mapping[str, Any]) -> None:
    """Raise if a request has options of the tokenizer: one of them is the chat template, and a template is a program.

    Args:
        options: The options of the request.

    Raises:
        OptionError: The request has such options.
    """
    if options.get("tokenizer_encode_kwargs"):
        raise OptionError(
            "tokenizer_encode_kwargs is not possible over HTTP.", hint="Leave tokenizer_encode_kwargs out."
        )

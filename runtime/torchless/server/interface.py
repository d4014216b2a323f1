"""An interface: routes whose errors have one shape, and the statuses that each of them has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, get_type_hints

from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from torchless.errors import OptionError, TorchlessError
from torchless.server.errors import STATUS_DESCRIPTIONS, ErrorInfo, exception_handlers, statuses_with

__all__ = ["check_no_template", "interface"]


def interface(
    tag: str,
    handlers: Sequence[HTTPRouteHandler],
    body: Callable[[ErrorInfo], Any],
    *,
    statuses: Mapping[type[TorchlessError], int] | None = None,
) -> Router:
    """Return the routes of an interface, with the errors that each may answer with.

    Args:
        tag: What the document calls it.
        handlers: Its routes. `opt={"public": True}` makes one answer without a key.
        body: From a problem to the body that the interface's clients read.
        statuses: Where the interface has others than the table.
    """
    kind = get_type_hints(body)["return"]
    routes = []
    for handler in map(copy, handlers):
        errors = {
            status: ResponseSpec(kind, description=STATUS_DESCRIPTIONS[status]) for status in _errors(handler, statuses)
        }
        handler.responses = {**errors, **(handler.responses or {})}
        if handler.opt.get("public"):
            handler.security = [{}]
        routes.append(handler)
    return Router(
        "/", route_handlers=routes, exception_handlers=exception_handlers(body, statuses=statuses), tags=[tag]
    )


def check_no_template(options: Mapping[str, Any]) -> None:
    """Raise if a request's options bring what the tokenizer is called with: a chat template among it is a program.

    Raises:
        OptionError: They do.
    """
    if options.get("tokenizer_encode_kwargs"):
        raise OptionError("tokenizer_encode_kwargs are not taken over HTTP.", hint="Leave tokenizer_encode_kwargs out.")


def _errors(handler: HTTPRouteHandler, statuses: Mapping[type[TorchlessError], int] | None) -> Iterator[int]:
    """Yield the statuses of a route's errors."""
    if "POST" in handler.http_methods:
        yield from sorted({400, 500, *statuses_with(statuses).values()})
        return
    if not handler.opt.get("public"):
        yield 401
    if any("{" in path for path in handler.paths):
        yield from (400, 404)

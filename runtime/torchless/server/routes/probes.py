"""Probes: whether the process lives, and whether it takes requests."""

from typing import Any

from litestar import Request, Response, Router, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from torchless.server.errors import MEANINGS, hugging_face
from torchless.server.interface import interface

__all__ = ["router"]


class Health(Struct):
    """How the process is: it answers."""

    status: str = "ok"


class Ready(Struct):
    """Whether requests are taken."""

    ready: bool


@get("/health", opt={"public": True}, sync_to_thread=False)
def health() -> Health:
    """Say that the process lives."""
    return Health()


@get(
    "/ready",
    opt={"public": True},
    responses={503: ResponseSpec(Ready, description=MEANINGS[503])},
    sync_to_thread=False,
)
def ready(request: Request[Any, Any, Any]) -> Response[Ready]:
    """Say whether requests are taken: every model is loaded, and the server is not about to stop."""
    taken = not request.app.state.admission.closed
    return Response(Ready(taken), status_code=200 if taken else 503)


def router() -> Router:
    """Return the routes."""
    return interface("Probes", [health, ready], hugging_face)

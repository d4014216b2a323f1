"""Probes: whether the process lives, and whether it takes requests."""

from litestar import Response, Router, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from torchless.server.errors import STATUS_DESCRIPTIONS, answered_ready, hugging_face
from torchless.server.interface import interface
from torchless.server.server_request import ServerRequest

__all__ = ["router"]


class Health(Struct):
    """How the process is: it answers."""

    status: str = "ok"


class Ready(Struct, kw_only=True, omit_defaults=True):
    """Whether requests are taken.

    Attributes:
        ready: Whether they are.
        loading: The names of the models that are still loaded.
    """

    ready: bool
    loading: list[str] = []


@get("/health", opt={"public": True}, sync_to_thread=False)
def health() -> Health:
    """Say that the process lives."""
    return Health()


@get(
    "/ready",
    opt={"public": True},
    responses={503: ResponseSpec(Ready, description=STATUS_DESCRIPTIONS[503])},
    sync_to_thread=False,
)
def ready(request: ServerRequest) -> Response[Ready]:
    """Say whether requests are taken: every model is loaded, and the server is not about to stop."""
    taken = request.answerable
    return answered_ready(Ready(ready=taken, loading=list(request.app.state.loading.missing)), taken=taken)


def router() -> Router:
    """Return the routes."""
    return interface("Probes", [health, ready], hugging_face)

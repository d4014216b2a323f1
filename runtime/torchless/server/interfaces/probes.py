"""Probes: whether the process lives, and whether it takes requests."""

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from torchless.server.errors import STATUS_DESCRIPTIONS, readiness_response
from torchless.server.interface import Interface
from torchless.server.server_request import ServerRequest

__all__ = ["INTERFACE"]


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
    body = Ready(ready=request.is_ready, loading=list(request.app.state.loading.missing))
    return readiness_response(body, ready=request.is_ready)


INTERFACE = Interface(name="Probes", handlers=[health, ready])

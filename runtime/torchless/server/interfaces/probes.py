"""The probes: `/health` for a running process, `/ready` for a server that accepts requests."""

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from torchless.server.errors import STATUS_DESCRIPTIONS, readiness_response
from torchless.server.interface import Interface
from torchless.server.server_request import ServerRequest

__all__ = ["INTERFACE"]


class Health(Struct):
    """The state of the process."""

    status: str = "ok"


class Ready(Struct, kw_only=True, omit_defaults=True):
    """The state of the server.

    Attributes:
        ready: Whether requests are accepted.
        loading: The names of the models that are not loaded yet.
    """

    ready: bool
    loading: list[str] = []


@get("/health", opt={"public": True}, sync_to_thread=False)
def health() -> Health:
    """Return the state of the process: it runs."""
    return Health()


@get(
    "/ready",
    opt={"public": True},
    responses={503: ResponseSpec(Ready, description=STATUS_DESCRIPTIONS[503])},
    sync_to_thread=False,
)
def ready(request: ServerRequest) -> Response[Ready]:
    """Return whether requests are accepted: all models are loaded, and the server is not about to stop."""
    body = Ready(ready=request.is_ready, loading=list(request.app.state.loading.missing))
    return readiness_response(body, ready=request.is_ready)


INTERFACE = Interface(name="Probes", handlers=[health, ready])

"""The application: routes, who may ask, limits, and what happens before the first request and after the last."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hmac import compare_digest

import numpy as np
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.middleware import ASGIMiddleware
from litestar.serialization import encode_json
from litestar.types import ASGIApp, Receive, Scope, Send

from torchless.server.concurrency_limiter import ConcurrencyLimiter
from torchless.server.errors import ErrorBody, ErrorMiddleware, exception_handlers, named_error
from torchless.server.exceptions import AccessError
from torchless.server.interface import Interface
from torchless.server.interfaces import documentation, probes
from torchless.server.interfaces.hugging_face import routes as hugging_face
from torchless.server.interfaces.inference_protocol import routes as inference_protocol
from torchless.server.interfaces.openai import routes as openai
from torchless.server.interfaces.playground import routes as playground
from torchless.server.interfaces.text_embeddings import routes as text_embeddings
from torchless.server.loading import Loading
from torchless.server.metrics import REQUESTS, MetricsController, count_unrouted
from torchless.server.openapi import Schemas, complete, openapi_config
from torchless.server.request_limits import RequestLimits
from torchless.server.server_request import ServerRequest
from torchless.server.settings import Settings
from torchless.server.traces import traces

__all__ = ["create_app"]

_INTERFACES: Sequence[Interface] = (
    hugging_face.INTERFACE,
    text_embeddings.INTERFACE,
    openai.INTERFACE,
    inference_protocol.INTERFACE,
    playground.INTERFACE,
    probes.INTERFACE,
)


def create_app(settings: Settings) -> Litestar:
    """Return what serves models, before it has them.

    Handlers ask their `ServerRequest` for what they need. `opt={"public": True}` makes one answer without a key. Litestar's
    `app.state` holds `loading`, which somebody must begin, `limiter`, `settings`, and `document`, OpenAPI's.

    Args:
        settings: What to serve, and how.

    Raises:
        MissingExtraError: Traces are asked for, and what they need is not installed.
    """
    loading = Loading(settings)
    limiter = ConcurrencyLimiter(
        max_requests=settings.max_concurrent_requests,
        max_tokens=settings.max_concurrent_requests * settings.max_batch_tokens,
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        if loading.loaded:
            loading.registry.close()

    app = Litestar(
        # Within one router: of an application's own, Litestar refuses two that answer other methods of one path.
        [
            MetricsController,
            Router("/", route_handlers=[*(interface.router() for interface in _INTERFACES), documentation.router()]),
        ],
        middleware=[
            *(traces() if settings.open_telemetry else []),
            REQUESTS.middleware,
            ErrorMiddleware(),
            *([ApiKey(settings.api_key)] if settings.api_key is not None else []),
            RequestLimits(settings, limiter),
        ],
        plugins=[Schemas()],
        exception_handlers=exception_handlers(_error_body_of),
        after_exception=[count_unrouted],
        cors_config=_cors(settings),
        lifespan=[lifespan],
        state=State({"loading": loading, "limiter": limiter, "settings": settings}),
        type_encoders={np.ndarray: np.ndarray.tolist},
        logging_config=None,
        openapi_config=openapi_config(secured=settings.api_key is not None),
        request_class=ServerRequest,
        request_max_body_size=None,  # RequestLimits knows
    )
    # The document needs no key, and the names of the models do.
    complete(app, models=list(settings.models) if settings.api_key is None else [])
    app.state.document = encode_json(app.openapi_schema.to_schema())  # now, since it takes a tenth of a second
    return app


class ApiKey(ASGIMiddleware):
    """Refuses requests without the key, but for handlers that are public.

    Args:
        key: What they must give.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, key: str) -> None:
        self._expected = f"Bearer {key}".encode()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on, or refuse it."""
        if not scope["route_handler"].opt.get("public"):
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not compare_digest(given, self._expected):
                raise AccessError(
                    "The request gives no key, or a wrong one.", hint="Give it as a header: Authorization: Bearer KEY"
                )
        await next_app(scope, receive, send)


def _error_body_of(path: str) -> ErrorBody:
    """Return the error body of the interface that a path would belong to, if a route had it."""
    bodies = (interface.error_body for interface in _INTERFACES if interface.path and path.startswith(interface.path))
    return next(bodies, named_error)


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_allow_origin:
        return None
    return CORSConfig(allow_origins=settings.cors_allow_origin, allow_headers=["Authorization", "Content-Type"])

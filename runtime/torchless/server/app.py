"""The Litestar application of the server: its routes, its middleware and its state."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hmac import compare_digest

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
from torchless.server.interfaces.inference_protocol.tensors import JSON_LENGTH
from torchless.server.interfaces.openai import routes as openai
from torchless.server.interfaces.playground import routes as playground
from torchless.server.interfaces.text_embeddings import routes as text_embeddings
from torchless.server.json_codec import TYPE_ENCODERS, write_large_response
from torchless.server.loading import Loading
from torchless.server.metrics import REQUESTS, MetricsController, count_unrouted
from torchless.server.openapi import SchemaPlugin, complete, openapi_config
from torchless.server.request_limits import TRUNCATED_HEADER, RequestLimits
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
    """Return the application that serves models. It has not loaded them: the caller must begin `app.state.loading`.

    Handlers read the models and the settings from their `ServerRequest`; a handler with `opt={"public": True}` needs no
    key. `app.state` also holds `limiter`, `settings` and `document`, which is the OpenAPI document.

    Args:
        settings: The settings of the server.

    Raises:
        MissingExtraError: The settings turn on traces, and OpenTelemetry is not installed.
    """
    loading = Loading(settings)
    limiter = ConcurrencyLimiter(
        max_requests=settings.max_concurrent_requests,
        max_tokens=settings.max_concurrent_requests * settings.max_batch_tokens,
        max_bytes=max(settings.max_buffered_bytes, settings.payload_limit),
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        yield
        if loading.loaded:
            loading.registry.close()

    app = Litestar(
        # Litestar accepts two handlers for different methods of one path only within a router.
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
        plugins=[SchemaPlugin()],
        exception_handlers=exception_handlers(_error_body_of),
        after_exception=[count_unrouted],
        after_request=write_large_response,
        cors_config=CORSConfig(
            allow_origins=settings.cors_allow_origin,
            allow_headers=["*"],  # clients of OpenAI's interface send many
            expose_headers=[TRUNCATED_HEADER, JSON_LENGTH, "Retry-After"],
        )
        if settings.cors_allow_origin
        else None,
        lifespan=[lifespan],
        state=State({"loading": loading, "limiter": limiter, "settings": settings}),
        type_encoders=TYPE_ENCODERS,
        logging_config=None,
        openapi_config=openapi_config(secured=settings.api_key is not None),
        request_class=ServerRequest,
        request_max_body_size=None,  # RequestBody has the limit
    )
    # The document is public, but the names of the models are not.
    complete(app, models=list(settings.models) if settings.api_key is None else [])
    app.state.document = encode_json(app.openapi_schema.to_schema())  # once, because it takes a tenth of a second
    return app


class ApiKey(ASGIMiddleware):
    """Refuses requests without the key, unless the handler is public.

    Args:
        key: The key of the server.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on, or refuse it."""
        if not scope["route_handler"].opt.get("public"):
            scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
            if not compare_digest(key.strip(b" "), self._key) or scheme.lower() != b"bearer":
                raise AccessError("The key is missing or wrong.", hint="Send the header Authorization: Bearer KEY")
        await next_app(scope, receive, send)


def _error_body_of(path: str) -> ErrorBody:
    """Return the error body for a path without a route: that of the interface with this prefix."""
    bodies = (interface.error_body for interface in _INTERFACES if interface.path and path.startswith(interface.path))
    return next(bodies, named_error)

"""The middleware that traces requests with OpenTelemetry."""

import os
from typing import Any

from litestar.exceptions import MissingDependencyException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Middleware, Receive, Send

from torchless.errors import MissingExtraError

__all__ = ["traces"]


def traces() -> list[Middleware]:
    """Return the middleware that makes a span for each request, with method, route and status.

    If there is no tracer provider yet (`opentelemetry-instrument` sets one), this sets one that sends the spans by OTLP
    over HTTP. The environment variables of OpenTelemetry configure it.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """
    try:
        from litestar.plugins.opentelemetry import OpenTelemetryConfig  # noqa: PLC0415 - an extra
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except (ImportError, MissingDependencyException) as error:
        raise MissingExtraError("OpenTelemetry", extra="telemetry") from error
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        attributes = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "torchless"}
        provider = TracerProvider(resource=Resource.create(attributes))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    config = OpenTelemetryConfig(scope_span_details_extractor=_span_details, exclude_spans=["receive", "send"])
    return [config.middleware, _Route(trace.get_current_span)]


class _Route(ASGIMiddleware):
    """Names the span of a request by its route, which is unknown when the span begins.

    Args:
        current_span: Returns the span of the current request.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, current_span: Any) -> None:
        self._current_span = current_span

    async def handle(self, scope: Any, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Name the span, and pass the request on."""
        span, route = self._current_span(), scope["path_template"]
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
        await next_app(scope, receive, send)


def _span_details(scope: Any) -> tuple[str, dict[str, Any]]:
    """Return the first name of a span, and its attributes: not the path, because clients can put any text into it."""
    return scope["method"], {}

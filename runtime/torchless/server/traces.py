"""Traces of requests, sent where OpenTelemetry's own variables say."""

import os
from typing import Any

from litestar.exceptions import MissingDependencyException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Middleware, Receive, Scope, Send

from torchless.errors import MissingExtraError

__all__ = ["traces"]


def traces() -> list[Middleware]:
    """Return the middleware that traces requests: a span each, with method, route and status.

    Where nobody has set a provider up, as `opentelemetry-instrument` does, one is, that sends spans by OTLP over HTTP.

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
        named = "OTEL_SERVICE_NAME" in os.environ
        provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "torchless"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    config = OpenTelemetryConfig(scope_span_details_extractor=_unrouted, exclude_spans=["receive", "send"])
    return [config.middleware, _Route(trace.get_current_span)]


class _Route(ASGIMiddleware):
    """Names a request's span by its route, which is not known yet where the span begins.

    Args:
        span: Returns it.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, span: Any) -> None:
        self._span = span

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Name the span, and pass the request on."""
        known: Any = scope
        span, route = self._span(), known["path_template"]
        span.update_name(f"{known['method']} {route}")
        span.set_attribute("http.route", route)
        await next_app(scope, receive, send)


def _unrouted(scope: Scope) -> tuple[str, dict[str, Any]]:
    """Return a span's name and attributes before the route is known: paths have names that clients choose."""
    known: Any = scope
    return known["method"], {}

"""The Prometheus metrics: Litestar counts the requests, and `ModelMetrics` counts the work of each model."""

from typing import Any

from litestar.exceptions import HTTPException
from litestar.plugins.prometheus import PrometheusConfig, PrometheusController, PrometheusMiddleware
from prometheus_client import Counter, Gauge, Histogram

from torchless.batching.queue import BatchReport, RowQueue

__all__ = ["REQUESTS", "MetricsController", "ModelMetrics", "count_unrouted"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = (8, 16, 32, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192, 16384)
_QUEUE = Histogram("torchless_queue_seconds", "Seconds that a row waited.", ["model"], buckets=_SECONDS)
_TOKENISE = Histogram("torchless_tokenise_seconds", "Seconds to tokenize a request.", ["model"], buckets=_SECONDS)
_INFERENCE = Histogram("torchless_inference_seconds", "Seconds to run a batch.", ["model"], buckets=_SECONDS)
_BATCH_TOKENS = Histogram("torchless_batch_tokens", "Tokens of a batch, with padding.", ["model"], buckets=_TOKENS)
_BATCH_ROWS = Histogram("torchless_batch_rows", "Rows of a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128))
_QUEUE_ROWS = Gauge("torchless_queue_rows", "Rows that wait.", ["model"])
_GENERATED = Counter("torchless_generated_tokens", "Generated tokens.", ["model"])


class MetricsController(PrometheusController):
    """`GET /metrics`."""

    path = "/metrics"
    include_in_schema = False


REQUESTS = PrometheusConfig(app_name="torchless", prefix="torchless", group_path=True, buckets=list(_SECONDS))
"""The metrics of requests, by method, path and status."""


async def count_unrouted(error: Exception, scope: Any) -> None:
    """Count a failed request that has no route, with an empty path: the middleware of a route cannot count it.

    Args:
        error: The error of the request.
        scope: The ASGI scope of the request.
    """
    if "path_template" not in scope and isinstance(error, HTTPException):
        labels = {
            "method": scope["method"],
            "path": "",
            "status_code": error.status_code,
            "app_name": REQUESTS.app_name,
        }
        plugin = PrometheusMiddleware(scope["litestar_app"], REQUESTS)
        plugin.request_count(labels).labels(*labels.values()).inc()


class ModelMetrics:
    """The metrics of one model.

    Args:
        name: The name of the model.
    """

    def __init__(self, name: str) -> None:
        self._queue = _QUEUE.labels(name)
        self._tokenise = _TOKENISE.labels(name)
        self._inference = _INFERENCE.labels(name)
        self._batch_tokens = _BATCH_TOKENS.labels(name)
        self._batch_rows = _BATCH_ROWS.labels(name)
        self._queue_rows = _QUEUE_ROWS.labels(name)
        self._generated = _GENERATED.labels(name)

    def count_tokenization(self, seconds: float) -> None:
        """Count a tokenized request."""
        self._tokenise.observe(seconds)

    def count_batch(self, batch: BatchReport) -> None:
        """Count a batch."""
        self._inference.observe(batch.run_s)
        self._batch_tokens.observe(batch.tokens)
        self._batch_rows.observe(batch.rows)
        for seconds in batch.waited_s:
            self._queue.observe(seconds)

    def count_generated(self, tokens: int) -> None:
        """Count generated tokens."""
        self._generated.inc(tokens)

    def watch(self, queue: RowQueue) -> None:
        """Report the size of a queue at each request for the metrics."""
        self._queue_rows.set_function(lambda: len(queue))

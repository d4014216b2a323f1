"""What Prometheus reads: Litestar counts requests, and this what happens behind them."""

from typing import Any

from litestar.exceptions import HTTPException
from litestar.plugins.prometheus import PrometheusConfig, PrometheusController, PrometheusMiddleware
from litestar.types import Scope
from prometheus_client import Counter, Gauge, Histogram

from torchless.batching.queue import BatchReport, RowQueue

__all__ = ["REQUESTS", "MetricsController", "ModelMetrics", "count_unrouted"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = (8, 16, 32, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192, 16384)
_QUEUE = Histogram("torchless_queue_seconds", "How long a row waited.", ["model"], buckets=_SECONDS)
_TOKENISE = Histogram("torchless_tokenise_seconds", "How long a request became rows.", ["model"], buckets=_SECONDS)
_INFERENCE = Histogram("torchless_inference_seconds", "How long a batch ran.", ["model"], buckets=_SECONDS)
_BATCH_TOKENS = Histogram("torchless_batch_tokens", "A batch's tokens, with padding.", ["model"], buckets=_TOKENS)
_BATCH_ROWS = Histogram("torchless_batch_rows", "A batch's rows.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128))
_SIZE = Gauge("torchless_queue_rows", "The rows that wait.", ["model"])
_GENERATED = Counter("torchless_generated_tokens", "Tokens of the texts that were written.", ["model"])


class MetricsController(PrometheusController):
    """`GET /metrics`."""

    path = "/metrics"
    include_in_schema = False


REQUESTS = PrometheusConfig(app_name="torchless", prefix="torchless", group_path=True, buckets=list(_SECONDS))
"""What counts requests, by method, path and status."""


async def count_unrouted(error: Exception, scope: Scope) -> None:
    """Count a request that failed before a route was found, whose middleware would count it: by no path.

    Args:
        error: Which failed it.
        scope: The request's.
    """
    known: Any = scope
    if "path_template" not in known and isinstance(error, HTTPException):
        labels = {
            "method": known["method"],
            "path": "",
            "status_code": error.status_code,
            "app_name": REQUESTS.app_name,
        }
        plugin = PrometheusMiddleware(known["litestar_app"], REQUESTS)
        plugin.request_count(labels).labels(*labels.values()).inc()


class ModelMetrics:
    """The metrics of one model.

    Args:
        name: Its own.
    """

    def __init__(self, name: str) -> None:
        self._queue = _QUEUE.labels(name)
        self._tokenise = _TOKENISE.labels(name)
        self._inference = _INFERENCE.labels(name)
        self._batch_tokens = _BATCH_TOKENS.labels(name)
        self._batch_rows = _BATCH_ROWS.labels(name)
        self._size = _SIZE.labels(name)
        self._generated = _GENERATED.labels(name)

    def tokenised(self, seconds: float) -> None:
        """Count a request that became rows."""
        self._tokenise.observe(seconds)

    def ran(self, batch: BatchReport) -> None:
        """Count a batch."""
        self._inference.observe(batch.run_s)
        self._batch_tokens.observe(batch.tokens)
        self._batch_rows.observe(batch.rows)
        for seconds in batch.waited_s:
            self._queue.observe(seconds)

    def generated(self, tokens: int) -> None:
        """Count tokens that were written."""
        self._generated.inc(tokens)

    def watch(self, queue: RowQueue) -> None:
        """Read the queue's size whenever it is asked for."""
        self._size.set_function(lambda: len(queue))

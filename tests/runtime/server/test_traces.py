"""Traces, sent to a collector on loopback."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from fixtures.server import serving
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@pytest.fixture
def collector():
    """The address of a collector, and the bodies that it has received."""
    bodies = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def test_a_request_is_a_span_without_its_text(sentiment, collector):
    address, bodies = collector
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with serving(f"sentiment={sentiment}", "--open-telemetry", **settings) as server:
        for inputs, status in (("a secret text", 200), (["a secret text"] * 99, 413)):
            assert httpx.post(f"{server.url}/models/sentiment", json={"inputs": inputs}).status_code == status
        deadline = time.monotonic() + 10
        while len(spans := [span for path, body in bodies for span in spans_of(path, body)]) < 2:
            assert time.monotonic() < deadline, spans
            time.sleep(0.01)
        assert server.stop() == 0
    assert [name for name, _ in spans] == ["POST /models/{name}"] * 2
    for (_, attributes), status in zip(spans, (200, 413), strict=True):
        assert (attributes["http.method"], attributes["http.route"]) == ("POST", "/models/{name}")
        assert attributes["http.status_code"] == status
    assert b"torchless" in bodies[0][1]
    assert not any(b"secret" in body for _, body in bodies)


def spans_of(path, body):
    """Yield the name and the attributes of each span."""
    assert path == "/v1/traces"
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = {item.key: item.value for item in span.attributes}
                yield span.name, {key: value.string_value or value.int_value for key, value in values.items()}

"""The metrics, as Prometheus's parser reads them."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving
from prometheus_client.parser import text_string_to_metric_families

NEW = {"min_new_tokens": 7, "max_new_tokens": 7}


@pytest.fixture(scope="module")
def client(tiny, sentiment):
    models = (f"gpt2={tiny.export('gpt2', 'text-generation')}", f"sentiment={sentiment}")
    with serving(*models, "--request-timeout-s=20") as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def scrape(client):
    """Return the values of all samples by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


@pytest.fixture
def added(client):
    """A function that returns the increase of a metric by a request."""

    def call(ask, name, **labels):
        key = (name, *sorted(labels.items()))
        before = scrape(client).get(key, 0)
        ask()
        return scrape(client).get(key, 0) - before

    return call


def requests(method, path, status):
    return {"method": method, "path": path, "status_code": str(status), "app_name": "torchless"}


@pytest.mark.parametrize(
    ("method", "path", "body", "labels"),
    [
        ("POST", "/models/sentiment", {"inputs": "a"}, requests("POST", "/models/{name}", 200)),
        ("POST", "/models/sentiment", {"inputs": 3}, requests("POST", "/models/{name}", 422)),
        ("POST", "/models/anything", {"inputs": "a"}, requests("POST", "/models/{name}", 404)),
        ("GET", "/nothing/of/this/name", None, requests("GET", "", 404)),
        ("DELETE", "/models/sentiment", None, requests("DELETE", "", 405)),
        ("GET", "/health", None, requests("GET", "/health", 200)),
    ],
)
def test_each_response_is_counted_once_without_names_of_clients(client, added, method, path, body, labels):
    assert added(lambda: client.request(method, path, json=body), "torchless_requests_total", **labels) == 1
    assert not any("anything" in str(key) or "/nothing" in str(key) for key in scrape(client))


def test_a_disconnected_client_is_not_counted_as_a_success(client, added):
    address = urlsplit(str(client.base_url))
    content = json.dumps({"inputs": "a", "parameters": {"min_new_tokens": 400, "max_new_tokens": 400}}).encode()

    def leave():
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            head = f"POST /models/gpt2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content)
        client.post("/models/gpt2", json={"inputs": "a", "parameters": NEW})  # answered after the disconnected request

    labels = requests("POST", "/models/{name}", 499)
    assert added(leave, "torchless_requests_total", **labels) == 1


@pytest.mark.parametrize(
    ("parameters", "tokens"),
    [
        (NEW, 7),
        ({**NEW, "details": True}, 7),
        ({**NEW, "do_sample": True, "num_return_sequences": 3}, 21),
        ({**NEW, "num_beams": 3, "num_return_sequences": 2}, 14),
    ],
    ids=str,
)
def test_generated_tokens_are_counted(client, added, parameters, tokens):
    body = {"inputs": "A film of quiet power", "parameters": parameters}
    ask = lambda: client.post("/models/gpt2", json=body).raise_for_status()  # noqa: E731
    assert added(ask, "torchless_generated_tokens_total", model="gpt2") == tokens


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/gpt2", {"inputs": "a", "stream": True, "parameters": NEW}),
        (
            "/v1/completions",
            {"model": "gpt2", "prompt": "a", "stream": True, "max_tokens": 7, "logit_bias": {"1": -100}},
        ),
    ],
)
def test_generated_tokens_of_streams_are_counted(client, added, path, body):
    token_counts = []

    def ask():
        lines = client.post(path, json=body).raise_for_status().text.splitlines()
        events = [json.loads(line.partition(":")[2]) for line in lines if line.startswith("data:") and "{" in line]
        token_counts.append(events[-1].get("details", {}).get("generated_tokens"))

    assert added(ask, "torchless_generated_tokens_total", model="gpt2") == 7
    assert token_counts in ([7], [None])


@pytest.mark.parametrize(
    ("name", "added_by_two"),
    [
        ("torchless_tokenise_seconds_count", 1),
        ("torchless_queue_seconds_count", 2),
        ("torchless_batch_rows_sum", 2),
        ("torchless_batch_tokens_sum", 6),
        ("torchless_queue_rows", 0),
    ],
)
def test_rows_and_batches_are_counted(client, added, name, added_by_two):
    ask = lambda: client.post("/models/sentiment", json={"inputs": ["a", "b"]}).raise_for_status()  # noqa: E731
    assert added(ask, name, model="sentiment") == added_by_two


def test_times_are_plausible(client, added):
    ask = lambda: client.post("/models/sentiment", json={"inputs": "a"}).raise_for_status()  # noqa: E731
    for name in ("tokenise", "queue", "inference"):
        assert 0 < added(ask, f"torchless_{name}_seconds_sum", model="sentiment") < 5

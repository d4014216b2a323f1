"""A server that listens while it loads its models."""

import signal
import time
from contextlib import contextmanager

import httpx
import pytest
from fixtures.server import serving

# A program that waits for a file before it loads a model in a folder `late`.
GATED = """
import os, time
from torchless.cli import main
from torchless.server import registry

load = registry.pipeline

def gated(task, folder, **options):
    while folder.endswith("late") and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    return load(task, folder, **options)

registry.pipeline = gated
main()
"""
CHAT = {"model": "late", "messages": [{"role": "user", "content": "a"}]}


@contextmanager
def loading(sentiment, folder):
    """Serve two models; the loading of the second waits for `folder / "gate"`."""
    (folder / "late").symlink_to(sentiment)
    models = (f"sentiment={sentiment}", f"late={folder / 'late'}")
    with (
        serving(*models, program=GATED, ready=False, GATE=str(folder / "gate")) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        deadline = time.monotonic() + 30
        while (got := client.get("/ready")).json().get("loading") != ["late"]:
            assert time.monotonic() < deadline, got.text
            time.sleep(0.01)
        yield server, client


@pytest.fixture(scope="module")
def client(sentiment, tmp_path_factory):
    """A client of a server that never loads its second model."""
    with loading(sentiment, tmp_path_factory.mktemp("loading")) as (_, client):
        yield client


@pytest.mark.parametrize("path", ["/health", "/v2/health/live", "/metrics", "/docs", "/openapi.json", "/"])
def test_routes_without_a_model_answer_while_models_load(client, path):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "read_error"),
    [
        ("POST", "/models/late", {"inputs": "a"}, lambda body: body["error"]),
        ("POST", "/models/unknown", {"inputs": "a"}, lambda body: body["error"]),
        ("POST", "/embed", {"inputs": "a"}, lambda body: body["error"] * (body["error_type"] == "unhealthy")),
        ("POST", "/v1/chat/completions", CHAT, lambda body: body["error"]["message"]),
        ("GET", "/v1/models", None, lambda body: body["error"]["message"]),
        ("GET", "/models", None, lambda body: body["error"]),
        ("GET", "/v2/models/sentiment/ready", None, lambda body: body["error"]),
        ("GET", "/info", None, lambda body: body["error"]),
    ],
)
def test_routes_with_a_model_answer_503_while_models_load(client, method, path, body, read_error):
    got = client.request(method, path, json=body)
    assert (got.status_code, got.headers["retry-after"]) == (503, "1")
    assert "still loads late" in read_error(got.json())


@pytest.mark.parametrize(
    ("path", "ready"), [("/ready", {"ready": False, "loading": ["late"]}), ("/v2/health/ready", {"ready": False})]
)
def test_the_server_is_not_ready_while_models_load(client, path, ready):
    got = client.get(path)
    assert (got.status_code, got.headers["retry-after"], got.json()) == (503, "1", ready)


def test_the_server_is_ready_after_all_models_are_loaded(sentiment, tmp_path):
    with loading(sentiment, tmp_path) as (server, client):
        (tmp_path / "gate").touch()
        assert server.process.stdout.readline() == f"torchless serves sentiment, late on {server.url}\n"
        assert (client.get("/ready").status_code, client.get("/ready").json()) == (200, {"ready": True})
        assert client.get("/v2/models/late/ready").status_code == 200
        assert client.post("/models/late", json={"inputs": "a"}).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_loading_at_once(sentiment, tmp_path, number):
    with loading(sentiment, tmp_path) as (server, _):
        server.process.send_signal(number)
        assert server.process.wait(timeout=5) == 0
        assert server.process.stdout.read() == ""


def test_a_model_that_cannot_be_loaded_stops_the_server(sentiment, tmp_path):
    with serving(f"sentiment={sentiment}", tmp_path / "nothing", ready=False) as server:
        assert server.process.wait(timeout=30) == 1
        assert server.process.stdout.read() == ""
    errors = "".join(server.errors)
    assert "There is no folder" in errors
    assert "torchless export" in errors
    assert "Traceback" not in errors

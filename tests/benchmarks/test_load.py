"""The client for load tests: requests over keep-alive connections."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from benchmarks.load import Load, LoadError, Post


class UppercaseHandler(BaseHTTPRequestHandler):
    """Answers a text in capitals, and rejects an empty text."""

    protocol_version = "HTTP/1.1"
    connections: ClassVar[set[object]] = set()

    def do_POST(self):
        self.connections.add(self.client_address)
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        body = json.dumps([{"path": self.path, "text": text.upper()}]).encode()
        self.send_response(200 if text else 422)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body), 7):  # an answer may come in parts
            self.wfile.write(body[start : start + 7])

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def port():
    """The port of a server with the handler."""
    UppercaseHandler.connections = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), UppercaseHandler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_answers_have_the_order_of_the_texts(port):
    texts = [f"text {number}" for number in range(50)]
    with Load(port, "/a/b", connections=4) as load:
        answers = load.answers(texts)
        assert answers == [[{"path": "/a/b", "text": text.upper()}] for text in texts]
        assert load.answers(["again"]) == [[{"path": "/a/b", "text": "AGAIN"}]]
    assert len(UppercaseHandler.connections) == 4


def test_a_single_text_has_a_separate_connection(port):
    with Load(port, "/a", connections=4) as load:
        assert [load.answer(text) for text in "ab"] == [[{"path": "/a", "text": text}] for text in "AB"]
        assert len(UppercaseHandler.connections) == 1
        with pytest.raises(LoadError, match="422"):
            load.answer("")


def test_idle_connections_are_opened_again(port, monkeypatch):
    monkeypatch.setattr("benchmarks.load._MAX_IDLE_S", 0)
    with Load(port, "/", connections=1) as load:
        for _ in range(2):
            load.answers(["a"])
    assert len(UppercaseHandler.connections) == 2


def test_a_rejection_is_an_error_with_the_answer(port):
    with Load(port, "/", connections=2) as load, pytest.raises(LoadError, match=r"422 .*\"text\": \"\""):
        load.answers(["a", ""])


def test_a_client_can_disconnect_and_a_request_can_expect_a_rejection(port):
    def post(text, **expected):
        return Post(path="/", body=json.dumps({"inputs": text}).encode(), **expected)

    posts = [post("a"), post("b", disconnects=True), post("", status=422), post("c")]
    with Load(port, connections=1) as load:
        bodies = load.bodies(iter(posts), count=4)
    assert [json.loads(body or b"null") for body in bodies] == [
        [{"path": "/", "text": "A"}],
        None,
        [{"path": "/", "text": ""}],
        [{"path": "/", "text": "C"}],
    ]
    assert len(UppercaseHandler.connections) == 2

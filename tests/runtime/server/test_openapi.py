"""The OpenAPI document: requests made from it do not fail, and their responses have the described shapes."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import httpx
import jsonschema_rs
import msgspec
import pytest
from fixtures.server import configuration, serving

from torchless.server.openapi import describe

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
# For each operation; requests that do not fit the document are additional.
MAX_EXAMPLES = 3


@pytest.fixture(scope="module")
def server(sentiment, embeddings, tiny, tmp_path_factory):
    """A server with models for classification, embeddings, ranking, completions and chats."""
    folders = {
        "sentiment": sentiment,
        "embeddings": embeddings,
        "gpt2": tiny.export("gpt2", "text-generation"),
        "qwen3": tiny.export("qwen3", "text-generation"),
        "ranks": tiny.export("bert", "text-classification", num_labels=1),
    }
    file = configuration(tmp_path_factory.mktemp("serve") / "serve.toml", folders, {"ranks": "text-ranking"})
    with serving("--config", file, "--log-format=none") as running:
        yield running


@pytest.fixture(scope="module")
def secured(sentiment):
    with serving(f"sentiment={sentiment}", TORCHLESS_API_KEY="a key") as running:
        yield running


@pytest.fixture(scope="module")
def document(server):
    return httpx.get(f"{server.url}/openapi.json").json()


def operation(document, path, method="post"):
    return document["paths"][path][method]


def schema_of(document, response, media_type="application/json"):
    schema = response["content"][media_type]["schema"]
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_responses_conform_to_the_document(server, tmp_path):
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
        "--checks", CHECKS, "--max-examples", str(MAX_EXAMPLES), "--generation-deterministic", "--no-shrink",
        "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--request-timeout", "20", "--no-color",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr


@pytest.mark.parametrize(
    ("path", "statuses", "fields"),
    [
        ("/models/{name}", {400, 401, 404, 408, 413, 415, 422, 429, 500, 503}, {"error", "error_type"}),
        ("/embed", {400, 401, 404, 408, 413, 415, 424, 429, 500, 503}, {"error", "error_type"}),
        ("/v1/chat/completions", {400, 401, 404, 408, 413, 415, 429, 500, 503}, {"error"}),
        ("/v2/models/{name}/infer", {400, 401, 404, 408, 413, 415, 429, 500, 503}, {"error"}),
    ],
)
def test_each_interface_has_its_statuses_and_its_errors(document, path, statuses, fields):
    responses = operation(document, path)["responses"]
    assert {int(status) for status in responses} == {200, *statuses}
    for status in statuses:
        assert set(schema_of(document, responses[str(status)])["properties"]) == fields


def test_streams_and_tensors_have_their_media_types(document):
    for path in ("/models/{name}", "/v1/completions", "/v1/chat/completions"):
        assert set(operation(document, path)["responses"]["200"]["content"]) == {
            "application/json",
            "text/event-stream",
        }
    infer = operation(document, "/v2/models/{name}/infer")
    both = {"application/json", "application/octet-stream"}
    assert set(infer["requestBody"]["content"]) == set(infer["responses"]["200"]["content"]) == both
    assert "Inference-Header-Content-Length" in [parameter["name"] for parameter in infer["parameters"]]


def test_the_schema_of_a_request_has_bounds_and_descriptions(document):
    schema = document["components"]["schemas"]["CompletionRequest"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["prompt"]
    assert schema["properties"]["temperature"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 2}
    assert schema["properties"]["suffix"]["description"] == "Not possible."


def test_the_document_has_the_names_of_the_models(document):
    names = ["sentiment", "embeddings", "gpt2", "qwen3", "ranks"]
    assert document["components"]["schemas"]["ChatRequest"]["properties"]["model"]["anyOf"][0]["enum"] == names
    assert operation(document, "/models/{name}")["parameters"][0]["schema"]["enum"] == names


def test_each_operation_describes_its_response(document):
    for path, methods in document["paths"].items():
        for method, description in methods.items():
            assert description["description"], (method, path)
            assert all(content["schema"] for content in description["responses"]["200"]["content"].values())
            assert description.get("security", [{}]) == [{}]


def test_a_document_of_a_server_with_a_key_has_no_model_names(secured):
    response = httpx.get(f"{secured.url}/openapi.json")
    assert response.status_code == 200
    document = response.json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert operation(document, "/ready", "get")["security"] == [{}]
    assert '"sentiment"' not in response.text


@pytest.mark.slow
@pytest.mark.parametrize("running", ["server", "secured"])
@pytest.mark.parametrize("address", ["/docs", "/docs/"])
def test_the_page_loads_only_files_of_this_server_also_under_a_prefix(running, request, address):
    url = request.getfixturevalue(running).url
    page = httpx.get(url + address)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    head = page.text.partition("<body>")[0]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', head)
    assert len(loaded) == 4
    for path in loaded:
        under_prefix = urljoin(f"http://proxy/prefix{address}", path)
        assert under_prefix.startswith("http://proxy/prefix/docs/assets/")
        got = httpx.get(under_prefix.replace("http://proxy/prefix", url))
        assert (got.status_code, len(got.content) > 500) == (200, True), path
    (server_url,) = re.findall(r'"servers":\s*\[\{"url":\s*"([^"]+)"', page.text)
    assert urljoin(f"http://proxy/prefix{address}", server_url) == "http://proxy/prefix/"


def test_the_document_names_a_server_relative_to_itself(document):
    assert [urljoin("http://proxy/prefix/openapi.json", server["url"]) for server in document["servers"]] == [
        "http://proxy/prefix/"
    ]


def test_the_page_has_no_other_files(server):
    for path in ("/docs/assets/index.html", "/docs/assets/..%2f__init__.py", "/docs/assets/"):
        assert httpx.get(server.url + path).status_code == 404


def test_two_classes_with_the_same_name_are_an_error():
    first, second = (msgspec.defstruct("Collision", [(name, str)]) for name in ("text", "label"))
    describe(first)
    describe(first)
    with pytest.raises(ValueError, match="have the name 'Collision'"):
        describe(second)


# For each route, a model and a body that fits the document.
BODIES = {
    "/": ("sentiment", {"inputs": "A fine film.", "parameters": {"top_k": 1}}),
    "/embed": ("embeddings", {"inputs": ["A fine film.", "Dull."], "normalize": True}),
    "/embed_all": ("embeddings", {"inputs": "A fine film."}),
    "/similarity": ("embeddings", {"inputs": {"source_sentence": "A fine film.", "sentences": ["Dull."]}}),
    "/predict": ("sentiment", {"inputs": [["A fine film."], ["Dull."]], "raw_scores": True}),
    "/rerank": ("ranks", {"query": "Who?", "texts": ["I.", "It rains."], "return_text": True}),
    "/tokenize": ("sentiment", {"inputs": "A fine film.", "add_special_tokens": False}),
    "/decode": ("sentiment", {"ids": [101, 2023, 102]}),
    "/v1/embeddings": ("embeddings", {"input": ["A fine film."], "encoding_format": "base64"}),
    "/v1/completions": ("gpt2", {"prompt": "A fine film", "max_tokens": 3, "temperature": 0}),
    "/v1/chat/completions": ("qwen3", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}),
    "/v2/models/{name}/infer": (
        "sentiment",
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["A fine film."]}]},
    ),
}


def test_bodies_that_fit_the_document_are_accepted(document, server):
    posts = {path: methods["post"] for path, methods in document["paths"].items() if "post" in methods}
    assert {path.removeprefix("/models/{name}") or "/" for path in posts} == BODIES.keys()
    for path, post in posts.items():
        model, body = BODIES[path.removeprefix("/models/{name}") or "/"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        named = body if path.startswith("/models") or not path.startswith("/v1") else {"model": model, **body}
        validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
        validator.validate(named)
        answer = httpx.post(server.url + path.replace("{name}", model), json=named, timeout=30)
        assert answer.status_code == 200, (path, answer.text)
        assert not validator.is_valid({**named, "no_such_field": 1}) or path.startswith("/v2"), path

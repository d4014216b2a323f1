"""What the OpenAPI document says is so: requests made from it find no failure, and no answer of another shape."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fixtures.server import serving

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
# Of each operation; those that do not fit the document come on top.
MOST_EXAMPLES = 3


@pytest.fixture(scope="module")
def server(sentiment, embeddings, tiny):
    """A server of models that classify, embed, and write."""
    folders = {"sentiment": sentiment, "embeddings": embeddings, "gpt2": tiny.export("gpt2", "text-generation")}
    with serving(*(f"{name}={folder}" for name, folder in folders.items()), "--log-format=none") as running:
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


def test_no_request_finds_a_breach(server, tmp_path):
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
        "--checks", CHECKS, "--max-examples", str(MOST_EXAMPLES), "--generation-deterministic", "--no-shrink",
        "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--request-timeout", "20", "--no-color",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr


@pytest.mark.parametrize(
    ("path", "statuses", "fields"),
    [
        ("/models/{name}", {400, 401, 404, 408, 413, 422, 429, 500, 503}, {"error", "error_type"}),
        ("/embed", {400, 401, 404, 408, 413, 424, 429, 500, 503}, {"error", "error_type"}),
        ("/v1/chat/completions", {400, 401, 404, 408, 413, 429, 500, 503}, {"error"}),
        ("/v2/models/{name}/infer", {400, 401, 404, 408, 413, 429, 500, 503}, {"error"}),
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
    assert "Inference-Header-Content-Length" in [one["name"] for one in infer["parameters"]]


def test_a_request_is_closed_bounded_and_explained(document):
    asked = document["components"]["schemas"]["CompletionRequest"]
    assert asked["additionalProperties"] is False
    assert asked["required"] == ["prompt"]
    assert asked["properties"]["temperature"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 2}
    assert asked["properties"]["suffix"]["description"] == "Not possible."


def test_the_models_are_named(document):
    names = ["sentiment", "embeddings", "gpt2"]
    assert document["components"]["schemas"]["ChatRequest"]["properties"]["model"]["anyOf"][0]["enum"] == names
    assert operation(document, "/models/{name}")["parameters"][0]["schema"]["enum"] == names


def test_every_operation_says_what_it_gives(document):
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            assert one["description"], (method, path)
            assert all(
                one["responses"]["200"]["content"][kind]["schema"] for kind in one["responses"]["200"]["content"]
            )
            assert one.get("security", [{}]) == [{}]


def test_with_a_key_the_document_says_so_and_names_no_model(secured):
    told = httpx.get(f"{secured.url}/openapi.json")
    assert told.status_code == 200
    document = told.json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert operation(document, "/ready", "get")["security"] == [{}]
    assert '"sentiment"' not in told.text


@pytest.mark.parametrize("running", ["server", "secured"])
def test_the_page_and_all_that_it_loads_are_this_servers(running, request):
    url = request.getfixturevalue(running).url
    page = httpx.get(f"{url}/docs")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    head = page.text.partition("<body>")[0]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', head)
    assert len(loaded) == 4
    for path in loaded:
        assert path.startswith("/")
        got = httpx.get(url + path)
        assert (got.status_code, len(got.content) > 500) == (200, True), path


def test_the_page_has_no_other_files(server):
    for path in ("/docs/assets/index.html", "/docs/assets/..%2f__init__.py", "/docs/assets/"):
        assert httpx.get(server.url + path).status_code == 404

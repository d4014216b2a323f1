"""What the OpenAPI document says is so: requests made from it find no failure and no answer of another shape."""

import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.server import serving

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Of each operation, so many requests that fit the document, and as many that do not.
MOST_EXAMPLES = 8


@pytest.fixture(scope="module")
def server(sentiment, embeddings):
    """A server of the embedded models."""
    with serving(f"sentiment={sentiment}", f"embeddings={embeddings}") as running:
        yield running


def test_no_request_finds_a_breach(server):
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
        "--checks", CHECKS, "--max-examples", str(MOST_EXAMPLES), "--generation-deterministic",
        "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--request-timeout", "20", "--no-color",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr

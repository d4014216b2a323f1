import httpx
import numpy as np
import pytest
from fixtures.graphs import changed, pooled
from fixtures.server import serving

from torchless import pipeline

TEXTS = ["A film.", "A film that is long."]


@pytest.fixture(scope="module", params=[True, False])
def folder(request, tiny, tmp_path_factory):
    """A folder whose graph pools by itself, alone or beside the features of tokens."""
    folder = tiny.export("bert", "feature-extraction")
    return changed(folder, tmp_path_factory.mktemp("pools") / "copy", pooled(alone=request.param))


def test_the_embedding_that_a_graph_gives(folder):
    expected = pipeline("feature-extraction", folder)(TEXTS, pooling="auto", return_tensors="np")
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    with serving(f"pools={folder}") as server, httpx.Client(base_url=server.url, timeout=20) as client:
        np.testing.assert_allclose(client.post("/models/pools", json={"inputs": TEXTS}).json(), expected, atol=1e-5)
        answer = client.post("/v1/embeddings", json={"model": "pools", "input": TEXTS}).json()
        embeddings = np.array([item["embedding"] for item in answer["data"]])
        np.testing.assert_allclose(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), unit, atol=1e-5)
        assert client.get("/info").status_code == 200

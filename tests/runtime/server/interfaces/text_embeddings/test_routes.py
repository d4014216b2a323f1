import httpx
import numpy as np
import pytest
from fixtures.server import configuration, serving

from torchless import pipeline

TEXT, OTHER = "What is deep learning?", "It rains in Paris."
LONG = "word " * 600


@pytest.fixture(scope="module")
def folders(tiny, sentiment, embeddings):
    """A folder for each task of the interface, and a folder for another task."""
    return {
        "tokens": tiny.export("bert", "token-classification", num_labels=5),
        "sentiment": sentiment,
        "labels": tiny.export("roberta", "text-classification", num_labels=3),
        "embeddings": embeddings,
        "ranks": tiny.export("bert", "text-classification", num_labels=1),
    }


@pytest.fixture(scope="module")
def url(folders, tmp_path_factory):
    """The address of a server with all these models, in this order."""
    file = configuration(tmp_path_factory.mktemp("serve") / "serve.toml", folders, {"ranks": "text-ranking"})
    with serving("--config", file, "--max-client-batch-size=4", "--max-input-length=200") as server:
        yield server.url


@pytest.fixture
def ask(url):
    return lambda path, **body: httpx.post(url + path, json=body, timeout=30)


@pytest.fixture(scope="module")
def embed(folders):
    return pipeline("feature-extraction", folders["embeddings"], pooling="auto")


@pytest.mark.parametrize("normalize", [True, False])
def test_embed(ask, embed, normalize):
    got = ask("/embed", inputs=[TEXT, OTHER], normalize=normalize).json()
    np.testing.assert_allclose(got, embed([TEXT, OTHER], normalize=normalize), atol=1e-5)
    np.testing.assert_allclose(ask("/embed", inputs=TEXT).json(), embed([TEXT]), atol=1e-5)


def test_embed_all(ask, folders):
    hidden = pipeline("feature-extraction", folders["embeddings"])
    for got, expected in zip(ask("/embed_all", inputs=[TEXT, OTHER]).json(), hidden([TEXT, OTHER]), strict=True):
        np.testing.assert_allclose([got], expected, atol=1e-5)


@pytest.mark.parametrize("direction", ["Left", "Right", "left"])
@pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")
def test_truncate(ask, embed, direction):
    text = TEXT + LONG + OTHER
    got = ask("/embed", inputs=text, truncate=True, truncation_direction=direction).json()
    expected = embed([text], truncation=True, max_length=200, truncation_side=direction.lower())
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_similarity(ask, embed):
    source, *others = np.array(embed([TEXT, TEXT, OTHER], normalize=True))
    got = ask("/similarity", inputs={"source_sentence": TEXT, "sentences": [TEXT, OTHER]}).json()
    np.testing.assert_allclose(got, [source @ other for other in others], atol=1e-5)


@pytest.mark.parametrize("raw_scores", [False, True])
@pytest.mark.parametrize("name", ["sentiment", "labels"])
def test_predict(ask, folders, name, raw_scores):
    classify = pipeline("text-classification", folders[name], top_k=None)
    options = {"function_to_apply": "none"} if raw_scores else {}
    path = "/predict" if name == "sentiment" else "/models/labels/predict"
    pair = {"text": TEXT, "text_pair": OTHER}
    (text,), (of_pair,) = classify([TEXT], **options), classify([pair], **options)
    for inputs, expected in [(TEXT, text), ([TEXT], text), ([TEXT, OTHER], of_pair)]:
        assert ask(path, inputs=inputs, raw_scores=raw_scores).json() == approximately(expected)
    several = ask(path, inputs=[[TEXT], [TEXT, OTHER]], raw_scores=raw_scores).json()
    assert several == [approximately(text), approximately(of_pair)]


def approximately(scores):
    return [{name: pytest.approx(v, abs=1e-5) if name == "score" else v for name, v in item.items()} for item in scores]


@pytest.mark.parametrize("raw_scores", [False, True])
def test_rerank(ask, folders, raw_scores):
    rank = pipeline("text-ranking", folders["ranks"])
    texts = [TEXT, OTHER, "Deep learning is not a film."]
    expected = rank(query=TEXT, documents=texts, function_to_apply="none" if raw_scores else "sigmoid")
    got = ask("/rerank", query=TEXT, texts=texts, raw_scores=raw_scores, return_text=True).json()
    assert got == approximately(expected)
    without = ask("/rerank", query=TEXT, texts=texts, raw_scores=raw_scores).json()
    assert without == [{"index": rank["index"], "score": rank["score"]} for rank in got]


def test_tokenize(ask):
    (tokens,) = ask("/models/sentiment/tokenize", inputs="Films, naïve").json()
    assert tokens[0] == {"id": 101, "text": "[CLS]", "special": True, "start": None, "stop": None}
    assert [(token["text"], token["start"], token["stop"]) for token in tokens[1:-1]] == [
        ("Films", 0, 5),
        (",", 5, 6),
        ("naïve", 7, 12),
    ]
    plain = ask("/tokenize", inputs=["Films, naïve", TEXT], add_special_tokens=False).json()
    assert plain[0] == tokens[1:-1]
    assert len(plain) == 2


def test_decode(ask):
    ids = [token["id"] for token in ask("/tokenize", inputs=TEXT).json()[0]]
    assert ask("/decode", ids=ids).json() == [TEXT.lower()]
    whole = ask("/decode", ids=[ids, ids[1:]], skip_special_tokens=False).json()
    assert whole == [f"[CLS] {TEXT.lower()} [SEP]", f"{TEXT.lower()} [SEP]"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/info", "token-classification"),
        ("/models/sentiment/info", "classifier"),
        ("/models/ranks/info", "reranker"),
        ("/models/embeddings/info", "embedding"),
    ],
)
def test_info(url, path, kind):
    info = httpx.get(url + path).json()
    assert list(info["model_type"]) == [kind]
    assert info["model_dtype"] == "float32"
    assert info["max_input_length"] == 200
    assert info["max_client_batch_size"] == 4
    if kind == "classifier":
        assert info["model_type"][kind]["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "message"),
    [
        ("/embed", {"inputs": LONG, "truncate": False}, 413, "validation", "602 tokens"),
        ("/embed", {"inputs": []}, 413, "validation", "There are no inputs"),
        ("/embed", {"inputs": ""}, 413, "validation", "empty"),
        ("/embed", {"inputs": [TEXT] * 5}, 413, "validation", "5 inputs, and the limit is 4"),
        ("/embed", {"inputs": TEXT, "prompt_name": "query"}, 413, "validation", "no prompt 'query'"),
        ("/embed", {"inputs": 3}, 400, "validation", "inputs"),
        ("/embed", {"inputs": TEXT, "truncation_direction": "Up"}, 400, "validation", "truncation_direction"),
        ("/embed", {"inputs": TEXT, "normalise": True}, 400, "validation", "normalise"),
        ("/models/sentiment/embed", {"inputs": TEXT}, 424, "backend", "sentiment is for text-classification"),
        ("/models/nothing/embed", {"inputs": TEXT}, 404, "validation", "There is no model 'nothing'"),
        ("/predict", {"inputs": [[TEXT, TEXT, TEXT]]}, 413, "validation", "neither a text nor a pair"),
        ("/predict", {"inputs": LONG}, 413, "validation", "602 tokens"),
        ("/rerank", {"query": TEXT, "texts": []}, 413, "validation", "There are no texts"),
        ("/rerank", {"query": TEXT, "texts": [TEXT] * 5}, 413, "validation", "5 inputs, and the limit is 4"),
        ("/tokenize", {"inputs": [TEXT] * 5}, 413, "validation", "5 inputs, and the limit is 4"),
        ("/decode", {"ids": [[1, 40_000]]}, 413, "validation", "No token has the id 40000"),
        ("/decode", {"ids": []}, 413, "validation", "The ids are []"),
        ("/decode", {"ids": [[1], 2]}, 413, "validation", "The ids are 2"),
    ],
)
def test_errors(ask, path, body, status, kind, message):
    answer = ask(path, **body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error_type"] == kind
    assert message in answer.json()["error"]


def test_a_server_without_a_model_for_the_task(server):
    answer = httpx.post(f"{server.url}/embed", json={"inputs": TEXT}, timeout=30)
    assert answer.status_code == 424
    assert answer.json() == {
        "error": "No model here is for feature-extraction. The models are: sentiment (text-classification).",
        "error_type": "backend",
    }

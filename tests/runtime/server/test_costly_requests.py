"""Small requests that ask for much: they are refused before they cost it, or stop when nobody waits for them."""

import time
from pathlib import Path

import httpx
import pytest
from fixtures.server import configuration, serving

TEXT = "A film of quiet power."
LONG_PAIR = "a " * 40_000
# What a server of these models may need more than it needs at first: a text is tokenized as far as the limits allow.
MEMORY_KB = 400_000


def ask(inputs, **parameters):
    return {"inputs": inputs, "parameters": parameters}


REQUESTS = {
    "padding beyond any model": ("rope", ask("a", pooling=None, padding="max_length", max_length=2**40), 422),
    "padding of gigabytes": ("rope", ask("a", pooling=None, padding="max_length", max_length=50_000_000), 422),
    "padding beyond any integer": ("rope", ask("a", pooling=None, padding="max_length", max_length=10**30), 200),
    "padding of a prompt": (
        "gpt2",
        ask("a", tokenizer_encode_kwargs={"padding": True, "pad_to_multiple_of": 2**40}),
        422,
    ),
    "a template with a width": ("zero", ask("a", candidate_labels=["x"], hypothesis_template="{:>20000000}"), 422),
    "a template of labels": ("zero", ask("a", candidate_labels=["x" * 1000], hypothesis_template="{0}" * 300_000), 422),
    "many masks": ("mask", ask("[MASK] " * 500, top_k=30_000), 413),
    "many masks in a short body": ("mask", ask("[MASK]" * 140, top_k=30_000), 413),
    "many targets": ("mask", ask("[MASK]", targets=[f"target{n}" for n in range(100_000)]), 413),
    "answers by the million": ("qa", ask({"question": "who?", "context": "word " * 8000}, top_k=1_000_000), 413),
    "windows one token apart": ("qa", ask({"question": "who?", "context": "word " * 30_000}, doc_stride=378), 413),
    "labels by the thousand": ("zero", ask("a", candidate_labels=[f"label {n}" for n in range(30_000)]), 413),
    "labels in a text": ("zero", ask("a", candidate_labels=",".join("x" * 500_000)), 413),
    "long labels of a long text": ("zero", ask("a " * 400_000, candidate_labels=["x"] * 3000), 413),
    "a long text and a long hypothesis": (
        "zero",
        ask("a " * 200_000, candidate_labels=["x"], hypothesis_template="a " * 505 + "{}"),
        200,
    ),
    "documents by the thousand": ("rank", ask({"query": "a", "documents": ["b"] * 60_000}), 413),
    "a pair cut from both": ("sentiment", ask({"text": LONG_PAIR, "text_pair": LONG_PAIR}, truncation=True), 200),
    "a long text cut": ("sentiment", ask("a " * 900_000, truncation=True), 200),
    "a long text cut on the left": ("sentiment", ask("a " * 900_000, truncation=True, truncation_side="left"), 413),
    "a long text": ("sentiment", ask("a " * 900_000), 413),
    "windows of a long text": ("sentiment", ask("a " * 100_000, windows="mean"), 413),
    "strides of entities": ("ner", ask("word " * 16_000, stride=509, aggregation_strategy="simple"), 413),
    "ignored labels": ("ner", ask("word " * 500, ignore_labels=[f"a{n}" for n in range(150_000)]), 200),
    "a long delimiter": ("ner", ask([["a"] * 100_000], is_split_into_words=True, delimiter="x" * 1_000_000), 413),
    "a long stop": ("gpt2", ask("a", max_new_tokens=5, stop=["x" * 600_000]), 413),
    "many stops": ("gpt2", ask("a", max_new_tokens=5, stop=["x"] * 100_000), 413),
    "many ends": ("gpt2", ask("a", max_new_tokens=5, num_beams=4, eos_token_id=list(range(900))), 413),
}  # fmt: skip


def memory_kb(process, field):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def cpu_ticks(process):
    return sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


@pytest.fixture(scope="module")
def server(tiny, tmp_path_factory):
    classifier = tiny.export("bert", "text-classification", num_labels=3)
    folders = {
        "sentiment": classifier,
        "zero": classifier,
        "rank": tiny.export("bert", "text-classification", num_labels=1),
        "mask": tiny.export("bert", "fill-mask"),
        "qa": tiny.export("bert", "question-answering"),
        "ner": tiny.export("bert", "token-classification", num_labels=5),
        "rope": tiny.export("llama", "feature-extraction"),
        "gpt2": tiny.export("gpt2", "text-generation"),
    }
    tasks = {"zero": "zero-shot-classification", "rank": "text-ranking"}
    file = configuration(tmp_path_factory.mktemp("server") / "serve.toml", folders, tasks)
    with serving(f"--config={file}", "--log-format=none") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.post("/models/sentiment", json=ask(TEXT)).status_code == 200
        yield client


@pytest.mark.parametrize("name", list(REQUESTS))
def test_the_cost_is_known_before_it_is_spent(client, server, name):
    model, body, status = REQUESTS[name]
    before = memory_kb(server.process, "VmRSS")
    for _ in range(2):
        got = client.post(f"/models/{model}", json=body)
        assert got.status_code == status, got.text[:300]
        if status != 200:
            assert len(got.content) < 2000
    assert memory_kb(server.process, "VmRSS") - before < MEMORY_KB
    assert client.post("/models/sentiment", json=ask(TEXT)).status_code == 200


@pytest.mark.parametrize(
    ("flag", "body"),
    [
        ("--max-request-tokens", ask("a", candidate_labels=["x"] * 30_000)),
        ("--max-request-tokens", ask("a " * 900_000, candidate_labels=["x"], hypothesis_template="a " * 600 + "{}")),
    ],
)
def test_an_error_says_how_to_raise_the_limit(client, flag, body):
    got = client.post("/models/zero", json=body)
    assert got.status_code == 413
    assert flag in got.json()["error"]


def test_padding_counts_as_values(client):
    texts = ["a " * 2100, *["a"] * 31]  # 32 texts of 2,100 tokens of 32 values are more than 2,000,000
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    got = client.post("/v2/models/rope/infer", json={"inputs": [tensor], "parameters": {"pooling": None}})
    assert got.status_code == 413, got.text[:300]
    assert "--max-answer-values" in got.json()["error"]
    tensor |= {"shape": [3], "data": texts[:3]}
    assert client.post("/v2/models/rope/infer", json={"inputs": [tensor]}).status_code == 200


def test_work_that_nobody_waits_for_stops(tiny):
    body = ask("[MASK] " * 12, top_k=3000)  # seconds of work, within the limits
    with serving(f"mask={tiny.export('bert', 'fill-mask')}", "--request-timeout-s=0.3", "--log-format=none") as running:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            assert [client.post("/models/mask", json=body).status_code for _ in range(3)] == [408] * 3
            assert client.post("/models/mask", json=ask("a [MASK]")).status_code == 200
        begun = time.monotonic()
        while True:  # until half a second costs less than a tenth of it
            before = cpu_ticks(running.process)
            time.sleep(0.5)
            if cpu_ticks(running.process) - before < 5:
                break
            assert time.monotonic() - begun < 30
        assert running.stop() == 0

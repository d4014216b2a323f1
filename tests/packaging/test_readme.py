"""The Python in the README and the docs runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.hub import Repository, commit_of, serve
from fixtures.server import serving

from torchless.tasks import find_task

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVED = "127.0.0.1:8000"
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.fixture(scope="module")
def models(sentiment, embeddings, tiny, tmp_path_factory):
    """A folder with all that the examples load: the embedded models, and small ones where a reader brings their own."""
    folder = tmp_path_factory.mktemp("readme") / "models"
    folder.mkdir()
    labels = ["contradiction", "entailment", "neutral"]
    nli = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    exports = {
        "sentiment": sentiment,
        "embeddings": embeddings,
        "choice": tiny.export("bert", "multiple-choice"),
        "chat": tiny.export("qwen3", "text-generation"),
        "gpt2": tiny.export("gpt2", "text-generation"),
        "mask": tiny.export("bert", "fill-mask"),
        "ner": tiny.export("bert", "token-classification", num_labels=5),
        "nli": tiny.export("bert", "text-classification", **nli),
        "qa": tiny.export("bert", "question-answering"),
        "ranker": tiny.export("bert", "text-classification", num_labels=1),
        "t5": tiny.export("t5", "text2text-generation"),
    }
    for name, export in exports.items():
        (folder / name).symlink_to(export)
    return folder.parent


@pytest.fixture(scope="module")
def environment(sentiment, tmp_path_factory):
    """What the process needs to find the embedded model under the names on the Hub."""
    files = {path.relative_to(sentiment).as_posix(): path.read_bytes() for path in sentiment.rglob("*.*")}
    with serve({find_task("text-classification").default_model: Repository({commit_of(1): files})}) as hub:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        yield {**os.environ, **settings, "HF_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def server(models):
    """A server of what the examples ask for, wherever it listens."""
    with serving(*(f"{name}={models}/models/{name}" for name in ("sentiment", "embeddings", "gpt2"))) as running:
        yield running


@pytest.mark.parametrize("block", BLOCKS)
def test_it_runs(block, models, environment, request):
    if SERVED in block:
        block = block.replace(SERVED, request.getfixturevalue("server").url.removeprefix("http://"))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=models,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    for expected in re.findall(r"^# (\[\{.*)$", block, re.MULTILINE):
        assert expected.partition("...")[0] in result.stdout


def test_the_readme_starts_with_the_two_commands():
    first = re.search(r"```console\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["$ make export", "$ make test"]


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

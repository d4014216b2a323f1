"""The wheel, installed bare: numpy, onnxruntime and tokenizers, the newest and the lowest allowed, and no more."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

from torchless import pipeline

SCRIPT = """
import json, sys
from importlib.metadata import distributions
from torchless import AutoModelForSequenceClassification, AutoTokenizer, pipeline, softmax
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
inputs = tokenizer(["I hate this so much!", "Hi."], padding=True, truncation=True, return_tensors="np")
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
print(json.dumps({
    "answers": pipeline("sentiment-analysis", sys.argv[1], top_k=None)(["I hate this so much!", "Hi. " * 100], truncation=True),
    "ids": inputs.input_ids.tolist(),
    "scores": softmax(model(**inputs).logits).tolist(),
    "decoded": tokenizer.batch_decode(inputs.input_ids, skip_special_tokens=True),
    "installed": {one.metadata["Name"].lower().replace("_", "-"): one.version for one in distributions()},
}))
"""


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["newest", "lowest"])
def versions(request):
    """Which versions of the three dependencies are installed."""
    return request.param


@pytest.fixture(scope="module")
def python(versions, bare_python, request):
    """The Python of a bare environment."""
    if versions == "newest":
        return bare_python
    lowest = request.config.getoption("--lowest-python")
    if lowest is None:
        pytest.skip("give --lowest-python, as `make test` does")
    return Path(lowest).absolute()


@pytest.fixture(scope="module")
def bare(python, sentiment, tmp_path_factory):
    """What a process of the bare environment answers, run outside of the checkout."""
    result = subprocess.run(
        [python, "-W", "error", "-c", SCRIPT, str(sentiment)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_it_answers_as_the_checkout_does(bare, sentiment, versions):
    classify = pipeline("sentiment-analysis", sentiment, top_k=None)
    expected = classify(["I hate this so much!", "Hi. " * 100], truncation=True)
    if versions == "newest":
        assert bare["answers"] == expected
    for labels, expected_labels in zip(bare["answers"], expected, strict=True):
        assert [label["label"] for label in labels] == [label["label"] for label in expected_labels]
        scores = [label["score"] for label in expected_labels]
        assert [label["score"] for label in labels] == pytest.approx(scores, abs=1e-5)
    assert bare["ids"][1] == [101, 7632, 1012, 102, 0, 0, 0, 0]
    assert bare["decoded"] == ["i hate this so much!", "hi."]


def test_nothing_heavy_is_installed(bare):
    assert not bare["installed"].keys() & {"torch", "transformers", "optimum", "onnx", "typer", "safetensors"}


def test_the_versions_are_the_newest_or_the_lowest_that_are_allowed(bare, versions):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = dict(re.fullmatch(r"(\w+)>=([\d.]+)", requirement).groups() for requirement in project["dependencies"])
    for name, bound in lowest.items():
        installed = Version(bare["installed"][name])
        assert (installed == Version(bound)) if versions == "lowest" else (installed > Version(bound)), name


def test_the_newest_tokenizers_is_not_the_pinned_one(bare, versions):
    assert versions == "lowest" or Version(bare["installed"]["tokenizers"]) >= Version("0.23")


def test_the_command_line_names_its_extra(bare_python):
    command = bare_python.with_name("torchless")
    result = subprocess.run([command, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "pip install 'torchless[cli]'" in result.stderr

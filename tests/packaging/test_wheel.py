"""The wheel, installed bare: numpy, onnxruntime and tokenizers in the versions that pip resolves, and no more."""

import json
import subprocess

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


@pytest.fixture(scope="module")
def bare(bare_python, sentiment, tmp_path_factory):
    """What a process of the bare environment answers, run outside of the checkout."""
    result = subprocess.run(
        [bare_python, "-W", "error", "-c", SCRIPT, str(sentiment)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_it_answers_as_the_checkout_does(bare, sentiment):
    classify = pipeline("sentiment-analysis", sentiment, top_k=None)
    assert bare["answers"] == classify(["I hate this so much!", "Hi. " * 100], truncation=True)
    assert bare["ids"][1] == [101, 7632, 1012, 102, 0, 0, 0, 0]
    assert bare["decoded"] == ["i hate this so much!", "hi."]


def test_nothing_heavy_is_installed(bare):
    assert not bare["installed"].keys() & {"torch", "transformers", "optimum", "onnx", "typer", "safetensors"}


def test_it_is_the_newest_tokenizers_not_the_pinned_one(bare):
    assert Version(bare["installed"]["tokenizers"]) >= Version("0.23")


def test_the_command_line_names_its_extra(bare_python):
    command = bare_python.with_name("torchless")
    result = subprocess.run([command, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "pip install 'torchless[cli]'" in result.stderr

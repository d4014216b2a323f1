"""The runtime's process never sees what it does without."""

import json
import os
import subprocess
import sys

FORBIDDEN = (
    "torch",
    "transformers",
    "optimum",
    "onnx",
    "peft",
    "safetensors",
    "huggingface_hub",
    "jinja2",
    "torchless_export",
)
SCRIPT = """
import json, sys
from torchless import AutoModelForSequenceClassification, AutoTokenizer, pipeline
answer = pipeline("sentiment-analysis", sys.argv[1])("I hate this so much!")
inputs = AutoTokenizer.from_pretrained(sys.argv[1])(["I hate this so much!"], return_tensors="np")
logits = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])(**inputs).logits
print(json.dumps({"answer": answer, "shape": logits.shape, "modules": sorted(sys.modules)}))
"""
SERVER_SCRIPT = """
import json, sys
from torchless.server.registry import Registry
from torchless.server.process import create_app
from torchless.server.settings import Settings
settings = Settings.load({"models": [f"sentiment={sys.argv[1]}"]}, {})
create_app(settings)
Registry.load(settings).close()
print(json.dumps(sorted(sys.modules)))
"""


def test_a_servers_process(sentiment):
    result = subprocess.run(
        [sys.executable, "-c", SERVER_SCRIPT, str(sentiment)], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {name.partition(".")[0] for name in json.loads(result.stdout)} & set(FORBIDDEN)


def test_a_fresh_process(sentiment):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(sentiment)], capture_output=True, text=True, check=True, timeout=60
    )
    seen = json.loads(result.stdout)
    assert seen["answer"][0]["label"] == "NEGATIVE"
    assert seen["shape"] == [1, 2]
    assert not {name.partition(".")[0] for name in seen["modules"]} & set(FORBIDDEN)


def test_nothing_is_reported_nor_kept_in_the_home_folder(sentiment, tmp_path):
    telling = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in telling} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT, str(sentiment)]
    subprocess.run(command, capture_output=True, check=True, timeout=60, env=environment)
    assert list(tmp_path.rglob("*")) == []

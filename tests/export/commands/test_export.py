import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("torchless")


def torchless(*arguments, **environment):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_export_and_run(tiny, tmp_path):
    checkpoint = tiny.checkpoint("bert", "text-classification", num_labels=3)
    first = torchless("export", checkpoint, tmp_path / "out")
    assert first.returncode == 0, first.stderr
    assert "fp32" in first.stdout
    assert "100.0% of 256" in first.stdout
    again = torchless("export", checkpoint, tmp_path / "out")
    assert "Up to date" in again.stdout
    assert "Converting" not in again.stdout

    answered = torchless("run", tmp_path / "out", "A film.", "Another.")
    lines = [json.loads(line) for line in answered.stdout.splitlines()]
    assert [line["input"] for line in lines] == ["A film.", "Another."]
    assert all(line["output"][0]["label"].startswith("LABEL_") for line in lines)


def test_variants(tiny, tmp_path):
    checkpoint = tiny.checkpoint("bert", "text-classification", num_labels=3)
    options = ["--dtype", "fp32,int8", "--verify-with", tiny.few_texts()]
    made = torchless("export", checkpoint, tmp_path / "out", *options, "--min-agreement", "0.5")
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    (row,) = [line.split("│") for line in made.stdout.splitlines() if "int8" in line and "│" in line]
    assert row[2].strip() == "1.1 MB (26%)"
    assert row[5].strip().endswith("% of 26")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "fp32,q9"], "There is no export of dtype 'q9'"),
        (["--dtype", "fp32,q4,q4"], "'q4' is named twice"),
        (["--dtype", ""], "There is no export of dtype ''"),
        (["--min-agreement", "99"], "min_agreement=99.0 is not a share. Give a share of texts, 0 to 1"),
        (["--verify-with", "nowhere.txt"], "nowhere.txt cannot be read: No such file"),
        (["--dtype", "q8", "--calibrate-with", "nowhere.txt"], "Give --calibrate-with a text file in UTF-8"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, message):
    result = torchless("export", "x", tmp_path / "out", *options)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert message in line


def test_run_continues_a_text(tiny):
    result = torchless("run", tiny.export("gpt2", "text-generation"), "It is")
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    (answer,) = json.loads(line)["output"]
    assert answer["generated_text"].startswith("It is")


def test_without_a_hub_one_clear_line(tmp_path):
    name = "distilbert-base-uncased-finetuned-sst-2-english"
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    result = torchless("export", name, tmp_path / "out", **closed)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert name in line
    assert str(tmp_path / "hub") in line
    assert "http://127.0.0.1:9" in line
    assert "torchless export PATH/TO/" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "./nowhere"), 1, "There is no folder './nowhere'"),
        (("run", "nowhere"), 1, "'nowhere' is not a folder here"),
        (("export", "./nowhere"), 1, "There is no folder './nowhere'"),
        (("export", "x", "--task", "sentimental"), 1, "Did you mean 'sentiment-analysis'?"),
        (("exprot",), 2, "export"),
    ],
)
def test_mistakes(arguments, status, message, tmp_path):
    result = torchless(*arguments)
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, "Converting"), (signal.SIGINT, "Verifying"), (signal.SIGTERM, "Converting")],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_signal_leaves_nothing_and_a_warning_is_one_line(tiny, tmp_path, number, step):
    headless = tiny.checkpoint("bert", "feature-extraction")
    options = ["--task", "text-classification", "--allow-random-head"]
    command = [COMMAND, "export", headless, tmp_path / "models" / "out", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stdout if line.startswith(step))
        (partial,) = (tmp_path / "models").iterdir()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    (line,) = errors.splitlines()
    assert line.startswith("torchless: RANDOM weights: ")
    assert partial.name.endswith(".partial")
    assert list((tmp_path / "models").iterdir()) == []


def test_version_and_help():
    assert torchless("--version").stdout.strip()
    assert "export" in torchless("--help").stdout


def test_without_pytorch_one_clear_line(tmp_path):
    script = "import sys; sys.modules['torch'] = None; from torchless.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, "export", "checkpoint", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert (
        result.stderr
        == "torchless: torchless export needs packages that are not installed. pip install 'torchless[export]'\n"
    )

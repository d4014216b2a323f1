import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points

import onnx
import pytest
import typer
from typer.testing import CliRunner

from torchless.errors import CheckpointError, ExportError, OptionError
from torchless.folder.manifest import Manifest, Part, Variant
from torchless_export.commands.verify import verify

HEAVY = ("torch", "transformers", "optimum", "onnx", "peft", "safetensors")
ALONE = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY}))
from torchless.errors import TorchlessError
import typer
from torchless_export.commands.verify import verify
app = typer.Typer()
app.command()(verify)
try:
    app()
except TorchlessError as error:
    sys.exit(f"{{error.problem}} {{error.hint}}")
"""


@pytest.fixture
def checkpoint(tiny):
    return tiny.checkpoint("bert", "text-classification", num_labels=3)


@pytest.fixture
def copy(tiny, tmp_path):
    """An exported folder to change."""
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "copy")


@pytest.fixture
def texts(tmp_path):
    """A few texts to measure on."""
    path = tmp_path / "texts.txt"
    path.write_text("A film.\n\nA film of quiet power.\nDull, and long.\n", encoding="utf-8")
    return path


@pytest.fixture
def run_command():
    """The command's outcome: what it printed, and the exception that ended it."""
    app = typer.Typer()
    app.command()(verify)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def verified(run_command):
    """What the command prints, or raises."""

    def run(*arguments):
        result = run_command(*arguments)
        if result.exception:
            raise result.exception
        return result.output

    return run


def test_a_whole_folder(copy, verified):
    manifest = Manifest.read(copy)
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= manifest.files.keys()
    count = len(manifest.files) + 1
    assert verified(copy) == f"{copy}: {count} of {count} files are what the manifest lists.\n"


@pytest.mark.parametrize("name", ["onnx/model.onnx", "config.json", "tokenizer.json"])
def test_a_file_of_the_same_length_that_was_changed(copy, verified, name):
    content = (copy / name).read_bytes()
    changed = content[:-1] + b"x" if name.endswith(".onnx") else content.replace(b"\n", b" ", 1)
    (copy / name).write_bytes(changed)
    assert len(changed) == len(content)
    with pytest.raises(CheckpointError, match=r"1 of \d+ files of .* are not what the manifest lists"):
        verified(copy)


def test_every_fault_is_named(copy, run_command):
    (copy / "onnx" / "model.onnx").write_bytes(b"x")
    (copy / "special_tokens_map.json").unlink()
    (copy / "tokenizer_config.json").write_text("{}")
    (copy / "onnx" / "model_q4.onnx").write_bytes(b"x")
    result = run_command(copy)
    assert isinstance(result.exception, CheckpointError)
    size_bytes = Manifest.read(copy).variants["fp32"].size_bytes
    lines = result.output.splitlines()
    assert lines[0] == f"onnx/model.onnx is damaged: 1 bytes, and the manifest says {size_bytes}."
    assert lines[1] == "special_tokens_map.json is missing."
    assert lines[2].startswith(
        "tokenizer_config.json was changed: its SHA-256 is 44136fa355b3678a1146ad16f7e8649e94fb4"
    )
    assert lines[3] == "onnx/model_q4.onnx is not in the manifest, so it was not verified."


def test_a_folder_without_a_manifest_can_only_be_measured(copy, checkpoint, texts, verified):
    (copy / "torchless.json").unlink()
    with pytest.raises(CheckpointError, match="has no manifest"):
        verified(copy)
    printed = verified(copy, "--against", checkpoint, "--verify-with", texts)
    assert "100.0% of 8" in printed


def test_options_of_a_measurement_alone(copy, verified):
    with pytest.raises(OptionError, match="--against CHECKPOINT"):
        verified(copy, "--revision", "main")


def test_against_the_checkpoint(copy, checkpoint, verified, texts):
    printed = verified(copy, "--against", checkpoint, "--verify-with", texts)
    assert "was exported from" not in printed
    declared, measured = (line for line in printed.splitlines() if "│ manifest" in line or "│ measured" in line)
    assert "100.0% of " in declared
    assert "fp32" in declared
    assert "100.0% of 8" in measured


def test_against_another_checkpoint(copy, tiny, run_command, texts):
    other = tiny.checkpoint("distilbert", "text-classification", num_labels=3)
    result = run_command(copy, "--against", other, "--verify-with", texts)
    assert f"{other} is not what {copy} was exported from" in result.output
    assert isinstance(result.exception, ExportError)
    assert re.search(
        r"failed its verification: fp32 gives other answers than PyTorch on (\d+) of \1 texts", result.exception.problem
    )


def test_a_variant_below_the_agreement(copy, checkpoint, verified, texts):
    manifest = Manifest.read(copy)
    wrong = onnx.load(copy / "onnx" / "model.onnx")
    for tensor in wrong.graph.initializer:
        if tensor.name.startswith("classifier."):
            tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
    path = copy / "onnx" / "model_int8.onnx"
    onnx.save_model(wrong, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    int8 = Variant(parts=(Part(file="onnx/model_int8.onnx", size_bytes=path.stat().st_size, sha256=sha256),))
    replace(manifest, variants={**manifest.variants, "int8": int8}).write(copy)
    options = (copy, "--against", checkpoint, "--verify-with", texts)
    with pytest.raises(
        ExportError, match=r"verification: int8 agrees with PyTorch on 0\.00% of 8 texts, and the least is 99\.00%"
    ):
        verified(*options)
    assert "nothing" in verified(*options, "--min-agreement", "0")


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff"], ids=["missing", "empty", "not text"])
def test_texts_that_cannot_be_read(copy, checkpoint, verified, tmp_path, content):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=r"mine\.txt[\s\S]*--verify-with"):
        verified(copy, "--against", checkpoint, "--verify-with", path)


def test_hashes_need_no_pytorch(copy, checkpoint):
    def alone(*arguments):
        return subprocess.run(
            [sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    result = alone(copy)
    assert result.returncode == 0, result.stderr
    assert "are what the manifest lists" in result.stdout
    result = alone(copy, "--against", checkpoint)
    assert result.returncode == 1
    assert "pip install 'torchless[export]'" in result.stderr
    (copy / "config.json").write_text("{}")
    result = alone(copy)
    assert result.returncode == 1
    assert "config.json was changed" in result.stdout


def test_it_is_a_command():
    (found,) = entry_points(group="torchless.commands", name="verify")
    assert found.load() is verify

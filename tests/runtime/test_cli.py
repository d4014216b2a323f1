"""The commands on folders that are not what they should be: one line on stderr, status 1, and no traceback."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from torchless import pipeline

MAIN = "from torchless.cli import main; main()"


def call(*arguments):
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "m[x]")


def change(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("command", ["run", "inspect", "export"])
def test_a_name_that_reads_as_markup(command):
    done = call(command, "nowhere/in/m[/x]")
    assert done.returncode == 1
    assert done.stderr.startswith("torchless: "), done.stderr
    assert "Traceback" not in done.stderr


def test_labels_that_read_as_markup(folder):
    change(folder, "config.json", id2label={"0": "[/x]", "1": "ü", "2": "[bold]"})
    for command in (["run", folder, "Dull."], ["inspect", folder], ["inspect", folder, "--json"]):
        done = call(*command)
        assert done.returncode == 0, done.stderr


def test_numbers_that_json_does_not_have(folder):
    manifest = json.loads((folder / "torchless.json").read_text())
    manifest["variants"]["fp32"]["verification"] |= {"max_abs_diff": float("nan"), "perplexity": float("inf")}
    (folder / "torchless.json").write_text(json.dumps(manifest))
    assert call("inspect", folder).returncode == 0

    def refuse(constant):
        raise ValueError(constant)

    values = json.loads(call("inspect", folder, "--json").stdout, parse_constant=refuse)
    assert values["variants"][0]["verification"]["perplexity"] is None


@pytest.mark.parametrize("command", ["run", "inspect"])
@pytest.mark.parametrize("kind", ["dangling", "pipe", "deep", "binary"])
def test_a_configuration_that_cannot_be_read(folder, command, kind):
    path = folder / "config.json"
    path.unlink()
    match kind:
        case "dangling":
            path.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(path)
        case "deep":
            path.write_text("[" * 100_000)
        case "binary":
            path.write_bytes(b"\xff")
    done = call(command, folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("torchless: ")
    assert "config.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_graph_that_is_a_link_to_nothing(folder):
    (folder / "onnx" / "model.onnx").unlink()
    (folder / "onnx" / "model.onnx").symlink_to("nowhere")
    done = call("run", folder)
    assert done.returncode == 1
    assert "is a link to a file that does not exist" in done.stderr


def test_options_of_the_pipeline(folder):
    def answer(*options):
        done = call("run", folder, "Dull.", *(part for option in options for part in ("--option", option)))
        return json.loads(done.stdout)["output"] if done.returncode == 0 else done.stderr

    assert answer("top_k=2", "function_to_apply=sigmoid") == pipeline("text-classification", folder)(
        "Dull.", top_k=2, function_to_apply="sigmoid"
    )
    assert "--option top_k has no value. Add it: --option top_k=VALUE" in answer("top_k")
    assert "topk" in answer("topk=2")

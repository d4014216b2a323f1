import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import onnx
import pytest
from fixtures.hub import Repository, commit_of, serve

from torchless import cli
from torchless.folder.manifest import Manifest, Part, Variant
from torchless.folder.model_folder import ModelFolder
from torchless.inspection.inspection import inspect

BLOCKED = ("torch", "transformers", "optimum", "onnx", "peft", "safetensors")


@pytest.fixture
def copy(tiny, tmp_path):
    """An exported folder to change."""
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "copy")


@pytest.fixture
def inspected(monkeypatch, capsys):
    """What the command prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["torchless", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0, stopped.value.code
        return capsys.readouterr().out

    return run


def test_an_exported_folder(copy, inspected):
    manifest = Manifest.read(copy)
    printed = inspected(copy)
    for expected in (
        str(copy),
        "text-classification",
        "BertForSequenceClassification",
        "3: LABEL_0, LABEL_1, LABEL_2",
        "512 tokens",
        "BertTokenizer, up to 512 tokens, pads on the right",
        manifest.source["name"],
        manifest.source["files"]["model.safetensors"][:12],
        f"torch {manifest.versions['torch']}",
        "100.0% of ",
        "by kind of text: prose 1.000, code 1.000",
        f"{manifest.variants['fp32'].verification.max_abs_diff:.1e}",
    ):
        assert expected in printed
    assert "verified" not in printed
    assert "depends on its batch" not in printed
    assert manifest.source["files"]["model.safetensors"] not in printed


def test_json_has_the_same_contents(copy, inspected):
    found = json.loads(inspected(copy, "--json"))
    assert found == json.loads(inspected(copy, "--json", "--graph", "fp32")) | {"graphs": []}
    assert found["labels"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    (fp32,) = found["variants"]
    assert fp32["files"] == {"onnx/model.onnx": (copy / "onnx" / "model.onnx").stat().st_size}
    assert fp32["verification"]["agreement"] == 1
    assert found["problems"] == []


def test_what_a_graph_declares(copy, inspected):
    printed = inspected(copy, "--graph", "fp32").splitlines()
    assert "  takes input_ids       int64 (batch_size, sequence_length)" in printed
    assert "  answers logits        float32 (batch_size, 3)" in printed


def test_a_folder_of_another_exporter(copy, inspected):
    (copy / "torchless.json").unlink()
    (copy / "onnx" / "model_quantized.onnx").write_bytes(b"\n\x15DynamicQuantizeLinear")
    optimised = copy / "onnx" / "model_O2.onnx"
    onnx.save(onnx.load(copy / "onnx" / "model.onnx"), optimised, save_as_external_data=True, location="weights.pb")
    printed = inspected(copy)
    assert "Nothing was verified" in printed
    assert "made with" not in printed
    found = inspect(ModelFolder(copy))
    assert [(item.dtype, item.batch_dependent, list(item.files)) for item in found.variants] == [
        ("fp32", False, ["onnx/model.onnx"]),
        (None, False, ["onnx/model_O2.onnx", "onnx/weights.pb"]),
        ("q8", True, ["onnx/model_quantized.onnx"]),
    ]
    assert found.task == "text-classification"
    assert (found.source, found.verified, found.problems) == (None, False, ())
    (copy / "onnx" / "weights.pb").unlink()
    assert inspect(ModelFolder(copy)).problems == (
        "onnx/weights.pb is missing, which holds weights of onnx/model_O2.onnx.",
    )
    model = onnx.load(optimised, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../../secret"
    optimised.write_bytes(model.SerializeToString())
    assert "whose weights are in a file outside of its folder: '../../secret'" in inspected(copy)


def test_variants_are_described_by_the_manifest(copy, inspected):
    manifest = Manifest.read(copy)
    size_bytes = manifest.variants["fp32"].size_bytes
    (copy / "onnx" / "model_int8.onnx").write_bytes(b"x" * (size_bytes // 2))
    (copy / "onnx" / "model_int8.onnx_data").write_bytes(b"x" * (size_bytes // 4))
    int8 = Variant(
        parts=(
            Part(file="onnx/model_int8.onnx", size_bytes=size_bytes // 2, sha256=""),
            Part(file="onnx/model_int8.onnx_data", size_bytes=size_bytes // 4, sha256=""),
        ),
        scheme="dynamic [bold]int8[/bold]",
        batch_dependent=True,
    )
    replace(manifest, variants={**manifest.variants, "int8": int8}).write(copy)
    row, details = (line for line in inspected(copy).splitlines() if line.startswith("int8"))
    assert "75%" in row
    assert "not verified" in row
    for expected in (
        "onnx/model_int8.onnx, onnx/model_int8.onnx_data",
        "dynamic [bold]int8[/bold]",
        "depends on its batch",
    ):
        assert expected in details


def test_what_is_missing_or_damaged(copy, inspected):
    whole = (copy / "onnx" / "model.onnx").read_bytes()
    (copy / "onnx" / "model.onnx").write_bytes(whole[:10])
    (copy / "tokenizer.json").unlink()
    printed = inspected(copy)
    assert f"onnx/model.onnx is damaged: 10 bytes, and the manifest says {len(whole)}." in printed
    assert "tokenizer.json is missing." in printed
    (copy / "onnx" / "model.onnx").unlink()
    printed = inspected(copy)
    assert "onnx/model.onnx is missing." in printed
    assert "There is no graph." in printed


def test_sentence_embeddings(copy, inspected):
    (copy / "1_Pooling").mkdir()
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text('{"pooling_mode": "cls"}')
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 128}')
    assert "cls of the tokens, texts cut to 128 tokens" in inspected(copy)
    pooling.write_text('{"pooling_mode": "weightedmean"}')
    assert "not supported: the pooling weightedmean" in inspected(copy)


def test_no_labels_where_the_task_has_none(tiny):
    found = inspect(ModelFolder(tiny.export("gpt2", "text-generation")))
    assert found.labels == {}
    assert found.max_tokens == 512


def test_texts_of_a_folder_cannot_control_the_terminal(copy, inspected):
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {"0": "\x1b[2J", "1": "[red]B[/red]", "2": "C"}
    (copy / "config.json").write_text(json.dumps(config))
    printed = inspected(copy)
    assert "\x1b" not in printed
    assert "[red]B[/red]" in printed


def test_no_graph_of_a_hub_repository_is_downloaded(copy, tmp_path):
    files = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*.*")}
    with serve({"user/model": Repository({commit_of(1): files})}) as hub:
        settings = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path),
            "NO_PROXY": "127.0.0.1",
        }
        command = [sys.executable, "-c", "from torchless.cli import main; main()", "inspect", "user/model"]
        result = subprocess.run(
            command, env={**os.environ, **settings}, capture_output=True, text=True, check=False, timeout=60
        )
    assert result.returncode == 0, result.stderr
    assert "user/model, in the cache" in result.stdout
    assert "100.0% of " in result.stdout
    assert "not downloaded" in result.stdout
    assert not [name for name, _ in hub.contents if name.endswith(".onnx")]


@pytest.mark.parametrize("arguments", [["./nowhere"], ["{copy}", "--graph", "q8"], ["{copy}", "--graph", "q9"]])
def test_mistakes_are_one_line(copy, monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["torchless", "inspect", *(item.format(copy=copy) for item in arguments)])
    with pytest.raises(SystemExit, match=r"^torchless: .*(no folder|no onnx/model_quantized|no dtype 'q9')"):
        cli.main()


def test_inspection_needs_no_package_of_the_export(copy):
    script = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED}))\nfrom torchless.cli import main; main()"
    command = [sys.executable, "-c", script, "inspect", copy]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "100.0% of " in result.stdout

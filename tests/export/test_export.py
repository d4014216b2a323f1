import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from benchmarks.random_weights import randomise
from onnx import numpy_helper
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

import torchless_export.converters.optimum
from torchless import CheckpointError, ExportError, ExportWarning, OptionError, TaskError, pipeline
from torchless.folder.layout import SENTENCE_FILES
from torchless.folder.manifest import Manifest
from torchless_export.export import Silent, export
from torchless_export.source.source import ReadOptions, find_source


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A checkpoint to change."""
    source = tiny.checkpoint("bert", "text-classification", num_labels=3)
    return shutil.copytree(source, tmp_path / "checkpoint")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "models" / "out"


def run(model, out, **options):
    return export(str(model), out, Silent(), **options)


def left_behind(out):
    """What is in the folder where exports are written."""
    return [path.name for path in out.parent.iterdir()] if out.parent.exists() else []


def test_the_manifest_tells_the_truth(checkpoint, out):
    manifest, anew = run(checkpoint, out)
    assert anew
    assert left_behind(out) == ["out"]
    assert Manifest.read(out) == manifest
    variant = manifest.variants["fp32"]
    (part,) = variant.parts
    graph = (out / part.file).read_bytes()
    assert (part.size_bytes, part.sha256) == (len(graph), hashlib.sha256(graph).hexdigest())
    assert (manifest.task, variant.verification.agreement, variant.verification.texts) == (
        "text-classification",
        1,
        256,
    )
    assert variant.verification.max_abs_diff <= 1e-4
    weights = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert manifest.source["files"]["model.safetensors"] == weights
    assert manifest.versions["transformers"] == "4.57.6"


def test_the_folder_holds_what_the_layout_says(checkpoint, out):
    run(checkpoint, out)
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names >= {"config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx", "torchless.json"}
    assert str(checkpoint.parent) not in (out / "config.json").read_text()


def test_a_second_run_does_nothing(checkpoint, out):
    run(checkpoint, out)
    written = (out / "torchless.json").stat().st_mtime_ns
    assert run(checkpoint, out)[1] is False
    assert (out / "torchless.json").stat().st_mtime_ns == written
    assert run(checkpoint, out, force=True)[1] is True


@pytest.mark.parametrize("change", ["weights", "graph", "task"])
def test_a_change_is_noticed(checkpoint, out, change):
    run(checkpoint, out)
    options = {}
    if change == "weights":
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
        randomise(model, seed=99)
        model.save_pretrained(checkpoint)
    elif change == "graph":
        (out / "onnx" / "model.onnx").write_bytes(b"short")
    else:
        options["task"] = "feature-extraction"
    assert run(checkpoint, out, **options)[1] is True


@pytest.fixture
def broken_conversion(monkeypatch):
    """A conversion that gets one weight wrong."""
    convert = torchless_export.converters.optimum.convert

    def broken(loaded, task, folder):
        convert(loaded, task, folder)
        path = folder / "onnx" / "model.onnx"
        graph = onnx.load(path)
        (weight,) = [tensor for tensor in graph.graph.initializer if tensor.name == "classifier.bias"]
        wrong = numpy_helper.to_array(weight) + np.array([0, 0, 4], dtype=np.float32)
        weight.CopyFrom(numpy_helper.from_array(wrong, weight.name))
        onnx.save(graph, path)

    monkeypatch.setattr(torchless_export.converters.optimum, "convert", broken)


@pytest.mark.usefixtures("broken_conversion")
def test_a_failed_verification_names_a_text_and_leaves_nothing(checkpoint, out):
    with pytest.raises(
        ExportError,
        match=r"fp32 gives other answers than PyTorch on \d+ of \d+ texts.*The worst texts:\n  '.+…: PyTorch",
    ):
        run(checkpoint, out)
    assert left_behind(out) == []


def test_a_failed_export_keeps_the_earlier_one(checkpoint, out, request):
    run(checkpoint, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    request.getfixturevalue("broken_conversion")
    with pytest.raises(ExportError):
        run(checkpoint, out, force=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert left_behind(out) == ["out"]


def test_an_interrupt_leaves_nothing(checkpoint, out, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torchless_export.converters.optimum, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint, out)
    assert left_behind(out) == []


def test_a_folder_that_is_not_ours_is_not_replaced(checkpoint, out):
    out.mkdir(parents=True)
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(ExportError, match="is not an export of torchless"):
        run(checkpoint, out)
    assert (out / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there(name, out):
    with pytest.raises(ExportError, match="There is no folder"):
        run(name, out)


def test_a_name_that_is_neither(out):
    with pytest.raises(ExportError, match="neither a folder nor a name on the Hub"):
        run("not a name!", out)


def test_without_a_hub(out):
    with pytest.raises(
        ExportError, match=r"'some/model' is not a folder here, not in the cache .*, and the Hub .* cannot be reached"
    ):
        run("some/model", out)


def test_a_folder_that_is_no_checkpoint(tmp_path, out):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="has no config.json"):
        run(tmp_path / "empty", out)


def test_unknown_tasks_and_dtypes(checkpoint, out):
    with pytest.raises(TaskError):
        run(checkpoint, out, task="classification")
    with pytest.raises(OptionError, match="no export of dtype 'fp23'"):
        run(checkpoint, out, dtypes=("fp23",))


def test_a_head_without_weights_is_refused(tiny, out):
    headless = tiny.checkpoint("bert", "feature-extraction")
    with pytest.raises(
        ExportError, match=r"no weights for text-classification: classifier.bias[\s\S]*--allow-random-head"
    ):
        run(headless, out, task="text-classification")
    with pytest.warns(ExportWarning, match="RANDOM weights: .* has none for classifier.bias, classifier.weight"):
        run(headless, out, task="text-classification", read_options=ReadOptions(allow_random_head=True))


def test_pickled_weights_need_a_word(checkpoint, out):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    torch.save(model.state_dict(), checkpoint / "pytorch_model.bin")
    with pytest.raises(ExportError, match=r"no safetensors weights, only pytorch_model.bin[\s\S]*--allow-pickle"):
        run(checkpoint, out)
    with pytest.warns(ExportWarning, match="PICKLED weights of .*: pytorch_model.bin"):
        manifest, _ = run(checkpoint, out, read_options=ReadOptions(allow_pickle=True))
    assert "pytorch_model.bin" in manifest.source["files"]


def test_a_checkpoint_without_a_tokenizer(checkpoint, out):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        (checkpoint / name).unlink()
    with pytest.raises(ExportError, match="tokenizer"):
        run(checkpoint, out)


def test_damaged_weights(checkpoint, out):
    (checkpoint / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ExportError, match="cannot be loaded"):
        run(checkpoint, out)
    assert left_behind(out) == []


def test_an_unsupported_architecture(tmp_path, out, checkpoint):
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "no-such-model", "architectures": ["NoModel"]}))
    with pytest.raises(ExportError, match="architecture 'no-such-model', which transformers .* does not know"):
        run(checkpoint, out, task="feature-extraction")


class TestAdapters:
    """Any PEFT adapter, not only the embedded one."""

    @pytest.fixture
    def base(self, tiny):
        return tiny.checkpoint("bert", "feature-extraction")

    @pytest.fixture
    def adapter(self, base, tmp_path):
        """A LoRA adapter with a head of five labels, without a config.json of its own."""
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5)
        model = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, r=4, target_modules=["query", "value"]))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name or "modules_to_save" in name:
                    parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
        model.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter"

    def test_merged_into_its_base(self, adapter, base, out):
        manifest, _ = run(adapter, out, read_options=ReadOptions(base_model=str(base)))
        assert manifest.task == "text-classification"
        assert set(manifest.source["files"]) >= {"adapter_model.safetensors"}
        assert set(manifest.source["base"]["files"]) >= {"model.safetensors"}
        answer = pipeline("text-classification", out, top_k=None)("A film.")[0]
        assert {item["label"] for item in answer} == {f"LABEL_{index}" for index in range(5)}

    def test_the_base_is_read_from_the_adapter(self, adapter, base):
        source = find_source(str(adapter))
        assert source.base.folder == base

    def test_a_base_for_what_is_no_adapter(self, base, out):
        with pytest.raises(ExportError, match="is not an adapter"):
            run(base, out, read_options=ReadOptions(base_model=str(base)))

    def test_a_base_that_is_not_there(self, adapter, out):
        with pytest.raises(ExportError, match="There is no folder './nowhere'"):
            run(adapter, out, read_options=ReadOptions(base_model="./nowhere"))

    def test_a_base_that_does_not_fit(self, adapter, out, tmp_path, tiny):
        with pytest.raises((ExportError, CheckpointError), match="adapter"):
            run(
                adapter,
                out,
                read_options=ReadOptions(base_model=str(tiny.checkpoint("distilbert", "feature-extraction"))),
            )


def test_sentence_files_travel(tiny, out, tmp_path):
    checkpoint = shutil.copytree(tiny.checkpoint("bert", "feature-extraction"), tmp_path / "checkpoint")
    (checkpoint / "1_Pooling").mkdir()
    files = dict.fromkeys(SENTENCE_FILES, "{}") | {"modules.json": "[]"}
    for name, content in files.items():
        (checkpoint / name).write_text(content)
    run(checkpoint, out)
    assert {name: (out / name).read_text() for name in files} == files
    assert files.keys() <= Manifest.read(out).source["files"].keys()


def test_the_task_is_that_of_the_head(tiny, out):
    assert run(tiny.checkpoint("bert", "question-answering"), out)[0].task == "question-answering"


def test_a_task_that_another_graph_serves(tiny, out):
    checkpoint = tiny.checkpoint("bert", "text-classification", num_labels=1)
    assert run(checkpoint, out, task="text-ranking")[0].task == "text-ranking"
    assert type(pipeline(model=out)).__name__ == "TextRankingPipeline"

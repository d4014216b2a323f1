import json
import shutil

import onnx
import pytest

from torchless import AutoModelForSequenceClassification, CheckpointError, OptionError, pipeline
from torchless.folder.config import ModelConfig
from torchless.folder.layout import DTYPE_SUFFIXES, MANIFEST_NAME
from torchless.folder.manifest import Manifest
from torchless.folder.model_folder import ModelFolder


@pytest.fixture
def copy(tiny, tmp_path):
    """An exported folder to damage."""
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "copy")


def test_a_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"no folder .*nowhere[\s\S]*torchless export"):
        pipeline("sentiment-analysis", tmp_path / "nowhere")


def test_an_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match="is empty"):
        pipeline("sentiment-analysis", tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "onnx/model.onnx"])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "torchless.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\x00\x01"])
def test_a_damaged_file(copy, name, content):
    (copy / name).write_text(content)
    with pytest.raises(CheckpointError, match=name):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_a_damaged_graph(copy, with_manifest, damage):
    graph = copy / "onnx" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"x" * len(whole)}[damage])
    if not with_manifest:
        (copy / "torchless.json").unlink()
    with pytest.raises(CheckpointError, match=r"model.onnx"):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs(copy, name):
    (copy / "torchless.json").unlink()
    (copy / name).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
    )
    with pytest.raises(CheckpointError, match=r"is a pointer of Git LFS[\s\S]*git lfs pull"):
        pipeline(model=copy)


def test_a_folder_without_a_manifest_loads(copy):
    expected = pipeline("sentiment-analysis", copy)("A film.")
    (copy / "torchless.json").unlink()
    assert pipeline("sentiment-analysis", copy)("A film.") == expected
    assert pipeline(model=copy)("A film.") == expected


def test_dtypes(copy):
    with pytest.raises(OptionError, match=r"no dtype 'q9'[\s\S]*Valid: bnb4"):
        pipeline("sentiment-analysis", copy, dtype="q9")
    with pytest.raises(CheckpointError, match=r"no onnx/model_quantized.onnx[\s\S]*dtype='fp32'"):
        pipeline("sentiment-analysis", copy, dtype="q8")


def test_a_manifest_of_another_schema(copy):
    manifest = json.loads((copy / "torchless.json").read_text())
    (copy / "torchless.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(CheckpointError, match="schema version 99"):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("key", ["variants", "files"])
def test_a_manifest_cannot_lead_outside(copy, key):
    manifest = json.loads((copy / "torchless.json").read_text())
    if key == "variants":
        manifest["variants"]["fp32"]["parts"][0]["file"] = "../../etc/passwd"
    else:
        manifest["files"]["../../etc/passwd"] = "0"
    (copy / "torchless.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="outside of its folder"):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("values", [{"files": []}, {"files": "x"}, {"variants": []}, {"unknown": 1}])
def test_what_is_no_manifest(copy, values):
    manifest = json.loads((copy / "torchless.json").read_text())
    (copy / "torchless.json").write_text(json.dumps({**manifest, **values}))
    with pytest.raises(CheckpointError, match="is not a manifest"):
        ModelFolder(copy)


def test_a_manifest_from_before_it_listed_other_files(copy):
    manifest = json.loads((copy / "torchless.json").read_text())
    del manifest["files"]
    (copy / "torchless.json").write_text(json.dumps(manifest))
    assert ModelFolder(copy).manifest.files == {}


@pytest.mark.parametrize("data", [None, {"file": "onnx/model.onnx_data", "size_bytes": 3, "sha256": "f00"}])
def test_a_manifest_of_the_first_schema(copy, data):
    """A variant was its one graph."""
    expected = Manifest.read(copy)
    manifest = json.loads((copy / "torchless.json").read_text())
    for variant in manifest["variants"].values():
        (part,) = variant.pop("parts")
        variant.update(part, data=data)
    (copy / "torchless.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    found = ModelFolder(copy).manifest
    (graph, *more) = found.variants["fp32"].parts
    assert (graph,) == expected.variants["fp32"].parts == found.variants["fp32"].graphs
    assert [part.file for part in more] == ([] if data is None else ["onnx/model.onnx_data"])
    if data is None:
        assert found == expected


def test_a_manifest_survives_writing_and_reading(copy, tmp_path):
    manifest = Manifest.read(copy)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert manifest.variants["fp32"].verification.agreement == 1


def test_labels_default_as_in_transformers():
    assert ModelConfig({}).id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert ModelConfig({"num_labels": 3}).num_labels == 3
    assert ModelConfig({"id2label": {"0": "A"}}).label2id == {"A": 0}
    with pytest.raises(AttributeError, match="config.json has no 'nothing'"):
        _ = ModelConfig({}).nothing


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "modernbert", "max_position_embeddings": 8192}, None),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "llama", "max_position_embeddings": 2048}, None),
        ({}, None),
    ],
)
def test_longest_input(config, limit):
    assert ModelConfig(config).max_tokens == limit


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, "text-classification"),
        ({"architectures": ["BertModel"]}, "feature-extraction"),
        ({"architectures": ["GPT2LMHeadModel"]}, "text-generation"),
        ({"architectures": ["LlamaForCausalLM"]}, "text-generation"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "text2text-generation"),
        ({"architectures": ["MarianMTModel"]}, "text2text-generation"),
        ({}, "feature-extraction"),
    ],
)
def test_task_of_a_folder_without_a_manifest(tmp_path, config, task):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert ModelFolder(tmp_path).task().name == task


def test_a_flat_folder(copy):
    expected = pipeline("sentiment-analysis", copy)("A film.")
    (copy / "torchless.json").unlink()
    (copy / "onnx" / "model.onnx").rename(copy / "model_quantized.onnx")
    assert pipeline("sentiment-analysis", copy, dtype="q8")("A film.") == expected
    assert list(ModelFolder(copy).dtypes()) == ["q8"]
    with pytest.raises(CheckpointError, match=r"has no onnx/model.onnx[\s\S]*It has dtype='q8'\."):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("name", ["model_O2.onnx", "onnx/model_O2.onnx"])
def test_a_graph_by_its_name(copy, name):
    expected = pipeline("sentiment-analysis", copy)("A film.")
    (copy / "onnx" / "model.onnx").rename(copy / "onnx" / "model_O2.onnx")
    assert pipeline("sentiment-analysis", copy, file_name=name)("A film.") == expected
    assert AutoModelForSequenceClassification.from_pretrained(copy, file_name=name).config.num_labels == 3
    with pytest.raises(CheckpointError, match=r"It has file_name='onnx/model_O2.onnx'\."):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("name", ["custom_ops.so", "onnx/custom_ops.dll", "onnx/libops.dylib"])
def test_native_code_is_refused(copy, name):
    (copy / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"holds native code, .*{name}"):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("kind", ["above", "absolute", "link"])
def test_weights_outside_of_the_folder_are_refused(copy, tmp_path, kind):
    graph = copy / "onnx" / "model.onnx"
    onnx.save_model(
        onnx.load(graph), graph, save_as_external_data=True, location="model.onnx_data"
    )  # fmt: skip
    (copy / "torchless.json").unlink()
    assert pipeline("sentiment-analysis", copy)("A film.")

    secret = tmp_path / "secret"
    (copy / "onnx" / "model.onnx_data").rename(secret)
    if kind == "link":
        (copy / "onnx" / "model.onnx_data").symlink_to(secret)
    else:
        model = onnx.load(graph, load_external_data=False)
        for initializer in model.graph.initializer:
            for entry in (entry for entry in initializer.external_data if entry.key == "location"):
                entry.value = {"above": "../../secret", "absolute": str(secret)}[kind]
        graph.write_bytes(model.SerializeToString())
    problem = (
        r"cannot load .*model.onnx: .*[Ee]xternal data" if kind == "link" else "a file outside of its folder: '.*sec"
    )
    with pytest.raises(CheckpointError, match=problem):
        pipeline("sentiment-analysis", copy)


@pytest.mark.parametrize("dtype", ["uint8", "bnb4"])
def test_a_dtype_that_only_other_exporters_write_is_loaded(tiny, tmp_path, dtype):
    copy = shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "copy")
    (copy / "onnx" / "model.onnx").rename(copy / "onnx" / f"model{DTYPE_SUFFIXES[dtype]}.onnx")
    (copy / MANIFEST_NAME).unlink()
    assert list(ModelFolder(copy).dtypes()) == [dtype]
    assert len(pipeline("text-classification", copy, dtype=dtype)("A film.", top_k=None)) == 3

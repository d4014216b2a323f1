"""Values that a file of a folder cannot have: each is refused when the folder is opened, with the file and the value."""

import json
import os
import shutil

import pytest

from torchless import AutoTokenizer, CheckpointError, pipeline
from torchless.folder.model_folder import ModelFolder
from torchless.inspection.inspection import inspect

_NAN, _INFINITY = float("nan"), float("inf")
_SENTENCE_FILES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 128},
    "config_sentence_transformers.json": {"prompts": {}},
}


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "folder")


@pytest.fixture
def embedder(tiny, tmp_path):
    folder = shutil.copytree(tiny.export("bert", "feature-extraction"), tmp_path / "embedder")
    (folder / "1_Pooling").mkdir()
    for name, values in _SENTENCE_FILES.items():
        (folder / name).write_text(json.dumps(values))
    change(folder, "torchless.json", files=dict.fromkeys(_SENTENCE_FILES, "0"))
    return folder


def change(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("config.json", "id2label", value) for value in (["a", "b"], "a", 5, {"x": "y"}, {"0": {}}, {"-1": "a"}, {"0" * 12: "a"})),
        *(("config.json", "num_labels", value) for value in (1e9, 10**9, -1, "3", None, [3])),
        *(("config.json", "architectures", value) for value in ([5], "Bert", {"x": 1})),
        *(("config.json", "model_type", value) for value in (["bert"], {}, 5)),
        *(("config.json", "vocab_size", value) for value in (_NAN, "many", -5, [1])),
        *(("config.json", "pad_token_id", value) for value in ("x", 0.5, [0], 2**70)),
        *(("config.json", "rope_scaling", value) for value in ([], {"factor": "x"}, {"factor": _NAN}, {"factor": -1})),
        *(("config.json", "label2id", value) for value in ([], "x")),
        ("config.json", "task_specific_params", {"x": 5}),
        *(("tokenizer_config.json", "model_max_length", value) for value in (_NAN, "long", -1, [512], True)),
        *(("tokenizer_config.json", "padding_side", value) for value in (None, "up", 5, [])),
        *(("tokenizer_config.json", "chat_template", value) for value in (5, [5], {"x": 5}, [{"name": "x"}])),
        *(("tokenizer_config.json", "pad_token", value) for value in (5, [], {"x": 1})),
        *(("tokenizer_config.json", "added_tokens_decoder", value) for value in ({"x": {}}, {"-1": {"content": "x"}})),
        *(("tokenizer_config.json", "model_input_names", value) for value in (5, [5], "input_ids")),
        ("special_tokens_map.json", "additional_special_tokens", [5]),
    ],
)  # fmt: skip
def test_a_value_that_is_not_possible(folder, name, key, value):
    change(folder, name, **{key: value})
    with pytest.raises(CheckpointError, match=rf"{name} has {key} = [\s\S]*Correct {name}"):
        pipeline(model=folder)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("1_Pooling/config.json", "pooling_mode", 5),
        ("1_Pooling/config.json", "pooling_mode_mean_tokens", "yes"),
        *(("sentence_bert_config.json", "max_seq_length", value) for value in ("abc", -1, 0.5, _NAN, _INFINITY, [128])),
        *(("config_sentence_transformers.json", "prompts", value) for value in (5, ["x"], {"x": 5})),
    ],
)  # fmt: skip
def test_a_value_of_sentence_transformers(embedder, name, key, value):
    change(embedder, name, **{key: value})
    with pytest.raises(CheckpointError, match=rf"{name} has {key} = "):
        pipeline(model=embedder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", 5), ("task", ["x"]), ("source", []), ("source", {"files": 5}), ("source", {"base": {"name": 5}}),
        ("versions", {"x": 5}), ("variants", {"fp32": 5}), ("max_tokens", "x"), ("max_tokens", 0), ("max_tokens", _NAN),
        ("rejected", [5]), ("files", {"x": 5}), ("schema_version", []), ("schema_version", {}), ("schema_version", None),
    ],
)  # fmt: skip
def test_a_value_of_a_manifest(folder, key, value):
    change(folder, "torchless.json", **{key: value})
    with pytest.raises(CheckpointError, match=r"torchless\.json (is not a manifest: it has|has schema version)"):
        ModelFolder(folder)


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("variant", "parts", 5), ("variant", "parts", [5]), ("variant", "scheme", 5), ("variant", "batch_dependent", "no"),
        ("variant", "verification", [1]), ("part", "file", 5), ("part", "size_bytes", "x"), ("part", "size_bytes", -1),
        ("part", "sha256", None), ("verification", "texts", "x"), ("verification", "agreement", "high"),
        ("verification", "lengths", 5), ("verification", "max_abs_diff", None),
    ],
)  # fmt: skip
def test_a_value_of_a_variant(folder, place, key, value):
    manifest = json.loads((folder / "torchless.json").read_text())
    variant = manifest["variants"]["fp32"]
    {"variant": variant, "part": variant["parts"][0], "verification": variant["verification"]}[place][key] = value
    (folder / "torchless.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=rf"torchless.json is not a manifest: it has {key} = "):
        ModelFolder(folder)


@pytest.mark.parametrize("value", [_INFINITY, 1e30, 10**30, None, 0])
def test_a_tokenizer_without_a_limit(folder, value):
    change(folder, "tokenizer_config.json", model_max_length=value)
    assert AutoTokenizer.from_pretrained(folder).model_max_length >= 10**30
    assert inspect(ModelFolder(folder)).tokenizer.max_length in {None, 0}


@pytest.mark.parametrize("labels", [{"0": "a", "1": "b", "9": "c"}, {"1": "a", "2": "b", "3": "c"}])
def test_labels_with_gaps(folder, labels):
    change(folder, "config.json", id2label=labels)
    with pytest.raises(CheckpointError, match="id2label in config.json has 3 labels, and none for"):
        pipeline(model=folder)


def test_labels_that_are_no_texts(folder, tiny, tmp_path):
    numbers = {"0": 5, "1": 6.5, "2": 7}
    change(folder, "config.json", id2label=numbers)
    assert pipeline(model=folder)("Dull.")[0]["label"] in numbers.values()
    tagger = shutil.copytree(tiny.export("bert", "token-classification", num_labels=3), tmp_path / "tagger")
    change(tagger, "config.json", id2label=numbers)
    with pytest.raises(CheckpointError, match="has the label 5, which is not a text"):
        pipeline(model=tagger)


@pytest.mark.parametrize("number", [99, "x", -7, [0]])
def test_an_entailment_that_is_no_label(folder, number):
    change(folder, "config.json", label2id={"entailment": number})
    with pytest.raises(CheckpointError, match="label2id in config.json has the number"):
        pipeline("zero-shot-classification", folder, candidate_labels=["a"])


@pytest.mark.parametrize("name", _SENTENCE_FILES)
def test_a_listed_file_that_is_missing(embedder, name):
    (embedder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"has no {name}, and its manifest lists it"):
        pipeline(model=embedder)
    assert f"{name} is missing, and the manifest lists it." in inspect(ModelFolder(embedder)).problems


def test_a_listed_file_that_only_others_read(folder):
    (folder / "vocab.txt").unlink()
    pipeline(model=folder)
    assert inspect(ModelFolder(folder)).problems == ("vocab.txt is missing, and the manifest lists it.",)


def test_settings_stay_what_they_are(embedder):
    folder = ModelFolder(embedder)
    for name in _SENTENCE_FILES:
        (embedder / name).write_text("{")
    assert folder.read_json("sentence_bert_config.json") == {"max_seq_length": 128}
    assert folder.read_json_list("modules.json") == _SENTENCE_FILES["modules.json"]


@pytest.mark.parametrize(
    "name", ["onnx/model.onnx", "tokenizer.json", "config.json", "tokenizer_config.json", "torchless.json"]
)
@pytest.mark.parametrize("kind", ["dangling", "pipe", "folder"])
def test_a_file_that_is_none(folder, name, kind):
    path = folder / name
    path.unlink()
    if kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(CheckpointError, match=path.name):
        pipeline(model=folder)


def test_a_folder_that_nobody_may_read(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        ModelFolder(folder)

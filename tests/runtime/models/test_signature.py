import json

import numpy as np
import onnx
import pytest
from fixtures.graphs import changed, pooled, set_dtypes
from onnx import TensorProto, helper

from torchless import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    CheckpointError,
    OptionError,
    pipeline,
)

TEXTS = ["One.", "A much longer text than that, by a few words."]
IDS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "encoder_attention_mask")


@pytest.mark.parametrize(
    ("dtype", "names"),
    [("int32", IDS), ("bool", IDS[1:2]), ("float32", IDS[1:2]), ("float16", IDS[1:2]), ("int32", IDS[:1])],
)
@pytest.mark.parametrize("task", ["feature-extraction", "multiple-choice", "text-classification"])
def test_inputs_are_cast_to_what_a_graph_declares(tiny, tmp_path, task, dtype, names):
    folder = tiny.export("bert", task)
    inputs = {"prompt": "It rains.", "choices": TEXTS} if task == "multiple-choice" else TEXTS
    other = pipeline(task, changed(folder, tmp_path / "other", set_dtypes(dtype, *names)))
    assert other(inputs) == pipeline(task, folder)(inputs)


@pytest.mark.parametrize(
    ("model_type", "task"),
    [
        ("gpt2", "text-generation"),
        ("llama", "text-generation"),
        ("t5", "text2text-generation"),
        ("bart", "summarization"),
    ],
)
@pytest.mark.parametrize("dtype", ["int32", "mask as float16"])
def test_those_of_decoders_too(tiny, tmp_path, model_type, task, dtype):
    folder = tiny.export(model_type, {"summarization": "text2text-generation"}.get(task, task))
    change = set_dtypes("int32", *IDS) if dtype == "int32" else set_dtypes("float16", IDS[1], IDS[4])
    other = pipeline(task, changed(folder, tmp_path / "other", change))
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    for more in ({}, {"num_beams": 2}):
        assert other(TEXTS, **options, **more) == pipeline(task, folder)(TEXTS, **options, **more)


def with_input(name):
    def change(model):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3])
        model.graph.input.append(value)
        model.graph.node.append(helper.make_node("Identity", [name], [f"{name}_unused"]))

    return change


@pytest.mark.parametrize(
    ("model_type", "task", "name"),
    [
        ("bert", "text-classification", "pixel_values"),
        ("bert", "feature-extraction", "bbox"),
        ("bert", "multiple-choice", "decoder_input_ids"),
        ("gpt2", "text-generation", "audio_features"),
        ("t5", "text2text-generation", "pixel_values"),
    ],
)
def test_an_input_that_nothing_fills_is_refused_by_name(tiny, tmp_path, model_type, task, name):
    folder = changed(tiny.export(model_type, task), tmp_path / "other", with_input(name))
    with pytest.raises(CheckpointError, match=rf"\.onnx takes {name}, and no text gives that"):
        pipeline(task, folder)


def test_a_graph_without_token_ids(tiny, tmp_path):
    def change(model):
        (ids,) = (value for value in model.graph.input if value.name == "input_ids")
        model.graph.input.remove(ids)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 4), np.int64), "input_ids"))

    folder = changed(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "other", change)
    with pytest.raises(CheckpointError, match="takes no input_ids; it takes "):
        pipeline("text-classification", folder)


def renamed(**names):
    """Let a graph call outputs otherwise, and list them in another order after some that nobody reads."""

    def change(model):
        graph = model.graph
        for old, new in names.items():
            (value,) = (value for value in graph.output if value.name == old)
            graph.node.append(helper.make_node("Identity", [old], [new]))
            value.name = new
        graph.output.extend(graph.output[:])
        outputs = [*graph.output][: len(graph.output) // 2]
        graph.ClearField("output")
        graph.node.append(helper.make_node("Shape", ["input_ids"], ["shape"]))
        graph.output.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [2]))
        graph.output.extend(reversed(outputs))

    return change


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("feature-extraction", {}),
        ("feature-extraction", {"last_hidden_state": "token_embeddings"}),
        ("feature-extraction", {"last_hidden_state": "output_0"}),
        ("text-classification", {}),
        ("text-classification", {"logits": "output_0"}),
        ("question-answering", {"start_logits": "output_0", "end_logits": "output_1"}),
    ],
)
def test_outputs_of_other_names_and_places(tiny, tmp_path, task, names):
    folder = tiny.export("bert", task)
    inputs = {"question": "Who?", "context": TEXTS[1]} if task == "question-answering" else TEXTS
    other = pipeline(task, changed(folder, tmp_path / "other", renamed(**names)))
    assert other(inputs) == pipeline(task, folder)(inputs)
    assert set(other.model([[101, 102]])) == {"shape", *pipeline(task, folder).model.outputs}


def test_labels_are_checked_under_another_name_too(tiny, tmp_path):
    folder = changed(
        tiny.export("bert", "text-classification", num_labels=3), tmp_path / "other", renamed(logits="output_0")
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "A", "1": "B"}}))
    with pytest.raises(CheckpointError, match="has 3 labels, and id2label in config.json has 2"):
        AutoModelForSequenceClassification.from_pretrained(folder)


def test_an_encoder_without_hidden_states(tiny, tmp_path):
    folder = changed(tiny.export("t5", "text2text-generation"), tmp_path / "other")
    path = folder / "onnx" / "encoder_model.onnx"
    model = onnx.load(path)
    model.graph.output[0].name, old = "encoded", model.graph.output[0].name
    model.graph.node.append(helper.make_node("Identity", [old], ["encoded"]))
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="has no output 'last_hidden_state'; it has: encoded"):
        AutoModelForSeq2SeqLM.from_pretrained(folder)


@pytest.mark.parametrize("alone", [False, True])
def test_the_embedding_that_a_graph_gives(tiny, tmp_path, alone):
    folder = tiny.export("bert", "feature-extraction")
    expected = 2 * pipeline("feature-extraction", folder)(TEXTS, pooling="cls", return_tensors="np")
    embed = pipeline("feature-extraction", changed(folder, tmp_path / "other", pooled(alone=alone)))
    np.testing.assert_allclose(embed(TEXTS, pooling="auto", return_tensors="np"), expected, atol=1e-5)
    unit = embed(TEXTS, pooling="auto", normalize=True, return_tensors="np")
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    assert set(AutoModel.from_pretrained(tmp_path / "other")([[101, 102]])) == {
        "sentence_embedding",
        *(() if alone else ("last_hidden_state",)),
    }


def test_no_token_features_where_a_graph_gives_none(tiny, tmp_path):
    folder = changed(tiny.export("bert", "feature-extraction"), tmp_path / "other", pooled(alone=True))
    embed = pipeline("feature-extraction", folder)
    for pooling in (None, "mean"):
        with pytest.raises(OptionError, match=r"needs the features of tokens[\s\S]*pooling='auto'"):
            embed(TEXTS, pooling=pooling)
    assert embed.example_options == {"pooling": "auto"}

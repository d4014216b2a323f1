import json
import subprocess
import sys

import httpx
import numpy as np
import onnx
import pytest
from fixtures.graphs import changed
from fixtures.server import serving
from onnx import TensorProto, helper

from torchless import InputError, pipeline
from torchless.errors import ScoreError
from torchless.pipelines.finiteness import outputs_are_finite, scores_are_finite

FINE, BAD = "A fine film.", "A film on the moon."
CALLS = {
    "feature-extraction": (FINE, BAD),
    "fill-mask": (f"{FINE} [MASK]", f"{BAD} [MASK]"),
    "multiple-choice": ({"prompt": FINE, "choices": ["a", "b"]}, {"prompt": FINE, "choices": ["a", BAD]}),
    "question-answering": ({"question": "Who?", "context": FINE}, {"question": "Who?", "context": BAD}),
    "text-classification": (FINE, BAD),
    "token-classification": (FINE, BAD),
}
PROBLEM = "with NaN or infinite values"


def with_value(value, token, *, axes):
    """Let a graph answer a row with a value instead of a number where the row has a certain token."""

    def change(model):
        graph = model.graph
        (output,) = (
            output for output in graph.output if output.name in {"logits", "start_logits", "last_hidden_state"}
        )
        inner = f"{output.name}_numbers"
        for node in graph.node:
            node.output[:] = [inner if name == output.name else name for name in node.output]
            node.input[:] = [inner if name == output.name else name for name in node.input]
        constants = {
            "wrong": np.float32(value), "right": np.float32(0), "bad": np.int64(token),
            "last": np.array([-1]), "after": np.array(axes or [0]),
        }  # fmt: skip
        graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
        graph.node.extend(
            [
                helper.make_node("Equal", ["input_ids", "bad"], ["are_bad"]),
                helper.make_node("Cast", ["are_bad"], ["ones"], to=TensorProto.INT64),
                helper.make_node("ReduceSum", ["ones", "last"], ["count"], keepdims=0),
                helper.make_node("Cast", ["count"], ["is_bad"], to=TensorProto.BOOL),
                helper.make_node("Where", ["is_bad", "wrong", "right"], ["of_row"]),
                helper.make_node("Unsqueeze", ["of_row", "after"], ["of_output"]),
                helper.make_node("Add", [inner, "of_output" if axes else "of_row"], [output.name]),
            ]
        )

    return change


@pytest.fixture
def broken(tiny, tmp_path):
    """Returns a pipeline's class of models whose graph answers texts like BAD with a value that is not a number."""

    def make(task, value, model_type="bert"):
        folder = tiny.export(model_type, task)
        encode = pipeline(task, folder).tokenizer.encode
        token = next(token for token in encode(BAD) if token not in encode(FINE))
        axes = {"multiple-choice": [], "text-classification": [1], "question-answering": [1]}.get(task, [1, 2])
        return changed(folder, tmp_path / "broken", with_value(value, token, axes=axes))

    return make


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("task", CALLS)
def test_an_answer_that_is_no_number_is_an_error_that_names_the_text(broken, task, value):
    pipe, (fine, bad) = pipeline(task, broken(task, value)), CALLS[task]
    assert pipe(fine)
    with pytest.raises(InputError, match=rf"The model answers .*A film on the moon\.[^(]* {PROBLEM}"):
        pipe(bad)
    for inputs in ([fine, fine, bad, fine], iter([fine, fine, bad])):
        with pytest.raises(InputError, match=rf"on the moon\..*\(index 2 of the inputs\) {PROBLEM}"):
            list(pipe(inputs))


def test_those_of_other_pooling_and_functions(broken):
    embed = pipeline("feature-extraction", broken("feature-extraction", -np.inf))
    with pytest.raises(InputError, match=PROBLEM):
        embed(BAD, pooling="mean", return_tensors="np")


def test_minus_infinity_is_a_logit_but_no_score(broken):
    classify = pipeline("text-classification", broken("text-classification", -np.inf))
    for options in ({}, {"function_to_apply": "none"}):
        with pytest.raises(InputError, match=PROBLEM):
            classify(BAD, **options)


@pytest.mark.parametrize(("model_type", "task"), [("gpt2", "text-generation"), ("t5", "text2text-generation")])
def test_generation(broken, tiny, tmp_path, model_type, task):
    folder = tiny.export(model_type, task)
    name = "model.onnx" if model_type == "gpt2" else "decoder_model_merged.onnx"

    def nan_logits(model):
        graph = model.graph
        if not any(output.name == "logits" for output in graph.output):
            return
        for node in graph.node:
            node.output[:] = ["logits_numbers" if output == "logits" else output for output in node.output]
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(np.nan).reshape(1), "nan"))
        graph.node.append(helper.make_node("Add", ["logits_numbers", "nan"], ["logits"]))

    generate = pipeline(task, changed(folder, tmp_path / "broken", nan_logits))
    assert (tmp_path / "broken" / "onnx" / name).exists()
    for options in ({}, {"num_beams": 2}, {"do_sample": True}):
        with pytest.raises(InputError, match=rf"answers 'A film on the moon\.' {PROBLEM}"):
            generate(BAD, **options)
        with pytest.raises(InputError, match=rf"answers 'A f.*' \(index \d of the inputs\) {PROBLEM}"):
            generate([FINE, BAD], **options)
    with pytest.raises(InputError, match=rf"answers 'A film on the moon\.' {PROBLEM}"):
        list(generate.stream(BAD, num_beams=1))


def test_the_command_line(broken):
    folder = broken("text-classification", np.nan)
    command = [sys.executable, "-c", "from torchless.cli import main; main()", "run", str(folder)]
    done = subprocess.run([*command, FINE, BAD], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [json.loads(line)["input"] for line in done.stdout.splitlines()] == [FINE]
    assert done.stderr.startswith(f"torchless: The model answers 'A film on the moon.' {PROBLEM}. ")
    assert len(done.stderr.splitlines()) == 1


def test_over_http(broken):
    with serving(f"broken={broken('text-classification', np.nan)}") as server:
        answer = httpx.post(f"{server.url}/models/broken", json={"inputs": [FINE, BAD]}, timeout=20)
    assert answer.status_code == 422
    assert f"'A film on the moon.' (index 1 of the inputs) {PROBLEM}" in answer.json()["error"]


def test_what_an_error_shows_of_a_long_text():
    error = ScoreError("many words " * 100, index=3)
    assert "… (index 3 of the inputs)" in error.problem
    assert len(error.problem) < 200
    assert ScoreError().problem == "The model answers with NaN or infinite values."


@pytest.mark.parametrize(
    ("array", "axes", "finite"),
    [
        ([0, -np.inf], "labels", True),
        ([-np.inf, -np.inf], "labels", False),
        ([0, np.inf], "labels", False),
        ([0, np.nan], "tokens", False),
        ([[0, 1], [np.nan, 1]], "vocabulary", False),
        ([[0, 1], [-np.inf, -np.inf]], "vocabulary", False),
        ([0, -np.inf], "hidden", False),
        ([], "tokens", True),
    ],
)
def test_outputs(array, axes, finite):
    outputs = [(np.ones(2, np.float32),), (np.array(array, np.float32),)]
    assert outputs_are_finite(outputs, [("batch", axes)]) is finite


@pytest.mark.parametrize(
    ("result", "finite"),
    [
        ([{"label": "A", "score": 0.5}], True),
        ([{"label": "A", "score": float("nan")}], False),
        ([[{"score": 1.0}], [{"score": np.float32(np.inf)}]], False),
        ({"labels": ["a"], "scores": [0.5, float("nan")]}, False),
        ({"label": "A", "score": -float("inf")}, False),
        ([], True),
        ("text", True),
    ],
)
def test_scores(result, finite):
    assert scores_are_finite(result) is finite

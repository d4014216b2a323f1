import numpy as np
import onnx
import pytest
from fixtures.graphs import changed, set_axes

from torchless import AutoModel, CheckpointError, InputError, OptionError, TruncationWarning, Windows, pipeline
from torchless.models.static_axes import StaticAxes
from torchless.ort.session import Tensor

TEXTS = ["One.", "A much longer text than that, by a few words.", "Hm?"] * 2
LONG = "A text of many words, which goes on and on. " * 20
CONTEXT = "My name is Wolfgang and I live in Berlin, which is a city in Germany. " * 4
CHOICES = ["An umbrella.", "A spoon.", "A very large spoon made of wood."]

CALLS = {
    "feature-extraction": (TEXTS, {}),
    "fill-mask": (["The capital of France is [MASK].", "[MASK] it."], {}),
    "multiple-choice": ({"prompt": "It rains.", "choices": CHOICES}, {}),
    "question-answering": ({"question": "Where?", "context": CONTEXT}, {"max_seq_len": 24, "doc_stride": 4}),
    "text-classification": (TEXTS, {"top_k": None}),
    "token-classification": (TEXTS, {"aggregation_strategy": "simple"}),
}
AXES = [{"batch": 1, "tokens": 32}, {"batch": 4}, {"batch": 4, "tokens": 32}, {"tokens": 32}]


def is_close(answer, expected):
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(is_close(answer[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(is_close, answer, expected))
    return answer == expected if isinstance(expected, str) else np.allclose(answer, expected, atol=2e-5)


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("task", CALLS)
def test_answers_are_those_of_the_graph_with_free_axes(tiny, tmp_path, task, axes):
    folder, (inputs, options) = tiny.export("bert", task), CALLS[task]
    static = pipeline(task, changed(folder, tmp_path / "static", set_axes(**axes)))
    assert is_close(static(inputs, **options), pipeline(task, folder)(inputs, **options))


@pytest.mark.parametrize("axes", [{"choices": 4}, {"batch": 2, "choices": 2, "tokens": 32}], ids=str)
def test_choices(tiny, tmp_path, axes):
    folder, (inputs, _) = tiny.export("bert", "multiple-choice"), CALLS["multiple-choice"]
    static = pipeline("multiple-choice", changed(folder, tmp_path / "static", set_axes(**axes)))
    assert is_close(static(inputs), pipeline("multiple-choice", folder)(inputs))


@pytest.fixture
def static(tiny, tmp_path):
    folder = tiny.export("bert", "text-classification", num_labels=3)
    return changed(folder, tmp_path / "static", set_axes(batch=2, tokens=32))


def test_a_longer_text_is_an_error_that_names_the_limit(static):
    classify = pipeline("text-classification", static)
    with pytest.raises(InputError, match=r"the graph of this model takes 32\.[\s\S]*truncation=True, max_length=32"):
        classify(LONG)
    with pytest.raises(InputError, match=r"has 64 tokens, and the graph of this model takes 32"):
        classify(LONG, truncation=True, max_length=64)
    with pytest.raises(OptionError, match=r"window of 64 tokens[\s\S]*Give 32 or less"):
        classify(LONG, windows=Windows(max_length=64))


def test_truncation_and_windows_use_the_limit(static, tiny):
    classify = pipeline("text-classification", static)
    whole = pipeline("text-classification", tiny.export("bert", "text-classification", num_labels=3))
    with pytest.warns(TruncationWarning, match="cut to 32 tokens"):
        cut = classify(LONG, truncation=True, top_k=None)
    with pytest.warns(TruncationWarning):
        assert is_close(cut, whole(LONG, truncation=True, max_length=32, top_k=None))
    windows = classify(LONG, windows=Windows(stride=8), top_k=None)
    assert is_close(windows, whole(LONG, windows=Windows(max_length=32, stride=8), top_k=None))
    assert (classify.max_tokens, classify.tokenizer.max_tokens) == (32, 32)


def test_a_batch_has_as_many_rows_as_the_graph_takes(static):
    model = pipeline("text-classification", static).model
    assert (model.static_tokens, model.max_tokens, model.max_batch_rows(384)) == (32, 32, 2)


def test_arrays(tiny, tmp_path):
    folder = tiny.export("bert", "feature-extraction")
    static = AutoModel.from_pretrained(changed(folder, tmp_path / "static", set_axes(batch=2, tokens=8)))
    ids = np.arange(1000, 1015).reshape(3, 5)
    expected = AutoModel.from_pretrained(folder)(ids).last_hidden_state
    np.testing.assert_allclose(static(ids).last_hidden_state, expected, atol=1e-5)
    with pytest.raises(InputError, match="9 tokens, and the graph of this model takes 8"):
        static(np.ones((1, 9), np.int64))
    with pytest.raises(InputError, match="no texts"):
        static(np.ones((0, 5), np.int64))


def test_padding_would_count_without_a_mask(tiny, tmp_path):
    def without_mask(model):
        (mask,) = (value for value in model.graph.input if value.name == "attention_mask")
        model.graph.input.remove(mask)
        ones = np.ones((1, 6), np.int64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(ones, "attention_mask"))

    folder = tiny.export("bert", "text-classification", num_labels=3)
    static = changed(folder, tmp_path / "static", without_mask, set_axes(batch=1, tokens=6))
    classify = pipeline("text-classification", static)
    assert is_close(classify("A film on wars"), pipeline("text-classification", folder)("A film on wars"))
    with pytest.raises(InputError, match=r"has 4 tokens, and .* takes exactly 6: it has no attention_mask"):
        classify("Dull.")


@pytest.mark.parametrize(
    ("model_type", "task", "axes"),
    [("gpt2", "text-generation", {"tokens": 1}), ("t5", "text2text-generation", {"batch": 2})],
)
def test_generation_needs_free_axes(tiny, tmp_path, model_type, task, axes):
    def only_ids(model):
        change = set_axes(**axes)
        copy = type(model)()
        copy.graph.input.extend(value for value in model.graph.input if value.name == "input_ids")
        change(copy)
        (ids,) = (value for value in model.graph.input if value.name == "input_ids")
        ids.CopyFrom(copy.graph.input[0])

    folder = changed(tiny.export(model_type, task), tmp_path / "static", only_ids)
    with pytest.raises(CheckpointError, match=r"takes exactly (1 tokens|2 texts) at each step"):
        pipeline(task, folder)


def test_what_runs_are_made_of():
    axes = StaticAxes(batch=2, tokens=4)
    feeds = {"input_ids": np.arange(9).reshape(3, 3), "attention_mask": np.ones((3, 3), int)}
    first, second = axes.runs(feeds, pad_id=7)
    assert first["input_ids"].tolist() == [[0, 1, 2, 7], [3, 4, 5, 7]]
    assert second["input_ids"].tolist() == [[6, 7, 8, 7], [6, 7, 8, 7]]
    assert second["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
    joined = axes.joined([run["input_ids"] for run in (first, second)], ("batch", "tokens"), (3, 3))
    assert joined.tolist() == feeds["input_ids"].tolist()
    assert not StaticAxes()


def test_inputs_with_other_axes_are_left_out():
    tensors = {
        "input_ids": Tensor(np.dtype(np.int64), (None, 8), ("batch", "8")),
        "past": Tensor(np.dtype(np.float32), (1, 2, None, 4), ("1", "2", "past", "4")),
        "unknown": Tensor(np.dtype(np.int64), (), ()),
    }
    assert StaticAxes.of(tensors, ("batch", "tokens")) == StaticAxes(tokens=8)

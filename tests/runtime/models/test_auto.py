import numpy as np
import pytest

from torchless import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    CheckpointError,
    InputError,
    OptionError,
)


@pytest.fixture(scope="module")
def folder(tiny):
    return tiny.export("bert", "text-classification", num_labels=3)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder)


def test_lists_are_inputs_too(model, folder):
    inputs = AutoTokenizer.from_pretrained(folder)(["one", "two"])
    np.testing.assert_array_equal(model(**inputs).logits, model(**{k: np.array(v) for k, v in inputs.items()}).logits)


def test_masks_default_to_ones(model):
    ids = np.array([[101, 2028, 102]])
    np.testing.assert_array_equal(model(ids)[0], model(ids, np.ones_like(ids), np.zeros_like(ids))[0])


def test_output_names_are_listed_when_one_is_missing(model):
    with pytest.raises(AttributeError, match="there are: logits"):
        _ = model([[101, 102]]).last_hidden_state


def test_a_class_without_its_output_says_which_export_has_it(folder):
    with pytest.raises(
        CheckpointError,
        match=r"needs the output 'last_hidden_state'.*has: logits[\s\S]*Load it with "
        r"AutoModelForSequenceClassification, or export .*--task feature-extraction",
    ):
        AutoModel.from_pretrained(folder)


def test_a_head_class_on_hidden_states(tiny):
    with pytest.raises(CheckpointError, match=r"needs the output 'logits'[\s\S]*--task text-classification"):
        AutoModelForSequenceClassification.from_pretrained(tiny.export("bert", "feature-extraction"))


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], [[1.5, 2.5]], [["a"]]], ids=str)
def test_ids_that_are_no_batch(model, ids):
    with pytest.raises(InputError):
        model(ids)


def test_shapes_that_do_not_fit(model):
    with pytest.raises(InputError, match="attention_mask has the shape"):
        model([[1, 2]], attention_mask=[[1]])


def test_token_types_that_a_model_cannot_use(tiny):
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny.export("distilbert", "text-classification", num_labels=3)
    )
    model([[101, 102]], token_type_ids=[[0, 0]])
    with pytest.raises(InputError, match="takes no token_type_ids"):
        model([[101, 102]], token_type_ids=[[0, 1]])


def test_too_long(model):
    with pytest.raises(InputError, match="has 513 tokens, and this model takes 512"):
        model(np.ones((1, 513), dtype=np.int64))


def test_ids_outside_of_the_vocabulary(model):
    with pytest.raises(InputError, match="refuses these inputs"):
        model([[10**6]])


def test_wrong_number_of_labels(tiny, tmp_path, folder):
    import json
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {"0": "A", "1": "B"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"has 3 labels, and id2label in config.json has 2"):
        AutoModelForSequenceClassification.from_pretrained(copy)


def test_threads_and_providers(folder):
    assert AutoModelForSequenceClassification.from_pretrained(folder, threads=1, providers=["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="threads=0"):
        AutoModelForSequenceClassification.from_pretrained(folder, threads=0)
    with pytest.raises(OptionError, match="no execution provider 'GPU'"):
        AutoModelForSequenceClassification.from_pretrained(folder, providers=["GPU"])

"""Errors about inputs: which input of a list, and hints that work."""

import json
import re
import shutil
import warnings
from itertools import chain

import pytest

from torchless import AutoTokenizer, InputError, pipeline

LONG = "word " * 700
REPAIR = "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
SURROGATE = "A \ud800 film"


@pytest.fixture(scope="module")
def classify(tiny):
    return pipeline(model=tiny.export("bert", "text-classification", num_labels=3))


@pytest.mark.parametrize("bad", [None, 3, b"Dull.", float("nan"), SURROGATE, LONG])
def test_an_input_of_a_list_is_named_by_its_index(classify, bad):
    with pytest.raises(InputError, match=r"^Index 2 of the inputs: ") as raised:
        classify(["Dull.", "A film.", bad])
    with pytest.raises(InputError) as alone:
        classify(bad)
    assert str(raised.value) == f"Index 2 of the inputs: {alone.value}"


def test_an_input_of_an_iterator_is_named_by_its_index(classify):
    with pytest.raises(InputError, match="^Index 1500 of the inputs: The input is 3, of type int"):
        list(classify(chain(["Dull."] * 1500, [3])))


def test_inputs_of_a_request_are_named_by_their_index(classify):
    with pytest.raises(InputError, match="^Index 1 of the inputs: "):
        classify.prepare(["Dull.", 3])
    with pytest.raises(InputError, match="^The input is 3"):
        classify.prepare([3])


def test_a_long_input_is_shown_in_part(classify):
    with pytest.raises(InputError) as raised:
        classify([[LONG]])
    assert len(str(raised.value)) < 400


def test_a_lone_surrogate_has_a_hint_that_repairs_it(classify):
    for call in (classify, classify.tokenizer, classify.tokenizer.tokenize):
        with pytest.raises(InputError, match=r"'\\ud800' at position 2: a surrogate.*half of a character") as raised:
            call(SURROGATE)
    assert raised.value.hint == f"Repair the text: {REPAIR}"
    namespace = {"lone": SURROGATE, "two": "\ud83d\ude00"}
    exec("\n".join(f"{name} = {REPAIR.replace('text', name)}" for name in list(namespace)), namespace)  # noqa: S102
    assert (namespace["lone"], namespace["two"]) == ("A \ufffd film", "\U0001f600")
    classify(namespace["lone"])


def test_surrogates_elsewhere(tiny):
    question = pipeline(model=tiny.export("bert", "question-answering"))
    with pytest.raises(InputError, match="a surrogate"):
        question(question="Who?", context=SURROGATE)
    generate = pipeline(model=tiny.export("llama", "text-generation"), max_new_tokens=2)
    generate("A film", stop_strings=["\ud800"])
    fill = pipeline(model=tiny.export("bert", "fill-mask"))
    with pytest.raises(InputError, match="a surrogate"):
        fill("A [MASK].", targets=["\ud800"])


@pytest.mark.parametrize(
    ("model_type", "task", "options"),
    [
        ("bert", "text-classification", {}),
        ("bert", "feature-extraction", {}),
        ("bart", "text2text-generation", {"max_new_tokens": 2}),
        ("bart", "summarization", {"max_new_tokens": 2}),
        ("bart", "translation", {"max_new_tokens": 2}),
        ("gpt2", "text-generation", {}),
        ("gpt2", "text-generation", {"max_new_tokens": 600}),
    ],
)
@pytest.mark.parametrize("given", [None, "folder", "tokenizer"])
def test_the_hint_about_a_long_text_works(tiny, tmp_path, model_type, task, options, given):
    """Also with a tokenizer whose files say no limit, as a folder of a tokenizer alone."""
    graph = "text2text-generation" if model_type == "bart" else task
    folder = tiny.export(model_type, graph)
    if given:
        for path in folder.glob("*token*.json"):
            shutil.copy(path, tmp_path)
        config = tmp_path / "tokenizer_config.json"
        config.write_text(re.sub(r'"model_max_length": \d+,', "", config.read_text()))
        given = tmp_path if given == "folder" else AutoTokenizer.from_pretrained(tmp_path)
    pipe = pipeline(task, folder, tokenizer=given, **options)
    with pytest.raises(InputError, match="takes 512") as raised:
        pipe(LONG)
    hinted = {name: int(value) for name, value in re.findall(r"(max_\w+)=(\d+)", raised.value.hint)}
    assert "truncation=True" in raised.value.hint
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe(LONG, truncation=True, **hinted)
        if not options and model_type == "bert":
            pipe(LONG, truncation=True)


def test_an_encoder_beyond_the_context_of_its_rotary_positions_has_a_warning(tiny, tmp_path):
    folder = shutil.copytree(tiny.export("modernbert", "text-classification"), tmp_path / "folder")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 64}))
    pipe = pipeline(model=folder)
    with pytest.warns(UserWarning, match=r"has \d+ tokens. The model was trained for 64.*max_length=64"):
        pipe("A film of quiet power. " * 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe("A film")

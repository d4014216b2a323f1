import pytest

from torchless import TaskError
from torchless.tasks import TASKS, find_task, task_of_architectures


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ner", "token-classification"),
        ("summarization", "summarization"),
        ("translation", "translation"),
        ("translation_en_to_de", "translation"),
        ("translation_zh-Hans_to_fr", "translation"),
    ],
)
def test_names_of_tasks(name, found):
    assert find_task(name).name == found


@pytest.mark.parametrize("name", ["translation_en", "translation_en_to_", "xtranslation_en_to_de", "", None, []])
def test_names_without_a_task(name):
    with pytest.raises(TaskError, match="There is no task"):
        find_task(name)


@pytest.mark.parametrize(
    "architecture",
    ["BartForConditionalGeneration", "MarianMTModel", "PegasusForConditionalGeneration", "T5ForConditionalGeneration"],
)
def test_encoder_decoders_by_their_class(architecture):
    assert task_of_architectures([architecture]).name == "text2text-generation"


def test_two_graphs_serve_three_tasks():
    assert {task.name for task in TASKS if task.encoder_decoder} == {
        "summarization", "text2text-generation", "translation",
    }  # fmt: skip
    assert {task.graph for task in TASKS if task.encoder_decoder} == {"text2text-generation"}
    assert all(task.cached for task in TASKS if task.encoder_decoder)

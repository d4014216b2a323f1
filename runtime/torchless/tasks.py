"""The one table of tasks: what each is called, what its graph answers, which classes serve it. Data only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torchless.errors import TaskError, nearest

__all__ = ["TASKS", "Task", "find_task", "task_of_architectures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, as a row of the table.

    Attributes:
        name: The canonical name, as `transformers.pipeline` and `optimum` spell it.
        outputs: The ONNX outputs that the graph must have, each with the names of its axes. The axis `tokens` is
            cut back to a row's own length after a batch; the axis `labels` is as long as `config.id2label`.
        auto_class: The class for the steps by hand, in `torchless.auto`.
        pipeline: The pipeline class, as `module:class`.
        examples: Inputs to try a model with.
        aliases: Other names for it.
    """

    name: str
    outputs: Mapping[str, tuple[str, ...]]
    auto_class: str
    pipeline: str
    examples: tuple[Any, ...]
    aliases: tuple[str, ...] = ()


TASKS: tuple[Task, ...] = (
    Task(
        name="feature-extraction",
        outputs={"last_hidden_state": ("batch", "tokens", "hidden")},
        auto_class="AutoModel",
        pipeline="torchless.pipelines.feature_extraction:FeatureExtractionPipeline",
        examples=("This is a simple test.",),
    ),
    Task(
        name="text-classification",
        aliases=("sentiment-analysis",),
        outputs={"logits": ("batch", "labels")},
        auto_class="AutoModelForSequenceClassification",
        pipeline="torchless.pipelines.text_classification:TextClassificationPipeline",
        examples=(
            "I've been waiting for a HuggingFace course my whole life.",
            "I hate this so much!",
        ),
    ),
)

_BY_NAME = {name: task for task in TASKS for name in (task.name, *task.aliases)}


def find_task(name: str) -> Task:
    """Return the row of a task, by its name or an alias.

    Args:
        name: For example `sentiment-analysis`.

    Raises:
        TaskError: No task has that name; the hint lists those that exist.
    """
    try:
        return _BY_NAME[name]
    except (KeyError, TypeError):
        raise TaskError(f"There is no task {name!r}.", hint=nearest(name, _BY_NAME)) from None


def task_of_architectures(architectures: Iterable[str]) -> Task | None:
    """Return the task of a model's class, for example `BertForSequenceClassification`; None if no head is known.

    Args:
        architectures: The class names in `config.json`.
    """
    for task in TASKS:
        head = task.auto_class.removeprefix("AutoModel")
        if head and any(architecture.endswith(head) for architecture in architectures):
            return task
    return None

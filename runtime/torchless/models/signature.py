"""What a graph declares, compared with what a model's class gives it and reads from it."""

from collections.abc import Callable, Mapping
from typing import Any

from torchless.errors import CheckpointError
from torchless.folder.model_folder import ModelFolder
from torchless.ort.session import Session
from torchless.tasks import Task

__all__ = ["check_inputs", "checked_outputs", "output_names"]

# What other exporters call an output: optimum for sentence-transformers, and `convert_graph_to_onnx` of transformers 4.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "last_hidden_state": ("token_embeddings", "output_0"),
    "logits": ("output_0",),
    "start_logits": ("output_0",),
    "end_logits": ("output_1",),
}


def check_inputs(session: Session, *, fills: Callable[[str], bool]) -> None:
    """Raise unless every input of a graph is given something, `input_ids` among them.

    Args:
        session: The graph.
        fills: Tells whether an input is given something, by its name.

    Raises:
        CheckpointError: An input is given nothing, or the graph takes no token ids.
    """
    unknown = [name for name in session.inputs if not fills(name)]
    hint = "Export the model for texts alone: torchless export MODEL OUT"
    if unknown:
        raise CheckpointError(f"{session.graph} takes {', '.join(unknown)}, and no text gives that.", hint=hint)
    if "input_ids" not in session.inputs:
        present = ", ".join(session.inputs) or "nothing"
        raise CheckpointError(f"{session.graph} takes no input_ids; it takes {present}.", hint=hint)


def output_names(task: Task, session: Session) -> dict[str, str]:
    """Return the task's name of each output that another exporter named otherwise, by the name that the graph has.

    Args:
        task: The row of the table.
        session: The graph.
    """
    if task.cached:  # the names of keys and values are those of optimum too
        return {}
    found = {
        name: next((other for other in _OTHER_NAMES.get(name, ()) if other in session.outputs), None)
        for name in task.outputs
        if name not in session.outputs
    }
    return {other: name for name, other in found.items() if other is not None}


def checked_outputs(
    task: Task, folder: ModelFolder, session: Session, names: Mapping[str, str], *, class_name: str
) -> dict[str, tuple[str, ...]]:
    """Return the outputs of a task that a graph has, by the task's names, each with the names of its axes.

    Args:
        task: The row of the table.
        folder: The folder of the graph.
        session: The graph.
        names: As `output_names` returns them.
        class_name: The model's class, for the errors.

    Raises:
        CheckpointError: An output is missing, or does not fit the task or the labels.
    """
    declared = {names.get(name, name): tensor for name, tensor in session.outputs.items()}
    further = {name: axes for name, axes in task.further_outputs.items() if name in declared}
    outputs = {name: axes for name, axes in task.outputs.items() if name in declared or not further} | further
    for name, axes in outputs.items():
        tensor = declared.get(name)
        if tensor is None:
            folder_task = folder.task()
            use = (
                f"Load it with {folder_task.auto_class}, or e"
                if folder_task.outputs.keys() <= session.outputs.keys()
                else "E"
            )
            raise CheckpointError(
                f"{class_name} needs the output {name!r}, and {session.graph} has: {', '.join(session.outputs)}.",
                hint=f"{use}xport the graph that has it: torchless export MODEL OUT --task {task.name}",
            )
        if tensor.shape and len(tensor.shape) != len(axes):
            raise CheckpointError(
                f"The output {name!r} of {session.graph} has {len(tensor.shape)} axes; {task.name} needs {len(axes)}.",
                hint=f"Export the checkpoint for its task: torchless export MODEL OUT --task {task.name}",
            )
        if axes[-1] == "labels" and tensor.shape and tensor.shape[-1] not in {None, folder.config.num_labels}:
            raise CheckpointError(
                f"The output {name!r} of {session.graph} has {tensor.shape[-1]} labels, and id2label in config.json "
                f"has {folder.config.num_labels}.",
                hint="The folder mixes files of two models; export the checkpoint again.",
            )
        if axes[-1] == "labels":
            _check_labels(folder, task)
    return outputs


def _check_labels(folder: ModelFolder, task: Task) -> None:
    """Raise unless each logit has a label.

    Raises:
        CheckpointError: A number is missing, or a label that must be a text is none.
    """
    labels: Mapping[int, Any] = folder.config.id2label  # numbers too, in files of others
    hint = f"Correct id2label in {folder.path / 'config.json'}, or export the checkpoint again."
    missing = next((index for index in range(len(labels)) if index not in labels), None)
    if missing is not None:
        raise CheckpointError(f"id2label in config.json has {len(labels)} labels, and none for {missing}.", hint=hint)
    wrong = [label for label in labels.values() if not isinstance(label, str)]
    if wrong and task.name == "token-classification":
        raise CheckpointError(f"id2label in config.json has the label {wrong[0]!r}, which is not a text.", hint=hint)

"""The conversion of a loaded model to ONNX files with optimum."""

import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torchless.errors import ExportError, TorchlessError, nearest
from torchless.folder.layout import graph_names
from torchless.models.model import GRAPH_INPUTS
from torchless.tasks import Task
from torchless_export.converters.rotary import traceable_rotary
from torchless_export.graph.branches import merge
from torchless_export.graph.classifier_head import prune_to_first_token
from torchless_export.graph.decoder import optimize_decoder
from torchless_export.graph.shapes import infer_shapes
from torchless_export.source.loading import LoadedModel

__all__ = ["OTHER_CHECKPOINT", "check_inputs", "check_supported", "convert"]

OTHER_CHECKPOINT = "Choose a checkpoint of another architecture."
_DECODER = ("model.onnx",)
_DECODERS = ("decoder_model.onnx", "decoder_with_past_model.onnx")


def check_supported(model_type: str, task: Task) -> None:
    """Raise if optimum's exporter does not support an architecture for a task.

    Args:
        model_type: The architecture, as `config.json` names it.
        task: The task of the graph.

    Raises:
        ExportError: optimum does not support the architecture, or not for this task.
    """
    import optimum.exporters.onnx.model_configs  # noqa: F401 - fills the table
    from optimum.exporters.tasks import TasksManager

    supported = TasksManager._SUPPORTED_MODEL_TYPE  # noqa: SLF001 - the public functions raise without the list
    if model_type not in supported:
        names = (name for name in supported if task.graph in supported[name]["onnx"])
        raise ExportError(
            f"optimum's ONNX exporter does not know the architecture {model_type!r}.",
            hint=f"{OTHER_CHECKPOINT} {nearest(model_type, names)}",
        )
    tasks = supported[model_type]["onnx"]
    if task.graph not in tasks and f"{task.graph}-with-past" not in tasks:
        known = sorted({name.removesuffix("-with-past") for name in tasks})
        raise ExportError(
            f"optimum's ONNX exporter does not know {model_type!r} for {task.name}.",
            hint=f"Choose another --task. It knows: {', '.join(known)}.",
        )


def check_inputs(config: Any, task: Task) -> None:
    """Raise if optimum makes a graph that takes more than texts give.

    Args:
        config: The configuration of the model; optimum supports its architecture for the task.
        task: The task of the graph.

    Raises:
        ExportError: The graph has an input that no text gives.
    """
    from optimum.exporters.tasks import TasksManager

    if task.cached:
        return  # past keys and values are given, too
    constructor = TasksManager.get_exporter_config_constructor(
        "onnx", model_type=config.model_type, task=task.graph, library_name="transformers"
    )
    unknown = sorted(constructor(config).inputs.keys() - GRAPH_INPUTS)
    if unknown:
        raise ExportError(
            f"optimum's graph of the architecture {config.model_type!r} takes {', '.join(unknown)}, and no text gives that.",
            hint=OTHER_CHECKPOINT,
        )


def convert(loaded: LoadedModel, task: Task, folder: Path) -> None:
    """Write the fp32 graph of a model, its configurations and its tokenizer.

    Args:
        loaded: The model and its tokenizer.
        task: The task of the graph.
        folder: An existing folder. Its subfolder `onnx/` gets `model.onnx`, or for an encoder-decoder
            `encoder_model.onnx` and `decoder_model_merged.onnx`.

    Raises:
        ExportError: optimum cannot convert this architecture for this task.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    with TemporaryDirectory(dir=folder) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about each branch of the code; verification checks the graph
        # optimum looks for preprocessors under this name; in the empty folder it finds none.
        loaded.model.config.name_or_path = scratch
        try:
            name = f"{task.graph}-with-past" if task.cached else task.graph
            with traceable_rotary(loaded.model):
                onnx_export_from_model(loaded.model, output=scratch, task=name, do_validation=False)
        except TorchlessError:
            raise
        except Exception as error:  # each architecture, and the tracer, has its own errors
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise ExportError(
                f"optimum cannot export {type(loaded.model).__name__} for {task.name}: {type(error).__name__}: {reason}",
                hint=f"{OTHER_CHECKPOINT} The conversion of this one is at fault.",
            ) from error
        (folder / "onnx").mkdir()
        _finish(Path(scratch), folder, task)
    loaded.model.config.name_or_path = ""
    with warnings.catch_warnings():
        # It warns about settings of generation, which older checkpoints have in their configuration.
        warnings.simplefilter("ignore")
        loaded.model.config.save_pretrained(folder)
    if task.cached:
        # save_pretrained refuses settings of many published checkpoints, such as a temperature without sampling.
        loaded.model.generation_config.to_json_file(folder / "generation_config.json")
    # `transformers` reads the chat template from a separate file, transformers.js from the tokenizer's settings.
    loaded.tokenizer.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder, save_jinja_files=False)


def _finish(written: Path, folder: Path, task: Task) -> None:
    """Rewrite the graphs that optimum wrote, and move them into the exported folder."""
    for graph in written.glob("*.onnx"):
        if graph.name != "decoder_model_merged.onnx":
            infer_shapes(graph)
            prune_to_first_token(graph)
    decoders = [written / name for name in (_DECODERS if task.encoder_decoder else _DECODER)]
    for graph in decoders if task.cached else ():
        optimize_decoder(graph)
    graph, *merged = (folder / name for name in graph_names("fp32", encoder_decoder=task.encoder_decoder))
    if merged:
        merge(decoders[0], decoders[1], merged[0])
    for path in written.glob(f"{graph.name}*"):  # with a file of weights, if there is one
        shutil.move(path, graph.with_name(path.name))

"""A loaded model to ONNX files: the one module that imports optimum."""

import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from torchless.errors import ExportError
from torchless.tasks import Task
from torchless_export.source import LoadedModel

__all__ = ["convert"]


def convert(loaded: LoadedModel, task: Task, folder: Path) -> None:
    """Write the fp32 graph of a model, its configuration and its tokenizer.

    Args:
        loaded: The model and its tokenizer.
        task: What the graph shall answer.
        folder: An existing folder; the graph goes to `onnx/model.onnx` in it.

    Raises:
        ExportError: optimum cannot convert this architecture for this task.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    with TemporaryDirectory(dir=folder) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every branch it follows; verification judges the graph
        # optimum would look for further preprocessors under the name that the model was loaded by.
        loaded.model.config.name_or_path = scratch
        try:
            onnx_export_from_model(loaded.model, output=scratch, task=task.graph, do_validation=False)
        except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
            raise ExportError(
                f"optimum cannot export {type(loaded.model).__name__} for {task.name}: {error}",
                hint="Choose another --task, or an architecture that optimum's ONNX exporter supports.",
            ) from error
        (folder / "onnx").mkdir()
        for path in Path(scratch).glob("*.onnx*"):
            shutil.move(path, folder / "onnx" / path.name)
    loaded.model.config.name_or_path = ""
    loaded.model.config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)

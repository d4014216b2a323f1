"""What a graph is given when a task asks it about texts: quantisers look at it to choose their scales."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from torchless.folder.model_folder import ModelFolder
from torchless.tasks import Task
from torchless_export.verification.cases import CASES, exported_pipeline
from torchless_export.verification.samples import cut_to
from torchless_export.verification.session_hooks import add_session_hook

__all__ = ["calibration_feeds"]


def calibration_feeds(folder: Path, task: Task, texts: Sequence[str], mask: str) -> list[Mapping[str, NDArray[Any]]]:
    """Return the graph inputs that texts become, one text at a time.

    Args:
        folder: It holds the fp32 graph, the configuration and the tokenizer.
        task: What is asked about the texts, and how.
        texts: They are cut to what the model takes.
        mask: The tokenizer's mask token, or nothing.

    Returns:
        Arrays by the graph's input names, of an encoder-decoder the encoder's; their first axis is the text's rows, of
        which most tasks have one.
    """
    case = CASES[task.graph]
    seen: list[Mapping[str, NDArray[Any]]] = []
    calibrated = ModelFolder(folder).graphs("fp32")[0]

    def keep(graph: Path, feeds: Mapping[str, NDArray[Any]], _: Sequence[NDArray[Any]]) -> None:
        if graph == calibrated:
            seen.append(dict(feeds))

    pipe = exported_pipeline(folder, task, "fp32")
    for session in pipe.model.sessions:
        add_session_hook(session, keep)
    with cut_to(pipe.tokenizer, pipe.model.config.max_tokens):
        for text in texts:
            pipe(case.make_input(text, mask), **case.options)
    return seen

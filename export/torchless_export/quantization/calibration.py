"""Calibration data: the inputs of a graph when a task runs on sample texts."""

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
    """Return the graph inputs for sample texts, each text by itself.

    Args:
        folder: The folder with the fp32 graph, the configuration and the tokenizer.
        task: The task of the graph.
        texts: The texts; they are truncated to the model's limit.
        mask: The tokenizer's mask token, or an empty string.

    Returns:
        Arrays by the names of the graph's inputs; for an encoder-decoder, the encoder's. The first axis is the text's
        rows, a single row for most tasks.
    """
    case = CASES[task.graph]
    feeds_of_texts: list[Mapping[str, NDArray[Any]]] = []
    calibrated = ModelFolder(folder).graphs("fp32")[0]

    pipe = exported_pipeline(folder, task, "fp32")
    session = next(session for session in pipe.model.sessions if session.graph == calibrated)

    def keep(_graph: Path, feeds: Mapping[str, NDArray[Any]], _outputs: Sequence[NDArray[Any]]) -> None:
        has_past = any(array.size for name, array in feeds.items() if name.startswith("past_key_values"))
        if not has_past:
            feeds_of_texts.append({name: feeds[name] for name in session.inputs})

    add_session_hook(session, keep)
    with cut_to(pipe.tokenizer, pipe.model.config.context_length):
        for text in texts:
            if task.cached and not task.encoder_decoder:  # all tokens in a single run
                pipe.model(pipe.tokenizer([text], truncation=True, return_tensors="np")["input_ids"])
            else:
                pipe(case.make_input(text, mask), **case.options)
    return feeds_of_texts

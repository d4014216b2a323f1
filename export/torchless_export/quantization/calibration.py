"""Calibration: the inputs of a graph's products, while its task runs on sample texts."""

from collections.abc import Sequence
from pathlib import Path

from torchless.folder.model_folder import ModelFolder
from torchless.tasks import Task
from torchless_export.quantization.linears import find_linears, load_products
from torchless_export.quantization.recording import Recorder, Rows
from torchless_export.verification.cases import CASES, exported_pipeline
from torchless_export.verification.samples import cut_to

__all__ = ["calibrate"]

# About the number of rows that are kept of a value. Each text contributes equally many.
_MAX_ROWS = 8192


def calibrate(folder: Path, task: Task, texts: Sequence[str], mask: str, rows: Rows) -> None:
    """Record the inputs of a graph's products, while its task runs on sample texts, each by itself.

    Args:
        folder: The folder with the fp32 graph, the configuration and the tokenizer.
        task: The task of the graph; of an encoder-decoder, the encoder is recorded.
        texts: The texts; they are truncated to the model's limit.
        mask: The tokenizer's mask token, or an empty string.
        rows: Where the inputs are kept.
    """
    case, graph = CASES[task.graph], ModelFolder(folder).graphs("fp32")[0]
    inputs = [linear.input for linear in find_linears(load_products(graph))]
    recorder = Recorder(graph, inputs, rows, rows_per_run=-(-_MAX_ROWS // len(texts)))
    pipe = exported_pipeline(folder, task, "fp32")
    session = next(session for session in pipe.model.sessions if session.graph == graph)
    session.run = recorder.run
    with cut_to(pipe.tokenizer, pipe.model.config.context_length):
        for text in texts:
            if case.in_batches:  # all tokens in a single run
                pipe.model(pipe.tokenizer([text], truncation=True, return_tensors="np")["input_ids"])
            else:
                pipe(case.make_input(text, mask), **case.options)

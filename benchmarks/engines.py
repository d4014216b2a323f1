"""What is measured: each engine loads a model as its users do, and answers. Imported by workers alone.

Every engine gets the same number of threads, answers on the CPU, and imports its library only when it is loaded.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.loaded import Loaded
from benchmarks.writing_engines import (
    ctranslate2_writer,
    optimum_writer,
    pytorch_writer,
    torchless_watched,
    torchless_writer,
)

__all__ = ["ENGINES"]


def torchless(
    folder: str,
    *,
    threads: int,
    task: str = "text-classification",
    others: int = 0,
    call_others: bool = False,
    **options: Any,
) -> Loaded:
    """Load torchless, which finds out itself how many threads there are.

    Args:
        folder: An exported folder.
        threads: What the others are told.
        task: The pipeline.
        others: How many more pipelines to load.
        call_others: Whether each of them is called before each call of the first; else once, after loading.
        options: The pipeline's, `dtype` among them.
    """
    from torchless import pipeline

    pipe = pipeline(task, folder, **options)
    idle = [pipeline(task, folder, **options) for _ in range(others)]

    def call() -> None:
        for other in idle:
            other("A film that is called between.")

    call()
    return Loaded(
        answer=lambda inputs, batch_size: pipe(inputs, batch_size=batch_size),
        between=call if call_others else lambda: None,
    )


def transformers_pipeline(
    folder: str, *, threads: int, dtype: str = "float32", compiled: bool = False, **options: Any
) -> Loaded:
    """Load `transformers.pipeline` on PyTorch, in inference mode, which its users could have too.

    Args:
        folder: A checkpoint.
        threads: For PyTorch.
        dtype: PyTorch's name of it.
        compiled: Whether `torch.compile` makes the model's code.
        options: The pipeline's.
    """
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    pipe = transformers.pipeline(
        "text-classification", model=folder, device="cpu", dtype=getattr(torch, dtype), **options
    )
    if compiled:
        pipe.model.forward = torch.compile(pipe.model.forward)

    def answer(inputs: Any, batch_size: int | None) -> Any:
        with torch.inference_mode():
            return pipe(inputs, batch_size=batch_size or 1)

    return Loaded(answer=answer)


def pytorch_by_hand(folder: str, *, threads: int, dtype: str = "float32", max_length: int = 512) -> Loaded:
    """Load a model and write out what a careful user of PyTorch would: sorted by length, padded within the batch."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    @torch.inference_mode()
    def answer(texts: list[str], batch_size: int | None) -> list[dict[str, Any]]:
        size = batch_size or 1
        encoded = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        order = sorted(range(len(texts)), key=lambda index: -len(encoded[index]))
        answers: list[dict[str, Any]] = [{}] * len(texts)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            inputs = tokenizer.pad({"input_ids": [encoded[index] for index in batch]}, return_tensors="pt")
            best = model(**inputs).logits.float().softmax(-1).max(-1)  # (rows,), (rows,)
            for index, score, label in zip(batch, best.values.tolist(), best.indices.tolist(), strict=True):
                answers[index] = {"label": model.config.id2label[label], "score": score}
        return answers

    return Loaded(answer=answer)


def optimum(folder: str, *, threads: int, file_name: str) -> Loaded:
    """Load optimum's pipeline on ONNX Runtime."""
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from optimum.onnxruntime import pipeline as optimum_pipeline
    from transformers import AutoTokenizer

    model = ORTModelForSequenceClassification.from_pretrained(
        folder, file_name=file_name, session_options=_session_options(threads)
    )
    pipe = optimum_pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
    return Loaded(answer=lambda inputs, batch_size: pipe(inputs, batch_size=batch_size or 1))


def openvino(folder: str, *, threads: int, max_length: int = 512) -> Loaded:
    """Load OpenVINO's compiled model, with the tokenizer before it and the softmax after it written by hand.

    It has no pipeline of its own, so this is the least that an answer takes.
    """
    import numpy as np
    import openvino as ov
    from tokenizers import Tokenizer

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = ov.Core().compile_model(Path(folder) / "model.xml", "CPU", settings)
    request, names = compiled.create_infer_request(), [item.get_any_name() for item in compiled.inputs]
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    id2label = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("id2label", {})

    def answer_one(text: str) -> dict[str, Any]:
        row = tokenizer.encode(text)
        columns = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
        result = request.infer({name: np.array([columns[name]], np.int64) for name in names})
        logits = next(iter(result.values()))[0]  # (labels,)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = int(scores.argmax())
        return {"label": id2label.get(str(best), f"LABEL_{best}"), "score": float(scores[best])}

    def answer(inputs: Any, batch_size: int | None) -> list[dict[str, Any]]:
        return [answer_one(text) for text in ([inputs] if isinstance(inputs, str) else inputs)]

    return Loaded(answer=answer)


def sentence_transformers(
    folder: str, *, threads: int, backend: str = "torch", file_name: str | None = None, dtype: str = "float32"
) -> Loaded:
    """Load sentence-transformers, on PyTorch or on its ONNX backend."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    settings: Mapping[str, Any] = {"dtype": getattr(torch, dtype)}
    if backend == "onnx":
        settings = {
            "file_name": file_name,
            "provider": "CPUExecutionProvider",
            "session_options": _session_options(threads),
        }
    model = SentenceTransformer(
        folder, device="cpu", backend=backend, model_kwargs=dict(settings), local_files_only=True
    )

    def answer(inputs: Any, batch_size: int | None) -> Any:
        mode: AbstractContextManager[Any] = torch.inference_mode()
        with mode:
            return model.encode(inputs, batch_size=batch_size or 32, show_progress_bar=False)

    return Loaded(answer=answer)


def torchless_served(folder: str, *, threads: int, dtype: str, connections: int = 64) -> Loaded:
    """Start `torchless serve`, and ask it over HTTP: a text over one connection, texts over many."""
    from benchmarks.servers import torchless_server

    return _asked(torchless_server(folder, dtype=dtype), connections)


def fastapi_served(folder: str, *, threads: int, connections: int = 64) -> Loaded:
    """Start `transformers.pipeline` behind FastAPI, and ask it as `torchless serve` is asked."""
    from benchmarks.servers import fastapi_server

    return _asked(fastapi_server(folder), connections)


def _asked(address: tuple[int, str], connections: int) -> Loaded:
    from benchmarks.load import Load

    load = Load(*address, connections=connections)

    def answer(inputs: Any, batch_size: int | None) -> Any:
        return load.answer(inputs) if isinstance(inputs, str) else load.answers(inputs)

    return Loaded(answer=answer)


def _session_options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


ENGINES: Mapping[str, Callable[..., Loaded]] = {
    engine.__name__: engine
    for engine in (
        torchless,
        transformers_pipeline,
        pytorch_by_hand,
        optimum,
        openvino,
        sentence_transformers,
        torchless_writer,
        torchless_watched,
        pytorch_writer,
        optimum_writer,
        ctranslate2_writer,
        torchless_served,
        fastapi_served,
    )
}
"""By name, as a worker's command line has it."""

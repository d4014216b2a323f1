"""The engines of encoders. Each loads a model as a user of the library does, and answers. Only workers import this module.

Every engine gets the same number of threads, runs on the CPU, and imports its library only when it loads a model.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.generative_engines import (
    ctranslate2_generator,
    optimum_generator,
    pytorch_generator,
    torchless_generator,
    torchless_profiled,
)
from benchmarks.loaded_model import LoadedModel

__all__ = ["ENGINES"]


def torchless(
    folder: str,
    *,
    threads: int,
    task: str = "text-classification",
    extra_pipelines: int = 0,
    call_extra: bool = False,
    **options: Any,
) -> LoadedModel:
    """Load torchless, which determines the number of threads itself.

    Args:
        folder: An exported folder.
        threads: Ignored; the other engines use it.
        task: The task of the pipeline.
        extra_pipelines: The number of additional pipelines to load.
        call_extra: True calls each additional pipeline before each measured call. False calls it once, after loading.
        options: The options of the pipeline, such as `dtype`.
    """
    from torchless import pipeline

    pipe = pipeline(task, folder, **options)
    idle = [pipeline(task, folder, **options) for _ in range(extra_pipelines)]

    def call_idle() -> None:
        for extra in idle:
            extra("A film between two calls.")

    call_idle()
    return LoadedModel(
        answer=lambda inputs, batch_size: pipe(inputs, batch_size=batch_size),
        before_call=call_idle if call_extra else lambda: None,
    )


def transformers_pipeline(
    folder: str, *, threads: int, dtype: str = "float32", compiled: bool = False, **options: Any
) -> LoadedModel:
    """Load `transformers.pipeline` on PyTorch, in inference mode, which is available to users too.

    Args:
        folder: A checkpoint.
        threads: The threads of PyTorch.
        dtype: The name of the dtype in PyTorch.
        compiled: Whether to compile the model with `torch.compile`.
        options: The options of the pipeline.
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

    return LoadedModel(answer=answer)


def pytorch_loop(folder: str, *, threads: int, dtype: str = "float32", max_length: int = 512) -> LoadedModel:
    """Load a model with an optimised PyTorch loop: sorts texts by length, and pads only within the batch."""
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

    return LoadedModel(answer=answer)


def optimum(folder: str, *, threads: int, file_name: str) -> LoadedModel:
    """Load optimum's pipeline on ONNX Runtime."""
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from optimum.onnxruntime import pipeline as optimum_pipeline
    from transformers import AutoTokenizer

    model = ORTModelForSequenceClassification.from_pretrained(
        folder, file_name=file_name, session_options=_session_options(threads)
    )
    pipe = optimum_pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
    return LoadedModel(answer=lambda inputs, batch_size: pipe(inputs, batch_size=batch_size or 1))


def openvino(folder: str, *, threads: int, max_length: int = 512) -> LoadedModel:
    """Load OpenVINO's compiled model. The tokenizer call and the softmax are code of this function.

    OpenVINO has no pipeline for this task, so this is the minimal code for an answer.
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

    def answer_text(text: str) -> dict[str, Any]:
        row = tokenizer.encode(text)
        columns = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
        result = request.infer({name: np.array([columns[name]], np.int64) for name in names})
        logits = next(iter(result.values()))[0]  # (labels,)
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = int(scores.argmax())
        return {"label": id2label.get(str(best), f"LABEL_{best}"), "score": float(scores[best])}

    def answer(inputs: Any, batch_size: int | None) -> list[dict[str, Any]]:
        return [answer_text(text) for text in ([inputs] if isinstance(inputs, str) else inputs)]

    return LoadedModel(answer=answer)


def sentence_transformers(
    folder: str, *, threads: int, backend: str = "torch", file_name: str | None = None, dtype: str = "float32"
) -> LoadedModel:
    """Load sentence-transformers on PyTorch or with its ONNX backend."""
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

    return LoadedModel(answer=answer)


def torchless_served(folder: str, *, threads: int, dtype: str, connections: int = 64) -> LoadedModel:
    """Start `torchless serve`, and send requests: a single text over one connection, several texts over many."""
    from benchmarks.servers import torchless_server

    return _over_http(torchless_server(folder, dtype=dtype), connections)


def fastapi_served(folder: str, *, threads: int, connections: int = 64) -> LoadedModel:
    """Start `transformers.pipeline` behind FastAPI, and send the same requests as to `torchless serve`."""
    from benchmarks.servers import fastapi_server

    return _over_http(fastapi_server(folder), connections)


def _over_http(address: tuple[int, str], connections: int) -> LoadedModel:
    from benchmarks.load import Load

    load = Load(*address, connections=connections)

    def answer(inputs: Any, batch_size: int | None) -> Any:
        return load.answer(inputs) if isinstance(inputs, str) else load.answers(inputs)

    return LoadedModel(answer=answer)


def _session_options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


ENGINES: Mapping[str, Callable[..., LoadedModel]] = {
    engine.__name__: engine
    for engine in (
        torchless,
        transformers_pipeline,
        pytorch_loop,
        optimum,
        openvino,
        sentence_transformers,
        torchless_generator,
        torchless_profiled,
        pytorch_generator,
        optimum_generator,
        ctranslate2_generator,
        torchless_served,
        fastapi_served,
    )
}
"""The engines by name, for the command line of a worker."""

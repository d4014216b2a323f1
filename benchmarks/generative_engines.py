"""The engines of generative models. Each loads a model as a user of the library does. Only workers import this module.

Inputs and outputs are token ids, so all engines have the same prompts and no tokenizer is timed. The number of new tokens and the
number of beams are settings. Every engine generates exactly this number of tokens, greedily or by beam search.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.loaded_model import LoadedModel
from benchmarks.memory import resident_bytes

__all__ = [
    "ctranslate2_generator",
    "optimum_generator",
    "pytorch_generator",
    "torchless_generator",
    "torchless_profiled",
]

_Rows = Sequence[Sequence[int]]


def torchless_generator(
    folder: str, *, threads: int, new_tokens: int, beams: int = 1, dtype: str = "fp32"
) -> LoadedModel:
    """Load a torchless model, which determines the number of threads itself."""
    generate = _torchless(folder, dtype=dtype, beams=beams)
    return LoadedModel(answer=lambda rows, _: generate(rows, new_tokens))


def torchless_profiled(folder: str, *, threads: int, new_tokens: int, dtype: str = "fp32") -> LoadedModel:
    """Load a torchless model that answers with a profile: the share of time outside of ONNX Runtime, and the memory."""
    from onnxruntime import InferenceSession

    session_s, run = [0.0], InferenceSession.run

    def timed(session: InferenceSession, *arguments: Any) -> Any:
        start = perf_counter()
        outputs = run(session, *arguments)
        session_s[0] += perf_counter() - start
        return outputs

    InferenceSession.run = timed
    generate = _torchless(folder, dtype=dtype)

    def answer(rows: _Rows, _: int | None) -> dict[str, float]:
        session_s[0], start = 0.0, perf_counter()
        generate(rows, new_tokens)
        return {"outside": 1 - session_s[0] / (perf_counter() - start), "resident_bytes": resident_bytes()}

    return LoadedModel(answer=answer)


def pytorch_generator(
    folder: str, *, threads: int, new_tokens: int, beams: int = 1, dtype: str = "float32", compiled: bool = False
) -> LoadedModel:
    """Load `generate` of transformers on PyTorch.

    Args:
        folder: A checkpoint.
        threads: The threads of PyTorch.
        new_tokens: The number of tokens to generate.
        beams: The number of beams.
        dtype: The name of the dtype in PyTorch.
        compiled: Whether to use a static cache and compile a step with `torch.compile`.
    """
    import torch
    import transformers

    torch.set_num_threads(threads)
    config = transformers.AutoConfig.from_pretrained(folder)
    auto_class = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = auto_class.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    settings: dict[str, Any] = {}
    if compiled:
        compiling = transformers.CompileConfig(mode="default", fullgraph=False)
        compiling._compile_all_devices = True  # by default it compiles only for GPUs
        settings = {"cache_implementation": "static", "compile_config": compiling}

    def answer(rows: _Rows, _: int | None) -> list[list[int]]:
        ids = torch.tensor(rows)
        sequences = model.generate(
            ids, attention_mask=torch.ones_like(ids), **_length_options(new_tokens), num_beams=beams, **settings
        )
        return sequences[:, -new_tokens:].tolist()

    return LoadedModel(answer=answer)


def optimum_generator(folder: str, *, threads: int, new_tokens: int) -> LoadedModel:
    """Load optimum's decoder on ONNX Runtime."""
    import onnxruntime
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM

    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForCausalLM.from_pretrained(folder, session_options=options)

    def answer(rows: _Rows, _: int | None) -> list[list[int]]:
        ids = torch.tensor(rows)
        sequences = model.generate(ids, attention_mask=torch.ones_like(ids), **_length_options(new_tokens))
        return sequences[:, -new_tokens:].tolist()

    return LoadedModel(answer=answer)


def ctranslate2_generator(
    folder: str, *, threads: int, new_tokens: int, beams: int = 1, compute_type: str = "float32"
) -> LoadedModel:
    """Load a CTranslate2 model, whose tokens are strings."""
    import ctranslate2

    settings = {"device": "cpu", "compute_type": compute_type, "intra_threads": threads, "inter_threads": 1}
    shared = Path(folder) / "shared_vocabulary.json"
    names = json.loads((shared if shared.exists() else Path(folder) / "vocabulary.json").read_text(encoding="utf-8"))

    def token_names(rows: _Rows) -> list[list[str]]:
        return [[names[token] for token in row] for row in rows]

    if shared.exists():  # an encoder-decoder
        token_ids = {name: token_id for token_id, name in enumerate(names)}
        translator = ctranslate2.Translator(folder, **settings)
        lengths = {"min_decoding_length": new_tokens, "max_decoding_length": new_tokens}

        def translate(rows: _Rows, _: int | None) -> list[list[int]]:
            results = translator.translate_batch(token_names(rows), beam_size=beams, max_input_length=0, **lengths)
            return [[token_ids[name] for name in result.hypotheses[0]] for result in results]

        return LoadedModel(answer=translate)
    generator = ctranslate2.Generator(folder, **settings)
    lengths = {"min_length": new_tokens, "max_length": new_tokens}

    def answer(rows: _Rows, _: int | None) -> list[list[int]]:
        results = generator.generate_batch(
            token_names(rows), beam_size=beams, include_prompt_in_result=False, **lengths
        )
        return [result.sequences_ids[0] for result in results]

    return LoadedModel(answer=answer)


def _torchless(folder: str, *, dtype: str, beams: int = 1) -> Callable[[_Rows, int], list[list[int]]]:
    import torchless

    manifest = json.loads((Path(folder) / "torchless.json").read_text(encoding="utf-8"))
    auto_class = (
        torchless.AutoModelForCausalLM if manifest["task"] == "text-generation" else torchless.AutoModelForSeq2SeqLM
    )
    model = auto_class.from_pretrained(folder, dtype=dtype)

    def generate(rows: _Rows, new_tokens: int) -> list[list[int]]:
        sequences = model.generate(rows, **_length_options(new_tokens), num_beams=beams)
        return sequences[:, -new_tokens:].tolist()

    return generate


def _length_options(new_tokens: int) -> dict[str, Any]:
    return {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens, "do_sample": False}

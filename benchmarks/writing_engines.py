"""Models that write: each engine loads one as its users do, and continues or answers texts. Imported by workers alone.

Texts go in and come out as token ids, so that all have the same prompts and no tokenizer is timed. The numbers of new tokens and
of beams are settings: every engine writes exactly so many tokens, greedily or by beam search.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.loaded import Loaded
from benchmarks.memory import resident_bytes

__all__ = ["ctranslate2_writer", "optimum_writer", "pytorch_writer", "torchless_watched", "torchless_writer"]

_Rows = Sequence[Sequence[int]]


def torchless_writer(folder: str, *, threads: int, new_tokens: int, beams: int = 1, dtype: str = "fp32") -> Loaded:
    """Load torchless's model, which finds out itself how many threads there are."""
    write = _torchless(folder, dtype=dtype, beams=beams)
    return Loaded(answer=lambda rows, _: write(rows, new_tokens))


def torchless_watched(folder: str, *, threads: int, new_tokens: int, dtype: str = "fp32") -> Loaded:
    """Load torchless's model, and answer with what a call of it cost: the share outside of ONNX Runtime, and memory."""
    from onnxruntime import InferenceSession

    inside, run = [0.0], InferenceSession.run

    def timed(session: InferenceSession, *arguments: Any) -> Any:
        start = perf_counter()
        outputs = run(session, *arguments)
        inside[0] += perf_counter() - start
        return outputs

    InferenceSession.run = timed
    write = _torchless(folder, dtype=dtype)

    def answer(rows: _Rows, _: int | None) -> dict[str, float]:
        inside[0], start = 0.0, perf_counter()
        write(rows, new_tokens)
        return {"outside": 1 - inside[0] / (perf_counter() - start), "resident_bytes": resident_bytes()}

    return Loaded(answer=answer)


def pytorch_writer(
    folder: str, *, threads: int, new_tokens: int, beams: int = 1, dtype: str = "float32", compiled: bool = False
) -> Loaded:
    """Load `generate` of transformers on PyTorch.

    Args:
        folder: A checkpoint.
        threads: For PyTorch.
        new_tokens: How many to write.
        beams: Of beam search.
        dtype: PyTorch's name of it.
        compiled: Whether keys and values have a fixed place, and `torch.compile` makes the code of a step.
    """
    import torch
    import transformers

    torch.set_num_threads(threads)
    config = transformers.AutoConfig.from_pretrained(folder)
    written = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = written.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    settings: dict[str, Any] = {}
    if compiled:
        compiling = transformers.CompileConfig(mode="default", fullgraph=False)
        compiling._compile_all_devices = True  # by itself it compiles for GPUs alone
        settings = {"cache_implementation": "static", "compile_config": compiling}

    def answer(rows: _Rows, _: int | None) -> list[list[int]]:
        ids = torch.tensor(rows)
        sequences = model.generate(
            ids, attention_mask=torch.ones_like(ids), **_forced(new_tokens), num_beams=beams, **settings
        )
        return sequences[:, -new_tokens:].tolist()

    return Loaded(answer=answer)


def optimum_writer(folder: str, *, threads: int, new_tokens: int) -> Loaded:
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
        sequences = model.generate(ids, attention_mask=torch.ones_like(ids), **_forced(new_tokens))
        return sequences[:, -new_tokens:].tolist()

    return Loaded(answer=answer)


def ctranslate2_writer(
    folder: str, *, threads: int, new_tokens: int, beams: int = 1, compute_type: str = "float32"
) -> Loaded:
    """Load CTranslate2's model, which knows tokens by their names."""
    import ctranslate2

    settings = {"device": "cpu", "compute_type": compute_type, "intra_threads": threads, "inter_threads": 1}
    shared = Path(folder) / "shared_vocabulary.json"
    names = json.loads((shared if shared.exists() else Path(folder) / "vocabulary.json").read_text(encoding="utf-8"))

    def named(rows: _Rows) -> list[list[str]]:
        return [[names[token] for token in row] for row in rows]

    if shared.exists():  # as of an encoder-decoder
        numbers = {name: number for number, name in enumerate(names)}
        translator = ctranslate2.Translator(folder, **settings)
        lengths = {"min_decoding_length": new_tokens, "max_decoding_length": new_tokens}

        def translate(rows: _Rows, _: int | None) -> list[list[int]]:
            results = translator.translate_batch(named(rows), beam_size=beams, max_input_length=0, **lengths)
            return [[numbers[name] for name in result.hypotheses[0]] for result in results]

        return Loaded(answer=translate)
    generator = ctranslate2.Generator(folder, **settings)
    lengths = {"min_length": new_tokens, "max_length": new_tokens}

    def answer(rows: _Rows, _: int | None) -> list[list[int]]:
        results = generator.generate_batch(named(rows), beam_size=beams, include_prompt_in_result=False, **lengths)
        return [result.sequences_ids[0] for result in results]

    return Loaded(answer=answer)


def _torchless(folder: str, *, dtype: str, beams: int = 1) -> Callable[[_Rows, int], list[list[int]]]:
    import torchless

    manifest = json.loads((Path(folder) / "torchless.json").read_text(encoding="utf-8"))
    written = (
        torchless.AutoModelForCausalLM if manifest["task"] == "text-generation" else torchless.AutoModelForSeq2SeqLM
    )
    model = written.from_pretrained(folder, dtype=dtype)

    def write(rows: _Rows, new_tokens: int) -> list[list[int]]:
        sequences = model.generate(rows, **_forced(new_tokens), num_beams=beams)
        return sequences[:, -new_tokens:].tolist()

    return write


def _forced(new_tokens: int) -> dict[str, Any]:
    return {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens, "do_sample": False}

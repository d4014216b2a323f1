"""The variants of a graph: what each dtype is, and how it is made from the fp32 graph. The one table of them."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from torchless.folder.layout import graph_names
from torchless.folder.manifest import Part, Variant
from torchless.tasks import Task
from torchless_export.graph.onnx_files import MAX_GRAPH_BYTES, data_file, load_graph, pack, save_graph
from torchless_export.hashes import sha256_of
from torchless_export.quantization.float16 import float16_graph

__all__ = ["VARIANTS", "Feeds", "Recipe", "declare_data", "is_calibrated", "make_variant"]

Feeds: TypeAlias = Sequence[Mapping[str, NDArray[Any]]]

_Q4_BLOCK = 32
_Q8_BLOCK = 128
_COMPUTES_IN_INT8 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a dtype is.

    Attributes:
        scheme: In words, for the manifest.
        make: Writes a graph of the variant: (the fp32 graph, the file to write, calibration feeds).
        batch_dependent: Whether another row's content changes an answer.
        calibrated: Whether it is made with calibration feeds.
    """

    scheme: str
    make: Callable[[Path, Path, Feeds], None] | None
    batch_dependent: bool = False
    calibrated: bool = False


def is_calibrated(dtype: str, task: Task) -> bool:
    """Whether a variant is made with calibration feeds.

    Args:
        dtype: A key of `VARIANTS`.
        task: What the graphs answer.
    """
    return any(recipe.calibrated for recipe in _recipes(dtype, task))


def make_variant(
    folder: Path, task: Task, dtype: str, feeds: Feeds = (), *, max_graph_bytes: int = MAX_GRAPH_BYTES
) -> Variant:
    """Make a variant of the fp32 graphs in a folder.

    Args:
        folder: It holds them in `onnx/`; the variant is written beside them.
        task: What they answer.
        dtype: A key of `VARIANTS`.
        feeds: For a dtype that is calibrated: graph inputs by name, a text each; of an encoder-decoder, the encoder's.
        max_graph_bytes: A graph that is larger keeps its weights in `….onnx_data`.

    Returns:
        What the manifest says of it, unverified.
    """
    recipes = _recipes(dtype, task)
    sources, targets = (graph_names(item, encoder_decoder=task.encoder_decoder) for item in ("fp32", dtype))
    files = []
    for recipe, source, target in zip(recipes, sources, targets, strict=True):
        graph = folder / target
        if recipe.make is not None:
            with _quiet():
                _make_graph(recipe.make, folder / source, graph, feeds)
        data = pack(graph, max_graph_bytes)
        files += [graph] if data is None else [graph, data]
    schemes = dict.fromkeys(recipe.scheme for recipe in recipes)
    return Variant(
        parts=tuple(_part(folder, file) for file in files),
        scheme=next(iter(schemes)) if len(schemes) == 1 else "encoder: {}; decoder: {}".format(*schemes),
        batch_dependent=any(recipe.batch_dependent for recipe in recipes),
    )


def _recipes(dtype: str, task: Task) -> tuple[Recipe, ...]:
    """Return how each graph of a task is made."""
    plain = VARIANTS[dtype]
    decoder = _DECODERS.get(dtype, plain)
    if task.encoder_decoder:
        return (plain if plain.calibrated else decoder, decoder)
    return (decoder if task.cached else plain,)


def _make_graph(make: Callable[[Path, Path, Feeds], None], source: Path, target: Path, feeds: Feeds) -> None:
    from torchless_export.graph.branches import has_branches, rebuild_branches

    if has_branches(source):
        rebuild_branches(source, target, lambda branch, remade: make(branch, remade, feeds))
    else:
        make(source, target, feeds)


def declare_data(folder: Path, variants: Mapping[str, Variant]) -> None:
    """Tell transformers.js, in `config.json`, which graphs have their weights in a file of their own.

    What the checkpoint itself said to transformers.js was about other graphs, and is left out.

    Args:
        folder: The exported folder.
        variants: The graphs that it will hold.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    declared = config.pop("transformers.js_config", None)
    named = [Path(part.file).name for variant in variants.values() for part in variant.parts]
    chunks = {name: 1 for name in named if data_file(Path(name)).name in named}
    if chunks:
        config["transformers.js_config"] = {"use_external_data_format": chunks}
    if chunks or declared is not None:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _fp16(source: Path, target: Path, _: Feeds) -> None:
    save_graph(float16_graph(load_graph(source, typed=True)), target)


def _int8(source: Path, target: Path, _: Feeds) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=data_file(source).exists(),
        extra_options={"MatMulConstBOnly": True},
    )


def _q8(source: Path, target: Path, feeds: Feeds) -> None:
    from torchless_export.quantization.q8.quantize import quantize

    quantize(source, target, feeds)


def _q4(source: Path, target: Path, _: Feeds) -> None:
    save_graph(_in_blocks(load_graph(source), bits=4, block_size=_Q4_BLOCK), target)


def _q4f16(source: Path, target: Path, _: Feeds) -> None:
    # fp16 comes first: it is guided by the shapes and types inferred, which end at the quantised operators.
    save_graph(
        _in_blocks(_with_matmuls(float16_graph(load_graph(source, typed=True))), bits=4, block_size=_Q4_BLOCK), target
    )


def _q8_decoder(source: Path, target: Path, _: Feeds) -> None:
    save_graph(_in_blocks(_eight_bit_embeddings(load_graph(source)), bits=8, block_size=_Q8_BLOCK), target)


def _q4_decoder(source: Path, target: Path, _: Feeds) -> None:
    save_graph(_in_blocks(_eight_bit_embeddings(load_graph(source)), bits=4, block_size=_Q4_BLOCK), target)


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
        scheme="ONNX Runtime's dynamic quantisation: int8 weights a column, uint8 activations with a scale a batch",
        make=_int8,
        batch_dependent=True,
    ),
    "q4": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric; matrix products in int8, the rest in float32",
        make=_q4,
    ),
    "q4f16": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric; the rest in float16 as in fp16",
        make=_q4f16,
    ),
}
"""By dtype, transformers.js's names."""

_DECODERS: Mapping[str, Recipe] = {
    "q8": Recipe(
        scheme=f"8-bit weights in blocks of {_Q8_BLOCK}, symmetric, and embeddings; matrix products in int8, the rest in float32",
        make=_q8_decoder,
    ),
    "q4": Recipe(
        scheme=f"4-bit weights in blocks of {_Q4_BLOCK}, symmetric, 8-bit embeddings; matrix products in int8, the rest in float32",
        make=_q4_decoder,
    ),
}
"""What a decoder's graph is made by, where it is not what others are made by: its time goes into reading weights.

So is that of the encoder before it, unless calibration finds it something better: it has no head that decides.
"""


def _in_blocks(model: Any, *, bits: int, block_size: int) -> Any:
    """Return a graph whose constant matrices are integers, with a scale for each block of a column."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model,
        bits=bits,
        block_size=block_size,
        is_symmetric=True,
        accuracy_level=_COMPUTES_IN_INT8,
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    return quantizer.model.model


def _eight_bit_embeddings(model: Any) -> Any:
    """Return a decoder's graph with its embeddings in integers."""
    from torchless_export.graph.ir import Graph
    from torchless_export.quantization.q8.embeddings import quantize_embeddings

    graph = Graph(_with_matmuls(model))
    quantize_embeddings(graph)
    return graph.model()


def _with_matmuls(model: Any) -> Any:
    """Return a decoder's graph with a matrix for a head that is a transposed embedding, as quantisers want it.

    An encoder's head is small and decides: it stays whole.
    """
    from torchless_export.graph.ir import Graph

    if not any(item.name.startswith("present") for item in model.graph.output):
        return model
    graph = Graph(model)
    graph.fold_transposes()
    return graph.model()


def _part(folder: Path, path: Path) -> Part:
    return Part(file=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=sha256_of(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Undo what ONNX Runtime's tools do to a process when they are imported and used: logging, and the path of imports."""
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

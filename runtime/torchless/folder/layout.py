"""Where things are in a folder or a repository: the graphs of each dtype, and the files beside them. Names only."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath

from torchless.errors import CheckpointError, OptionError, nearest

__all__ = [
    "CHAT_TEMPLATE",
    "CHAT_TEMPLATES",
    "DTYPE_SUFFIXES",
    "LIMIT_FILES",
    "MANIFEST_NAME",
    "POOLING_CONFIG",
    "SENTENCE_CONFIG",
    "SENTENCE_FILES",
    "SETTINGS",
    "check_graph_choice",
    "data_files",
    "find_graphs",
    "graph_names",
    "is_library",
    "leads_outside",
    "missing_graph",
]

MANIFEST_NAME = "torchless.json"
POOLING_CONFIG = "1_Pooling/config.json"
SENTENCE_CONFIG = "config_sentence_transformers.json"

# A model's chat template, and the folder of those that have another name.
CHAT_TEMPLATE = "chat_template.jinja"
CHAT_TEMPLATES = "additional_chat_templates"

# transformers.js's names for the variants of a graph, and its file suffixes.
DTYPE_SUFFIXES: Mapping[str, str] = {
    "fp32": "",
    "fp16": "_fp16",
    "q8": "_quantized",
    "int8": "_int8",
    "uint8": "_uint8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
}

# Where sentence-transformers keeps the longest text, by the family that a folder began with.
LIMIT_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

# What sentence-transformers says of embeddings and of ranking, beside the weights.
SENTENCE_FILES = ("modules.json", SENTENCE_CONFIG, *LIMIT_FILES, POOLING_CONFIG)

# All that the runtime reads beside graphs. The tokenizer comes last: where it is, a download brought the others.
SETTINGS = (
    "config.json",
    MANIFEST_NAME,
    "generation_config.json",
    CHAT_TEMPLATE,
    *SENTENCE_FILES,
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "tokenizer.json",
)

# What a model is made of: one graph, or the two of an encoder-decoder.
_ONE_GRAPH = ("model",)
_TWO_GRAPHS = ("encoder_model", "decoder_model_merged")

# transformers.js and optimum's newer repositories keep graphs in a folder of their own; older ones do not.
_HOMES = ("onnx/", "")
_LIBRARIES = (".dll", ".dylib", ".so")


def check_graph_choice(dtype: str, file_name: str | None = None) -> None:
    """Raise unless these can choose a graph.

    Args:
        dtype: A key of `DTYPE_SUFFIXES`.
        file_name: A graph's own name, instead of a dtype.

    Raises:
        OptionError: There is no such dtype, the name leads out of the folder, or both were given.
    """
    if dtype not in DTYPE_SUFFIXES:
        raise OptionError(f"There is no dtype {dtype!r}.", hint=nearest(dtype, DTYPE_SUFFIXES))
    if file_name is None:
        return
    if dtype != "fp32":
        raise OptionError(
            f"dtype={dtype!r} and file_name={file_name!r} each choose a graph.", hint="Leave one of them out."
        )
    if not file_name.endswith(".onnx") or leads_outside(file_name):
        raise OptionError(
            f"file_name={file_name!r} does not name a graph in a folder.",
            hint="Give a path relative to the folder: file_name='onnx/model_O2.onnx'",
        )


def graph_names(dtype: str, *, encoder_decoder: bool = False, home: str = "onnx/") -> tuple[str, ...]:
    """Return how the graphs of a dtype are named: one, or those of an encoder and its decoder.

    Args:
        dtype: A key of `DTYPE_SUFFIXES`.
        encoder_decoder: Whether there are two.
        home: Where they are.
    """
    stems = _TWO_GRAPHS if encoder_decoder else _ONE_GRAPH
    return tuple(f"{home}{stem}{DTYPE_SUFFIXES[dtype]}.onnx" for stem in stems)


def find_graphs(has: Callable[[str], bool], dtype: str, file_name: str | None = None) -> tuple[str, ...]:
    """Return the names of a model's graphs in a folder or repository; an empty tuple if a graph is missing.

    Most models have one; an encoder-decoder has two, the encoder's and the decoder's.

    Args:
        has: Tells whether a file is there, by its path relative to the root.
        dtype: A key of `DTYPE_SUFFIXES`.
        file_name: A graph's own name, instead of a dtype: relative to the root, or else to `onnx/`.
    """
    candidates = _names(dtype) if file_name is None else iter([(file_name,), (f"onnx/{file_name}",)])
    return next((names for names in candidates if all(map(has, names))), ())


def missing_graph(
    home: str, files: Iterable[str], dtype: str, file_name: str | None = None, *, otherwise: str
) -> CheckpointError:
    """Return the error for a missing graph, which lists the graphs that exist.

    Args:
        home: The folder or repository, as a message calls it.
        files: What is in it.
        dtype: The dtype that the caller chose.
        file_name: The same.
        otherwise: The hint if there is no graph.
    """
    present = set(files)
    found = {dtype: find_graphs(present.__contains__, dtype) for dtype in DTYPE_SUFFIXES}
    unnamed = {name for name in present if name.endswith(".onnx")}.difference(*found.values())
    choices = [
        *(f"dtype={dtype!r}" for dtype, names in found.items() if names),
        *(f"file_name={name!r}" for name in sorted(unnamed)),
    ]
    requested = file_name if file_name is not None else f"{_missing(present, dtype)}, the graph of dtype {dtype!r}"
    return CheckpointError(
        f"{home} has no {requested}.",
        hint=f"It has {', '.join(choices)}." if choices else f"It has no graph at all; {otherwise}",
    )


def data_files(home: str, graph: str, locations: Iterable[str]) -> list[str]:
    """Return the files that hold weights of a graph, by their paths relative to the root.

    Args:
        home: The folder or repository, as a message calls it.
        graph: The graph's path relative to the root.
        locations: The files as the graph names them, relative to its own folder.

    Raises:
        CheckpointError: A file is outside of the graph's folder, or is native code.
    """
    for location in locations:
        if leads_outside(location) or is_library(location):
            what = "native code" if is_library(location) else "a file outside of its folder"
            raise CheckpointError(
                f"{home} has a graph, {graph}, whose weights are in {what}: {location!r}.",
                hint="Do not use a graph that you cannot trust; export the checkpoint again.",
            )
    return [(PurePosixPath(graph).parent / location).as_posix() for location in locations]


def is_library(name: str) -> bool:
    """Whether a file's name is that of native code."""
    return name.endswith(_LIBRARIES) or ".so." in name


def leads_outside(name: str) -> bool:
    """Whether a relative path could lead out of its folder, on any system."""
    return any(
        path.is_absolute() or bool(path.anchor) or ".." in path.parts
        for path in (PurePosixPath(name), PureWindowsPath(name))
    )


def _names(dtype: str) -> Iterator[tuple[str, ...]]:
    return (graph_names(dtype, encoder_decoder=two, home=home) for two in (False, True) for home in _HOMES)


def _missing(present: Collection[str], dtype: str) -> str:
    """Return the first graph of a dtype that is not there, of two where an encoder's of any dtype is."""
    two = any(
        graph_names(dtype, encoder_decoder=True, home=home)[0] in present for dtype in DTYPE_SUFFIXES for home in _HOMES
    )
    return next(name for name in graph_names(dtype, encoder_decoder=two) if name not in present)

"""An ONNX file, read field by field and without ONNX Runtime: in which other files the weights of its graph are.

Source: `onnx.proto` of ONNX 1.23, whose field numbers these are.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "ENTRY_KEY",
    "ENTRY_VALUE",
    "GRAPH_INITIALIZER",
    "MODEL_GRAPH",
    "TENSOR_EXTERNAL_DATA",
    "Field",
    "external_files",
    "message_fields",
    "opened",
]

MODEL_GRAPH = 7
GRAPH_INITIALIZER = 5
TENSOR_EXTERNAL_DATA = 13
ENTRY_KEY, ENTRY_VALUE = 1, 2

_MODEL_FUNCTION = 25
_GRAPH_NODE, _GRAPH_SPARSE_INITIALIZER = 1, 15
_FUNCTION_NODE = 7
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSOR_PARTS = (1, 2)

_LOCATION = b"location"
# A shorter initializer is searched for the key, which is quicker than to read its fields.
_SHORT_BYTES = 1024


class Field(NamedTuple):
    """A field of a message, by the bytes at which its parts begin and end.

    Attributes:
        number: Which field it is.
        start: Its tag.
        content: What follows the tag, and the length if there is one.
        end: The byte after it.
    """

    number: int
    start: int
    content: int
    end: int


@contextmanager
def opened(path: Path) -> Iterator[mmap.mmap]:
    """Map a file into memory while the block runs.

    Args:
        path: The file.

    Raises:
        ValueError: It is empty.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def external_files(path: Path) -> list[str]:
    """Return the files that hold weights of a graph, as the graph names them: relative to its own folder.

    Args:
        path: An ONNX file.

    Returns:
        Each file once, sorted; none where the graph holds all its weights.

    Raises:
        ValueError: It is not a protocol buffer.
    """
    with opened(path) as content:
        try:
            return sorted({name for tensor in _tensors_of_model(content) for name in _locations(content, tensor)})
        except RecursionError as error:
            raise ValueError("its graphs are nested too deeply") from error


def message_fields(content: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message.

    Args:
        content: The file.
        start: The message's first byte.
        end: The byte after it.

    Raises:
        ValueError: The bytes are no message.
    """
    position = start
    while position < end:
        tag, inside = _read_varint(content, position)
        match tag & 7:
            case 0:  # a varint
                _, after = _read_varint(content, inside)
            case 1:  # eight bytes
                after = inside + 8
            case 2:  # length, then content
                length, inside = _read_varint(content, inside)
                after = inside + length
            case 5:  # four bytes
                after = inside + 4
            case other:
                raise ValueError(f"wire type {other} at byte {position}")
        if after > end:
            raise ValueError(f"a field at byte {position} ends at {after}, beyond {end}")
        yield Field(tag >> 3, position, inside, after)
        position = after


def _tensors_of_model(content: mmap.mmap) -> Iterator[Field]:
    """Yield the tensors of a model that may lie in other files."""
    for field in message_fields(content, 0, len(content)):
        if field.number == MODEL_GRAPH:
            yield from _tensors_of_graph(content, field)
        elif field.number == _MODEL_FUNCTION:
            for node in message_fields(content, field.content, field.end):
                if node.number == _FUNCTION_NODE:
                    yield from _tensors_of_node(content, node)


def _tensors_of_graph(content: mmap.mmap, graph: Field) -> Iterator[Field]:
    for part in message_fields(content, graph.content, graph.end):
        if part.number == GRAPH_INITIALIZER:
            if part.end - part.content >= _SHORT_BYTES or content.find(_LOCATION, part.content, part.end) >= 0:
                yield part
        elif part.number == _GRAPH_SPARSE_INITIALIZER:
            yield from _parts_of_sparse(content, part)
        elif part.number == _GRAPH_NODE:
            yield from _tensors_of_node(content, part)


def _tensors_of_node(content: mmap.mmap, node: Field) -> Iterator[Field]:
    """Yield the tensors of a node's attributes, and of the graphs among them: the branches of an `If`."""
    if content.find(_LOCATION, node.content, node.end) < 0:
        return
    for attribute in message_fields(content, node.content, node.end):
        if attribute.number != _NODE_ATTRIBUTE:
            continue
        for value in message_fields(content, attribute.content, attribute.end):
            if value.number in _ATTRIBUTE_TENSORS:
                yield value
            elif value.number in _ATTRIBUTE_GRAPHS:
                yield from _tensors_of_graph(content, value)
            elif value.number in _ATTRIBUTE_SPARSE_TENSORS:
                yield from _parts_of_sparse(content, value)


def _parts_of_sparse(content: mmap.mmap, tensor: Field) -> Iterator[Field]:
    parts = message_fields(content, tensor.content, tensor.end)
    return (part for part in parts if part.number in _SPARSE_TENSOR_PARTS)


def _locations(content: mmap.mmap, tensor: Field) -> Iterator[str]:
    """Yield the file that a tensor names as its own; none if its values are here."""
    for entry in message_fields(content, tensor.content, tensor.end):
        if entry.number != TENSOR_EXTERNAL_DATA:
            continue
        texts = {
            field.number: content[field.content : field.end]
            for field in message_fields(content, entry.content, entry.end)
        }
        if texts.get(ENTRY_KEY) == _LOCATION:
            yield texts.get(ENTRY_VALUE, b"").decode()


def _read_varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and the byte after it."""
    value = shift = 0
    while True:
        if position >= len(content) or shift > 63:
            raise ValueError(f"no number at byte {position}")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7

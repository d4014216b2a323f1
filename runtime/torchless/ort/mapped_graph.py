"""A graph whose weights stay in its file and are mapped into memory, instead of being read and copied.

Source: `onnx.proto` of ONNX 1.23, whose field numbers these are.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["has_weights_outside", "mapped_graph"]

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_RAW_DATA, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 9, 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_EXTERNAL = 1

_VARINT, _LENGTH_DELIMITED = 0, 2
# For a smaller tensor, its location would take about as much space as its data.
_MIN_BYTES = 1024


class _Field(NamedTuple):
    number: int
    start: int  # of the tag
    content: int  # after the tag and the length
    end: int


def mapped_graph(path: Path) -> bytes:
    """Return the ONNX model of a file, with each large tensor replaced by its location in the file.

    ONNX Runtime maps such tensors: the weights are in memory once instead of up to three times, and loading takes about
    half the time.

    Args:
        path: An ONNX file. It must not change while a session uses it: replace it by renaming, never by writing into it.

    Raises:
        ValueError: The file is not a protocol buffer.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return b"".join(_without_weights(content, path.name))


def has_weights_outside(path: Path) -> bool:
    """Return whether some of a graph's weights are in other files.

    Args:
        path: An ONNX file.

    Raises:
        ValueError: The file is not a protocol buffer.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(
            field.number == _TENSOR_EXTERNAL_DATA
            for graph in _fields(content, 0, len(content))
            if graph.number == _MODEL_GRAPH
            for initializer in _fields(content, graph.content, graph.end)
            if initializer.number == _GRAPH_INITIALIZER
            for field in _fields(content, initializer.content, initializer.end)
        )


def _without_weights(content: mmap.mmap, name: str) -> Iterator[bytes]:
    for field in _fields(content, 0, len(content)):
        if field.number != _MODEL_GRAPH:
            yield content[field.start : field.end]
            continue
        parts = (
            _located(content, part, name)
            if part.number == _GRAPH_INITIALIZER and part.end - part.content >= _MIN_BYTES
            else content[part.start : part.end]
            for part in _fields(content, field.content, field.end)
        )
        yield _delimited(_MODEL_GRAPH, b"".join(parts))


def _located(content: mmap.mmap, initializer: _Field, name: str) -> bytes:
    """Return an initializer, with its raw data replaced by its location."""
    fields = list(_fields(content, initializer.content, initializer.end))
    raw = next((field for field in fields if field.number == _TENSOR_RAW_DATA), None)
    if raw is None:  # the data is in a typed field or in another file
        return content[initializer.start : initializer.end]
    where = {"location": name, "offset": str(raw.content), "length": str(raw.end - raw.content)}
    entries = (
        _delimited(
            _TENSOR_EXTERNAL_DATA, _delimited(_ENTRY_KEY, key.encode()) + _delimited(_ENTRY_VALUE, value.encode())
        )
        for key, value in where.items()
    )
    kept = (content[field.start : field.end] for field in fields if field is not raw)
    location = _varint(_TENSOR_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL)
    return _delimited(_GRAPH_INITIALIZER, b"".join((*kept, *entries, location)))


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message.

    Raises:
        ValueError: The bytes are not a message.
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
            case wire_type:
                raise ValueError(f"unknown wire type {wire_type} at byte {position}")
        if after > end:
            raise ValueError(f"a field at byte {position} ends at {after}, beyond {end}")
        yield _Field(tag >> 3, position, inside, after)
        position = after


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


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content

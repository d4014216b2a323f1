"""A graph whose weights stay in its file and are mapped into memory, instead of being read and copied.

Source: `onnx.proto` of ONNX 1.23, whose field numbers these are.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from torchless.folder.onnx_file import (
    ENTRY_KEY,
    ENTRY_VALUE,
    GRAPH_INITIALIZER,
    MODEL_GRAPH,
    TENSOR_EXTERNAL_DATA,
    Field,
    message_fields,
    opened,
)

__all__ = ["mapped_graph"]

_TENSOR_RAW_DATA, _TENSOR_DATA_LOCATION = 9, 14
_EXTERNAL = 1

_VARINT, _LENGTH_DELIMITED = 0, 2
# For a smaller tensor, its location would take about as much space as its data.
_MIN_BYTES = 1024


def mapped_graph(path: Path) -> bytes:
    """Return the ONNX model of a file, with each large tensor replaced by its location in the file.

    ONNX Runtime maps such tensors: the weights are in memory once instead of up to three times, and loading takes about
    half the time.

    Args:
        path: An ONNX file. It must not change while a session uses it: replace it by renaming, never by writing into it.

    Raises:
        ValueError: The file is not a protocol buffer.
    """
    with opened(path) as content:
        return b"".join(_without_weights(content, path.name))


def _without_weights(content: mmap.mmap, name: str) -> Iterator[bytes]:
    for field in message_fields(content, 0, len(content)):
        if field.number != MODEL_GRAPH:
            yield content[field.start : field.end]
            continue
        parts = (
            _located(content, part, name)
            if part.number == GRAPH_INITIALIZER and part.end - part.content >= _MIN_BYTES
            else content[part.start : part.end]
            for part in message_fields(content, field.content, field.end)
        )
        yield _delimited(MODEL_GRAPH, b"".join(parts))


def _located(content: mmap.mmap, initializer: Field, name: str) -> bytes:
    """Return an initializer, with its raw data replaced by its location."""
    fields = list(message_fields(content, initializer.content, initializer.end))
    raw = next((field for field in fields if field.number == _TENSOR_RAW_DATA), None)
    if raw is None:  # the data is in a typed field or in another file
        return content[initializer.start : initializer.end]
    where = {"location": name, "offset": str(raw.content), "length": str(raw.end - raw.content)}
    entries = (
        _delimited(TENSOR_EXTERNAL_DATA, _delimited(ENTRY_KEY, key.encode()) + _delimited(ENTRY_VALUE, value.encode()))
        for key, value in where.items()
    )
    kept = (content[field.start : field.end] for field in fields if field is not raw)
    location = _varint(_TENSOR_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL)
    return _delimited(GRAPH_INITIALIZER, b"".join((*kept, *entries, location)))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content

"""JSON of requests and responses. Large JSON is read and written on threads, so that the event loop stays free."""

import gc
import json
import re
from asyncio import get_running_loop
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
import numpy as np
from litestar import Response
from litestar.exceptions import ClientException
from litestar.serialization import encode_json, get_serializer

__all__ = ["LARGE_BYTES", "TYPE_ENCODERS", "compute", "is_large", "read_json", "write_json", "write_large_response"]

LARGE_BYTES = 16_384
"""The size of a body from which on it is read on a thread."""

TYPE_ENCODERS: Mapping[Any, Callable[[Any], Any]] = {np.ndarray: np.ndarray.tolist}
"""How to encode objects that msgspec does not know."""

_LARGE_ITEMS = 4096  # of a response: numbers, texts and keys
_BLOCK = 1024  # items of a list that are encoded at once
_CHARACTERS_PER_ITEM = 16
# A list or an object takes 30 times the memory of its two bytes.
_MAX_CONTAINERS = 100_000
# The digits of the largest float. A longer integer could not be compared with a float.
_MAX_DIGITS = 308
_DIGITS = bytes(ord("0") if character in b"0123456789" else ord(" ") for character in range(256))
_SURROGATE = re.compile("[\ud800-\udfff]")
# The decoder holds Python's global lock, so more threads would only take more memory.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="torchless-json")
_SERIALIZER = get_serializer(TYPE_ENCODERS)

T = TypeVar("T")


async def compute(work: Callable[[], T], *, large: bool) -> T:
    """Return the result of some work: large work runs on a thread."""
    return await get_running_loop().run_in_executor(_THREADS, work) if large else work()


def read_json(body: bytes, kind: Any = Any) -> Any:
    """Return the value of a body.

    Args:
        body: The body.
        kind: The type of the value; numbers and booleans may be strings.

    Raises:
        ClientException: The body is not UTF-8 or not JSON, it is nested too deeply, has too many lists and objects, or
            an integer beyond the range of floats.
        ValidationError: The value does not have the type.
    """
    large = len(body) > LARGE_BYTES
    collects = large and gc.isenabled()
    if large:
        _check_containers(body)
    if collects:
        gc.disable()  # the collector would scan the new objects again and again
    try:
        if b"0" * (_MAX_DIGITS + 1) in body.translate(_DIGITS):
            _check_numbers(msgspec.json.decode(body))
        return msgspec.json.decode(body, type=kind, strict=False)
    except UnicodeDecodeError as error:
        raise ClientException(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise ClientException(_surrogate_problem(body) or str(error)) from error
    except RecursionError as error:
        raise ClientException("The body is nested too deeply.") from error
    finally:
        if collects:
            gc.enable()


def write_json(content: Any) -> bytes:
    """Return a value as JSON. Large lists and arrays are encoded in blocks, between which other threads can run.

    Args:
        content: An object that msgspec encodes, or a NumPy array, or lists of both. NaN becomes null.
    """
    return b"".join(_blocks(content))


async def write_large_response(response: Response[Any]) -> Response[Any]:
    """Encode the content of a response on a thread, if it is large. Litestar encodes the content of other responses."""
    if not isinstance(response.content, bytes) and is_large(response.content):
        response.content = await compute(partial(write_json, response.content), large=True)
    return response


def _blocks(content: Any) -> Iterator[bytes]:
    if not isinstance(content, list | tuple | np.ndarray) or not is_large(content):
        yield encode_json(content, _SERIALIZER)
        return
    yield b"["
    for start in range(0, len(content), _BLOCK):
        block = content[start : start + _BLOCK]
        if start:
            yield b","
        if not is_large(block):
            yield encode_json(block, _SERIALIZER)[1:-1]
            continue
        for index, item in enumerate(block):
            if index:
                yield b","
            yield from _blocks(item)
    yield b"]"


def is_large(content: Any) -> bool:
    """Return whether a value has many items. It stops to count when there are."""
    rest, items = [content], 0
    while rest:
        item = rest.pop()
        if isinstance(item, str | bytes):
            items += len(item) // _CHARACTERS_PER_ITEM
        elif isinstance(item, np.ndarray):
            items += item.size
        elif isinstance(item, msgspec.Struct):
            rest += [getattr(item, name) for name in item.__struct_fields__]
        elif isinstance(item, list | tuple | Mapping):
            items += len(item)
            if items <= _LARGE_ITEMS and item and not (isinstance(item, list) and isinstance(item[0], float | int)):
                rest += item.values() if isinstance(item, Mapping) else item
        if items > _LARGE_ITEMS:
            return True
    return False


def _check_containers(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= _MAX_CONTAINERS:
        return
    outside_strings = body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    containers = sum(part.count(b"[") + part.count(b"{") for part in outside_strings)
    if containers > _MAX_CONTAINERS:
        raise ClientException(
            f"The body has {containers} lists and objects, nested or side by side, and the limit is {_MAX_CONTAINERS}. "
            "Send several requests."
        )


def _check_numbers(value: Any) -> None:
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, int):
            try:
                float(item)
            except OverflowError:
                raise ClientException(
                    f"An integer with {len(str(item).lstrip('-'))} digits is out of range: a number may have "
                    f"{_MAX_DIGITS}."
                ) from None
        elif isinstance(item, list | dict):
            rest += item.values() if isinstance(item, dict) else item


def _surrogate_problem(body: bytes) -> str | None:
    """Return what is wrong with a body whose only fault is an escape of half a character; None of other bodies.

    The decoder takes such a body for one that was cut.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = _SURROGATE.search(json.dumps(values, ensure_ascii=False))
    return (
        found
        and f"The JSON has the escape \\u{ord(found[0]):04x} alone, a surrogate, which is only half of a character."
    )

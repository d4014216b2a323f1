"""Tensors as the Open Inference Protocol carries them: as JSON, or as bytes behind it."""

from collections.abc import Collection, Mapping
from math import prod
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from torchless.errors import InputError

__all__ = [
    "JSON_LENGTH",
    "InputTensor",
    "OutputTensor",
    "RequestedOutput",
    "TensorRequest",
    "TensorResponse",
    "Tensors",
    "read_request",
    "texts_of",
    "write_response",
]

Tensors: TypeAlias = Mapping[str, NDArray[Any]]

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header that says where a body's JSON ends, and bytes begin."""

_DATATYPES = {"O": "BYTES", "f": "FP32", "i": "INT64"}
_STORED: dict[str, np.dtype[Any]] = {"f": np.dtype("<f4"), "i": np.dtype("<i8")}
_LENGTH_DIGITS = 20
_LENGTH_BYTES = 4  # of each text of a BYTES tensor, little-endian, before the text itself


class InputTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a request.

    Attributes:
        name: Of an input of the model.
        shape: Its shape.
        datatype: Of its elements; `BYTES` are texts.
        parameters: `binary_data_size` says how many bytes behind the JSON are its own.
        data: Its elements, nested or flat, where they are in the JSON.
    """

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output that a request asks for.

    Attributes:
        name: Of an output of the model.
        parameters: `binary_data` asks for bytes.
    """

    name: str
    parameters: dict[str, Any] = {}


class TensorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a request.

    Attributes:
        inputs: What to answer.
        outputs: What to return; by default all that the model returns by itself.
        parameters: `binary_data_output` asks for all outputs as bytes; the others are options of the pipeline.
        id: Given back with the response.
    """

    inputs: list[InputTensor]
    outputs: list[RequestedOutput] | None = None
    parameters: dict[str, Any] = {}
    id: str | None = None


class OutputTensor(msgspec.Struct, kw_only=True):
    """A tensor of a response.

    Attributes:
        name: Of an output of the model.
        datatype: Of its elements: `BYTES` are texts.
        shape: Its shape.
        data: Its elements, flat, unless they are behind the JSON.
        parameters: `binary_data_size` says how many bytes behind the JSON are its own.
    """

    name: str
    datatype: str
    shape: list[int]
    data: list[str | int | float] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class TensorResponse(msgspec.Struct, kw_only=True):
    """The JSON of a response.

    Attributes:
        model_name: Of the model that answered.
        id: Of the request.
        outputs: The tensors.
    """

    model_name: str
    id: str | msgspec.UnsetType = msgspec.UNSET
    outputs: list[OutputTensor]


def read_request(body: bytes, json_length: str | None) -> tuple[TensorRequest, bytes]:
    """Read a request.

    Args:
        body: All of it.
        json_length: The header `Inference-Header-Content-Length`: where the JSON ends and the bytes begin.

    Returns:
        The JSON, and the bytes behind it.

    Raises:
        InputError: It is no such request.
    """
    end = len(body)
    if json_length is not None:
        whole = json_length.isascii() and json_length.isdigit() and len(json_length) <= _LENGTH_DIGITS
        if not whole or int(json_length) > len(body):
            raise InputError(
                f"{JSON_LENGTH} is {json_length!r}, and the body has {len(body)} bytes.",
                hint="Give the length of the JSON in bytes.",
            )
        end = int(json_length)
    try:
        return msgspec.json.decode(body[:end], type=TensorRequest), body[end:]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"The request cannot be read: {error}.",
            hint='Give {"inputs": [{"name": …, "shape": …, "datatype": "BYTES", "data": […]}]}.',
        ) from error


def texts_of(inputs: Collection[InputTensor], raw: bytes) -> dict[str, list[str]]:
    """Return the texts of each tensor.

    Args:
        inputs: The tensors.
        raw: The bytes behind the JSON, of one tensor after the other.

    Raises:
        InputError: A tensor holds no texts, or not as many as its shape says, or bytes are too few or too many.
    """
    texts: dict[str, list[str]] = {}
    for tensor in inputs:
        if tensor.name in texts:
            raise InputError(f"The input {tensor.name!r} is given twice.", hint="Give it once.")
        if tensor.datatype != "BYTES":
            raise InputError(
                f"The input {tensor.name!r} has the datatype {tensor.datatype!r}.",
                hint="Give texts, as BYTES; they become tokens here.",
            )
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            found = _flat(tensor)
        else:
            tensor_bytes, raw = _split(tensor, size, raw)
            found = _read_bytes(tensor, tensor_bytes)
        if any(length < 0 for length in tensor.shape) or len(found) != prod(tensor.shape):
            raise InputError(
                f"The input {tensor.name!r} has the shape {tensor.shape} and {len(found)} elements.",
                hint=f"Give the shape [{len(found)}].",
            )
        texts[tensor.name] = found
    if raw:
        raise InputError(
            f"{len(raw)} bytes behind the JSON belong to no input.", hint="Say whose they are with binary_data_size."
        )
    return texts


def write_response(
    model: str, tensors: Tensors, *, request_id: str | None, binary: Collection[str]
) -> tuple[bytes, int | None]:
    """Write a response.

    Args:
        model: Its name.
        tensors: The outputs: texts as objects, float32 or int64.
        request_id: Of the request.
        binary: The outputs that become bytes.

    Returns:
        The body; and where its JSON ends, if bytes follow.
    """
    described, raw = [], []
    for name, array in tensors.items():
        output = OutputTensor(name=name, datatype=_DATATYPES[array.dtype.kind], shape=list(array.shape))
        if name in binary:
            raw.append(_as_bytes(array))
            output.parameters = {"binary_data_size": len(raw[-1])}
        else:
            output.data = array.ravel().tolist()
        described.append(output)
    response_id = msgspec.UNSET if request_id is None else request_id
    encoded = msgspec.json.encode(TensorResponse(model_name=model, id=response_id, outputs=described))
    return b"".join([encoded, *raw]), len(encoded) if raw else None


def _flat(tensor: InputTensor) -> list[str]:
    """Return texts that may be nested as their shape is."""
    flat: list[Any] = tensor.data or []
    for _ in tensor.shape[1:]:
        if not all(isinstance(item, list) for item in flat):
            break
        flat = [inner for item in flat for inner in item]
    for item in flat:
        if not isinstance(item, str):
            raise InputError(f"The input {tensor.name!r} holds {item!r}, which is no text.", hint="Give strings.")
    return flat


def _split(tensor: InputTensor, size: Any, raw: bytes) -> tuple[bytes, bytes]:
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(raw):
        raise InputError(
            f"The input {tensor.name!r} has binary_data_size={size!r}, and {len(raw)} bytes are left.",
            hint="Give the bytes of each input behind the JSON, and Inference-Header-Content-Length.",
        )
    return raw[:size], raw[size:]


def _read_bytes(tensor: InputTensor, raw: bytes) -> list[str]:
    found, at = [], 0
    while at < len(raw):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(raw[at:begin], "little")
        if at > len(raw) or begin > len(raw):
            raise InputError(
                f"The bytes of the input {tensor.name!r} end within an element.",
                hint="Give each text's length as 4 bytes, little-endian, and then the text.",
            )
        try:
            found.append(raw[begin:at].decode())
        except UnicodeDecodeError as error:
            raise InputError(
                f"A text of the input {tensor.name!r} is no UTF-8: {error}.", hint="Encode it so."
            ) from error
    return found


def _as_bytes(array: NDArray[Any]) -> bytes:
    if array.dtype.kind != "O":
        return array.astype(_STORED[array.dtype.kind], copy=False).tobytes()
    texts = [text.encode() for text in array.ravel().tolist()]
    return b"".join(part for text in texts for part in (len(text).to_bytes(_LENGTH_BYTES, "little"), text))

"""The tensors of the Open Inference Protocol in requests and responses: as JSON, or as bytes behind the JSON."""

from collections.abc import Collection, Mapping
from math import prod
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from litestar.exceptions import ClientException
from numpy.typing import NDArray

from torchless.errors import InputError
from torchless.server.json_codec import read_json, write_json

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
"""The header with the number of bytes of the JSON, if the bytes of tensors follow."""

_DATATYPES = {"O": "BYTES", "f": "FP32", "i": "INT64"}
_STORED: dict[str, np.dtype[Any]] = {"f": np.dtype("<f4"), "i": np.dtype("<i8")}
_MAX_LENGTH_DIGITS = 20
_MAX_DIMENSIONS = 32
_LENGTH_BYTES = 4  # the size of the length before each text of a BYTES tensor, little-endian


class InputTensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a request.

    Attributes:
        name: The name of an input of the model.
        shape: The shape.
        datatype: The type of the elements; `BYTES` are texts.
        parameters: `binary_data_size` is the number of the tensor's bytes behind the JSON.
        data: The elements, nested or flat, unless they are bytes behind the JSON.
    """

    name: str
    shape: Annotated[list[int], msgspec.Meta(max_length=_MAX_DIMENSIONS)]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A requested output.

    Attributes:
        name: The name of an output of the model.
        parameters: `binary_data` selects bytes behind the JSON.
    """

    name: str
    parameters: dict[str, Any] = {}


class TensorRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a request.

    Attributes:
        inputs: The input tensors.
        outputs: The outputs to return; by default all outputs that are not optional.
        parameters: `binary_data_output` selects bytes for all outputs; other parameters are options of the pipeline.
        id: An id, which the response repeats.
    """

    inputs: list[InputTensor]
    outputs: list[RequestedOutput] | None = None
    parameters: dict[str, Any] = {}
    id: str | None = None


class OutputTensor(msgspec.Struct, kw_only=True):
    """A tensor of a response.

    Attributes:
        name: The name of an output of the model.
        datatype: The type of the elements; `BYTES` are texts.
        shape: The shape.
        data: The elements, flat, unless they are bytes behind the JSON.
        parameters: `binary_data_size` is the number of the tensor's bytes behind the JSON.
    """

    name: str
    datatype: str
    shape: list[int]
    data: list[str | int | float] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class TensorResponse(msgspec.Struct, kw_only=True):
    """The JSON of a response.

    Attributes:
        model_name: The name of the model.
        id: The id of the request.
        outputs: The tensors.
    """

    model_name: str
    id: str | msgspec.UnsetType = msgspec.UNSET
    outputs: list[OutputTensor]


def read_request(body: bytes, json_length: str | None) -> tuple[TensorRequest, bytes]:
    """Read a request.

    Args:
        body: The whole body.
        json_length: The value of the header `Inference-Header-Content-Length`.

    Returns:
        The request, and the bytes behind the JSON.

    Raises:
        InputError: The body is not JSON, is beyond the limits of `read_json`, or is not a request of this protocol.
    """
    end = len(body)
    if json_length is not None:
        is_number = json_length.isascii() and json_length.isdigit() and len(json_length) <= _MAX_LENGTH_DIGITS
        if not is_number or int(json_length) > len(body):
            raise InputError(
                f"{JSON_LENGTH} is {json_length!r}, and the body has {len(body)} bytes.",
                hint="Give the number of bytes of the JSON.",
            )
        end = int(json_length)
    try:
        return read_json(body[:end], TensorRequest), body[end:]
    except (ClientException, msgspec.ValidationError) as error:
        problem = error.detail if isinstance(error, ClientException) else str(error)
        raise InputError(
            f"The request cannot be read: {problem}",
            hint='Give {"inputs": [{"name": …, "shape": …, "datatype": "BYTES", "data": […]}]}.',
        ) from error


def texts_of(inputs: Collection[InputTensor], raw: bytes) -> dict[str, list[str]]:
    """Return the texts of each tensor.

    Args:
        inputs: The tensors.
        raw: The bytes behind the JSON, in the order of the tensors.

    Raises:
        InputError: A tensor has elements that are not texts, a wrong shape, or a wrong number of bytes.
    """
    texts: dict[str, list[str]] = {}
    for tensor in inputs:
        if tensor.name in texts:
            raise InputError(f"The input {tensor.name!r} is given twice.", hint="Give it once.")
        if tensor.datatype != "BYTES":
            raise InputError(
                f"The input {tensor.name!r} has the datatype {tensor.datatype!r}.",
                hint="Give texts as BYTES; the server tokenizes them.",
            )
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            elements = _flatten(tensor)
        else:
            tensor_bytes, raw = _split(tensor, size, raw)
            elements = _read_bytes(tensor, tensor_bytes)
        if any(length < 0 for length in tensor.shape) or len(elements) != prod(tensor.shape):
            raise InputError(
                f"The input {tensor.name!r} has the shape {tensor.shape} and {len(elements)} elements.",
                hint=f"Give the shape [{len(elements)}].",
            )
        texts[tensor.name] = elements
    if raw:
        raise InputError(
            f"{len(raw)} bytes behind the JSON belong to no input.", hint="Give binary_data_size for their input."
        )
    return texts


def write_response(
    model: str, tensors: Tensors, *, request_id: str | None, binary: Collection[str]
) -> tuple[bytes, int | None]:
    """Write a response.

    Args:
        model: The name of the model.
        tensors: The outputs: arrays of str objects, float32 or int64.
        request_id: The id of the request.
        binary: The names of the outputs to write as bytes.

    Returns:
        The body; and the number of bytes of its JSON, or None if no bytes follow.
    """
    outputs, raw = [], []
    for name, array in tensors.items():
        output = OutputTensor(name=name, datatype=_DATATYPES[array.dtype.kind], shape=list(array.shape))
        if name in binary:
            raw.append(_as_bytes(array))
            output.parameters = {"binary_data_size": len(raw[-1])}
        else:
            output.data = msgspec.Raw(write_json(array.ravel()))  # type: ignore[assignment]
        outputs.append(output)
    response_id = msgspec.UNSET if request_id is None else request_id
    encoded = msgspec.json.encode(TensorResponse(model_name=model, id=response_id, outputs=outputs))
    return b"".join([encoded, *raw]), len(encoded) if raw else None


def _flatten(tensor: InputTensor) -> list[str]:
    """Return the texts of a tensor, whose data may be nested like its shape."""
    flat: list[Any] = tensor.data or []
    for _ in tensor.shape[1:]:
        if not all(isinstance(item, list) for item in flat):
            break
        flat = [inner for item in flat for inner in item]
    for item in flat:
        if not isinstance(item, str):
            raise InputError(
                f"The input {tensor.name!r} has the element {item!r}, which is not a text.", hint="Give strings."
            )
    return flat


def _split(tensor: InputTensor, size: Any, raw: bytes) -> tuple[bytes, bytes]:
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(raw):
        raise InputError(
            f"The input {tensor.name!r} has binary_data_size={size!r}, and {len(raw)} bytes are left.",
            hint="Give the bytes of each input behind the JSON, and Inference-Header-Content-Length.",
        )
    return raw[:size], raw[size:]


def _read_bytes(tensor: InputTensor, raw: bytes) -> list[str]:
    texts, end = [], 0
    while end < len(raw):
        begin = end + _LENGTH_BYTES
        end = begin + int.from_bytes(raw[end:begin], "little")
        if end > len(raw):
            raise InputError(
                f"The bytes of the input {tensor.name!r} end within an element.",
                hint="Give each text's length as 4 bytes, little-endian, and then the text.",
            )
        try:
            texts.append(raw[begin:end].decode())
        except UnicodeDecodeError as error:
            raise InputError(
                f"A text of the input {tensor.name!r} is not UTF-8: {error}.", hint="Encode texts as UTF-8."
            ) from error
    return texts


def _as_bytes(array: NDArray[Any]) -> bytes:
    if array.dtype.kind != "O":
        return array.astype(_STORED[array.dtype.kind], copy=False).tobytes()
    texts = [text.encode() for text in array.ravel().tolist()]
    return b"".join(part for text in texts for part in (len(text).to_bytes(_LENGTH_BYTES, "little"), text))

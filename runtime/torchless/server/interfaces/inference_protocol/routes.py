"""The routes of the Open Inference Protocol: texts in, tensors out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from torchless import __version__
from torchless.server.errors import STATUS_DESCRIPTIONS, readiness_response
from torchless.server.interface import Interface, check_no_template
from torchless.server.interfaces.inference_protocol.errors import INFERENCE_PROTOCOL_STATUSES, inference_protocol_error
from torchless.server.interfaces.inference_protocol.operation import TensorOperation
from torchless.server.interfaces.inference_protocol.signatures import PipelineCall, Signature, TensorSpec, signature_of
from torchless.server.interfaces.inference_protocol.tensors import (
    JSON_LENGTH,
    TensorRequest,
    TensorResponse,
    Tensors,
    read_request,
    texts_of,
    write_response,
)
from torchless.server.json_codec import LARGE_BYTES, compute, is_large
from torchless.server.models import ServedModel
from torchless.server.openapi import ModelName
from torchless.server.server_request import ServerRequest

__all__ = ["INTERFACE"]

_LABELLED = ("text-classification", "token-classification")


class ServerMetadata(Struct, kw_only=True):
    """The description of the server.

    Attributes:
        name: The name of the server.
        version: The version of the server.
        extensions: The supported extensions of the protocol.
    """

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Struct, kw_only=True):
    """The description of a tensor.

    Attributes:
        name: The name.
        datatype: `BYTES` for texts, `FP32` or `INT64`.
        shape: The shape; -1 is any length.
        parameters: `optional`, if a request may leave out the input, or must request the output by name.
    """

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, bool]


class ModelMetadata(Struct, kw_only=True):
    """The description of a model.

    Attributes:
        name: The name.
        platform: The runtime and the format.
        inputs: The inputs.
        outputs: The outputs.
        parameters: The `task`, the `dtype`, and the `labels` in the order of `logits`.
    """

    name: str
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any]


class Liveness(Struct, kw_only=True):
    """Whether the process runs."""

    live: bool


class ServerReadiness(Struct, kw_only=True):
    """Whether the server accepts requests."""

    ready: bool


class Readiness(Struct, kw_only=True):
    """Whether a model accepts requests."""

    name: str
    ready: bool


@get("/v2", sync_to_thread=False)
def server() -> ServerMetadata:
    """Describe the server."""
    return ServerMetadata(name="torchless", version=__version__, extensions=["binary_tensor_data"])


@get("/v2/health/live", opt={"public": True}, sync_to_thread=False)
def live() -> Liveness:
    """Return that the process runs."""
    return Liveness(live=True)


@get(
    "/v2/health/ready",
    opt={"public": True},
    responses={503: ResponseSpec(ServerReadiness, description=STATUS_DESCRIPTIONS[503])},
    sync_to_thread=False,
)
def ready(request: ServerRequest) -> Response[ServerReadiness]:
    """Return whether the server accepts requests."""
    return readiness_response(ServerReadiness(ready=request.is_ready), ready=request.is_ready)


@get("/v2/models/{name:str}", sync_to_thread=False)
def model(name: ModelName, request: ServerRequest) -> ModelMetadata:
    """Describe the inputs and the outputs of a model."""
    served = request.registry[name]
    signature = signature_of(served.pipeline)
    outputs = [
        _metadata(output, optional=output.optional or call is not signature.calls[0])
        for call in signature.calls
        for output in call.outputs
    ]
    labels = served.pipeline.model.config.id2label
    return ModelMetadata(
        name=name,
        platform="onnxruntime_onnx",
        inputs=[_metadata(tensor, optional=tensor.optional) for tensor in signature.inputs],
        outputs=outputs,
        parameters={
            "task": served.task,
            "dtype": served.dtype,
            **({"labels": [labels[index] for index in sorted(labels)]} if served.task in _LABELLED else {}),
        },
    )


@get(
    "/v2/models/{name:str}/ready",
    responses={503: ResponseSpec(Readiness, description=STATUS_DESCRIPTIONS[503])},
    sync_to_thread=False,
)
def model_ready(name: ModelName, request: ServerRequest) -> Response[Readiness]:
    """Return whether a model accepts requests."""
    body = Readiness(name=request.registry[name].name, ready=request.is_ready)
    return readiness_response(body, ready=request.is_ready)


@post(
    "/v2/models/{name:str}/infer",
    status_code=200,
    responses={200: ResponseSpec(TensorResponse, description="The outputs.")},
    operation_class=TensorOperation,
    opt={"binary_body": True},
)
async def infer(
    name: ModelName,
    request: ServerRequest,
) -> Response[Any]:
    """Run a model on texts. The parameters of the request are options of the model's pipeline."""
    served = request.registry[name]
    signature = signature_of(served.pipeline)
    body = await request.body()
    read = partial(_read, body, request.headers.get(JSON_LENGTH))
    data, texts = await compute(read, large=len(body) > LARGE_BYTES)
    calls = signature.calls_for([output.name for output in data.outputs] if data.outputs else None)
    results = await _answer(served, signature, data, calls, texts)
    write = partial(served.within_limits, partial(_write, name, data, calls, results))
    body, json_length = await compute(write, large=is_large(results))
    if json_length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={JSON_LENGTH: str(json_length)})


INTERFACE = Interface(
    name="Open Inference Protocol",
    handlers=[server, live, ready, model, model_ready, infer],
    error_body=inference_protocol_error,
    statuses=INFERENCE_PROTOCOL_STATUSES,
    path="/v2/",
)


def _read(body: bytes, json_length: str | None) -> tuple[TensorRequest, Mapping[str, list[str]]]:
    data, raw = read_request(body, json_length)
    return data, texts_of(data.inputs, raw)


async def _answer(
    served: ServedModel,
    signature: Signature,
    data: TensorRequest,
    calls: Sequence[PipelineCall],
    texts: Mapping[str, list[str]],
) -> list[list[Any]]:
    """Return the results of each call of the pipeline."""
    inputs, options = signature.inputs_of(texts)
    check_no_template(data.parameters)
    options = {name: value for name, value in data.parameters.items() if name != "binary_data_output"} | options
    return [await served.answer(inputs, call.merge_options(options)) for call in calls]


def _write(
    model: str, data: TensorRequest, calls: Sequence[PipelineCall], results: Sequence[Sequence[Any]]
) -> tuple[bytes, int | None]:
    tensors: dict[str, Any] = {}
    for call, result in zip(calls, results, strict=True):
        tensors |= call.arrays(result)
    if data.outputs:
        tensors = {output.name: tensors[output.name] for output in data.outputs}
    return write_response(model, tensors, request_id=data.id, binary=_binary_outputs(data, tensors))


def _binary_outputs(data: TensorRequest, tensors: Tensors) -> set[str]:
    """Return the names of the outputs to send as bytes: a parameter of an output overrides that of the request."""
    by_default = bool(data.parameters.get("binary_data_output", False))
    by_output = {output.name: output.parameters.get("binary_data", by_default) for output in data.outputs or ()}
    return {name for name in tensors if by_output.get(name, by_default)}


def _metadata(tensor: TensorSpec, *, optional: bool) -> TensorMetadata:
    return TensorMetadata(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=list(tensor.shape),
        parameters={"optional": True} if optional else {},
    )

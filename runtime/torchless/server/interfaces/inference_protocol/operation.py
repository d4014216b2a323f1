"""The OpenAPI operation of a route with tensors in its request and its response."""

from dataclasses import dataclass
from typing import Any

from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from torchless.server.interfaces.inference_protocol.tensors import JSON_LENGTH, TensorRequest
from torchless.server.openapi import JsonSchema, describe

__all__ = ["TensorOperation"]


@dataclass
class TensorOperation(Operation):
    """An operation with tensors in its request and its response: as JSON, or as bytes behind the JSON."""

    def __post_init__(self) -> None:
        length = Schema(type=OpenAPIType.INTEGER, minimum=0)
        description = "The number of bytes of the JSON, if the bytes of tensors follow."
        binary = OpenAPIMediaType(schema=Schema(description="JSON, and then the bytes of tensors."))
        schema = JsonSchema(value=describe(TensorRequest))
        self.request_body = RequestBody(
            required=True,
            content={"application/json": OpenAPIMediaType(schema=schema), "application/octet-stream": binary},
        )
        header = Parameter(name=JSON_LENGTH, param_in="header", schema=length, description=description)
        self.parameters = [*(self.parameters or ()), header]
        response: Any = self.responses["200"]  # type: ignore[index]
        response.content["application/octet-stream"] = binary
        response.headers = {JSON_LENGTH: OpenAPIHeader(schema=length, description=description)}

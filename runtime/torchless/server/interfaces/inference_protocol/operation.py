"""What the OpenAPI document says of a route that takes and gives tensors."""

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
from torchless.server.openapi import WrittenSchema, describe

__all__ = ["TensorOperation"]


@dataclass
class TensorOperation(Operation):
    """An operation that takes and gives tensors, as JSON, or as JSON with their bytes behind it."""

    def __post_init__(self) -> None:
        length = Schema(type=OpenAPIType.INTEGER, minimum=0)
        binary = OpenAPIMediaType(schema=Schema(description="JSON, and behind it the bytes of tensors."))
        schema = WrittenSchema(written=describe(TensorRequest))
        self.request_body = RequestBody(
            required=True,
            content={"application/json": OpenAPIMediaType(schema=schema), "application/octet-stream": binary},
        )
        where = Parameter(
            name=JSON_LENGTH, param_in="header", schema=length, description="Where the JSON ends, if bytes follow."
        )
        self.parameters = [*(self.parameters or ()), where]
        answer: Any = self.responses["200"]  # type: ignore[index]
        answer.content["application/octet-stream"] = binary
        answer.headers = {
            JSON_LENGTH: OpenAPIHeader(schema=length, description="Where the JSON ends, if bytes follow.")
        }

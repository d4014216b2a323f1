"""Hugging Face's interface: `POST /models/{name}` with inputs and parameters."""

from typing import Any

from litestar import Router, post
from msgspec import Struct

from torchless.server.admission import Admitted
from torchless.server.errors import exception_handlers, hugging_face
from torchless.server.models import Registry

__all__ = ["router"]


class Ask(Struct):
    """What a request asks.

    Attributes:
        inputs: One input, or a list.
        parameters: The task's options.
    """

    inputs: Any
    parameters: dict[str, Any] = {}


@post("/models/{name:str}", status_code=200)
async def answer(name: str, data: Ask, registry: Registry, admitted: Admitted) -> Any:
    """Answer inputs as the model's pipeline does."""
    many = isinstance(data.inputs, list)
    results = await registry[name].answer(data.inputs if many else [data.inputs], data.parameters, admitted=admitted)
    return results if many else results[0]


def router() -> Router:
    """Return the routes of this interface."""
    return Router("/", route_handlers=[answer], exception_handlers=exception_handlers(hugging_face))

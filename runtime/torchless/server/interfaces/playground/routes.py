"""The routes of the playground: the page at `/`, its files, and the list of the models."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from torchless.models.model import Model
from torchless.models.pooling import declares_pooling
from torchless.server.interface import Interface
from torchless.server.models import ServedModel
from torchless.server.server_request import ServerRequest

__all__ = ["INTERFACE", "ModelDescription", "ModelList"]

_FOLDER = files(__package__) / "assets"
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_CONTENTS = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if file.is_file()}
# The page loads only files of this server, has no inline scripts or styles, and cannot be in a frame.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the server.

    Attributes:
        name: The name in requests.
        task: The name of the task.
        dtype: The variant.
        max_input_tokens: The maximum number of tokens in an input.
        examples: Example inputs.
        options: The options for the examples.
        chat: Whether the model answers chats.
    """

    name: str
    task: str
    dtype: str
    max_input_tokens: int
    examples: list[Any]
    options: dict[str, Any]
    chat: bool

    @classmethod
    def of(cls, model: ServedModel) -> "ModelDescription":
        """Describe a model."""
        pipeline = model.pipeline
        options = dict(pipeline.task.options)
        if model.task == "feature-extraction":  # one embedding for each text
            options |= _embedding_options(pipeline.model)
        return cls(
            name=model.name,
            task=model.task,
            dtype=model.dtype,
            max_input_tokens=model.max_input_tokens,
            examples=pipeline.example_inputs(),
            options=options,
            chat=model.task == "text-generation" and pipeline.tokenizer.chat_template is not None,
        )


class ModelList(msgspec.Struct, frozen=True):
    """The models of the server.

    Attributes:
        models: The models, in the order of the settings.
    """

    models: list[ModelDescription]


@get("/", include_in_schema=False, opt={"public": True}, sync_to_thread=False)
def page() -> Response[bytes]:
    """Return the page."""
    return _file("index.html")


@get("/playground/{name:str}", include_in_schema=False, opt={"public": True}, sync_to_thread=False)
def file(name: FromPath[str]) -> Response[bytes]:
    """Return a file of the page."""
    if name not in _CONTENTS:
        raise NotFoundException(f"The playground has no file {name!r}.")
    return _file(name)


@get("/models", sync_to_thread=False)
def models(request: ServerRequest) -> ModelList:
    """List the models, each with its task and examples."""
    return ModelList([ModelDescription.of(request.registry[name]) for name in request.registry.names])


INTERFACE = Interface(name="Models", handlers=[page, file, models])


def _file(name: str) -> Response[bytes]:
    return Response(_CONTENTS[name], media_type=_MEDIA_TYPES[Path(name).suffix], headers=_HEADERS)


def _embedding_options(model: Model) -> dict[str, Any]:
    """Return the options for one embedding of each text: as the graph or the folder says, or as most models do."""
    return {"pooling": "auto"} if declares_pooling(model) else {"pooling": "mean", "normalize": True}

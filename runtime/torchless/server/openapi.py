"""The OpenAPI document: its schemas are made from the types that decode requests and encode responses."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

import msgspec
from litestar import Litestar, Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Schema,
    SecurityScheme,
    Server,
)
from litestar.params import FromPath, ParameterKwarg
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from torchless import __version__

__all__ = [
    "ASSETS_PATH",
    "JsonSchema",
    "ModelName",
    "ModelNameField",
    "OptionalModelName",
    "SchemaPlugin",
    "StreamedOperation",
    "complete",
    "describe",
    "openapi_config",
]

ASSETS_PATH = "/docs/assets"

# Relative addresses, because a proxy may serve the server under a prefix: those of the page `/docs`, not of `/docs/`.
_RELATIVE_ASSETS = ASSETS_PATH.removeprefix("/")
_RELATIVE_SERVER = "."

_MODEL_FORMAT = "model"  # marks the names of models in schemas, until `complete` replaces it
# The page loads only files of this server, and starts with an inline script.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)
# The schemas of the described classes, by name; all applications share them.
_COMPONENTS: dict[str, Any] = {}

ModelNameField: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": _MODEL_FORMAT})]
"""The name of a model, in a body."""

ModelName: TypeAlias = FromPath[ModelNameField]
"""The name of a model, in a path."""

OptionalModelName: TypeAlias = FromPath[ModelNameField | None]
"""The name of a model, in the path of a handler that also has a path without a name."""


class SchemaPlugin(OpenAPISchemaPlugin):
    """Describes types with msgspec's schemas, which have the bounds of values, and forbid unknown fields."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:  # noqa: ARG002
        """Return True: the plugin describes all types."""
        return True

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:  # noqa: ARG002
        """Describe a type."""
        schema = describe(field_definition.raw)
        if isinstance(field_definition.kwarg_definition, ParameterKwarg) and "anyOf" in schema:
            (schema,) = (item for item in schema["anyOf"] if item != {"type": "null"})  # a path parameter is not null
        return JsonSchema(value=schema)


@dataclass
class StreamedOperation(Operation):
    """An operation that may also answer with server-sent events."""

    def __post_init__(self) -> None:
        self.responses["200"].content["text/event-stream"] = OpenAPIMediaType(  # type: ignore[index, union-attr]
            schema=Schema(description='Server-sent events, for `"stream": true`.')
        )


def openapi_config(*, secured: bool) -> OpenAPIConfig:
    """Return the settings of the document, and of the page that shows it.

    Args:
        secured: Whether requests need a key.
    """
    page = _Page(
        path="/",
        js_url=f"{_RELATIVE_ASSETS}/swagger-ui-bundle.js",
        css_url=f"{_RELATIVE_ASSETS}/swagger-ui.css",
        standalone_preset_js_url=f"{_RELATIVE_ASSETS}/swagger-ui-standalone-preset.js",
        favicon=f'<link rel="icon" type="image/png" href="{_RELATIVE_ASSETS}/favicon-32x32.png">',
    )
    key = SecurityScheme(type="http", scheme="bearer", description="The server's key.")
    return OpenAPIConfig(
        title="torchless",
        version=__version__,
        use_handler_docstrings=True,
        components=Components(security_schemes={"key": key} if secured else None),
        security=[{"key": []}] if secured else None,
        render_plugins=[page],
        servers=[Server(url=_RELATIVE_SERVER)],
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            include_in_schema=False,
            opt={"public": True},
            response_headers={"Content-Security-Policy": _POLICY},
        ),
    )


class _Page(SwaggerRenderPlugin):
    """The page, with addresses that are relative to its own."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page for an address with or without a slash at its end."""
        page = super().render(request, openapi_schema)
        if not request.scope["raw_path"].endswith(b"/"):
            return page
        page = page.replace(f'"{_RELATIVE_ASSETS}/'.encode(), f'"../{_RELATIVE_ASSETS}/'.encode())
        return page.replace(f'"url":"{_RELATIVE_SERVER}"'.encode(), b'"url":".."')


def complete(app: Litestar, *, models: Sequence[str]) -> None:
    """Add the schemas of classes and the names of the models to the document of an application.

    Args:
        app: The application.
        models: The names of the models; if empty, the document allows any name.
    """
    document = app.openapi_schema
    for item in (document.paths or {}).values():
        for operation in (getattr(item, method.name) for method in fields(item)):
            for parameter in getattr(operation, "parameters", None) or ():
                if isinstance(parameter.schema, JsonSchema):
                    parameter.schema = JsonSchema(value=_with_model_names(parameter.schema.value, models))
    document.components.schemas = {
        name: JsonSchema(value=_with_model_names(schema, models)) for name, schema in sorted(_COMPONENTS.items())
    }


@dataclass
class JsonSchema(Schema):
    """A schema that is JSON already.

    Attributes:
        value: The JSON.
    """

    value: dict[str, Any] = field(default_factory=dict)

    def to_schema(self) -> dict[str, Any]:
        """Return the JSON."""
        return self.value


def describe(annotation: Any) -> dict[str, Any]:
    """Return the schema of a type, and keep the schemas of its classes for the document.

    Args:
        annotation: The type. It may be a union that msgspec cannot decode, because its members look alike.

    Raises:
        ValueError: Another class of the same name was described before.
    """
    if get_origin(annotation) is Annotated and get_origin(annotation.__origin__) in (Union, UnionType):
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, UnionType):
        return {"anyOf": [describe(item) for item in get_args(annotation)]}
    (schema,), components = msgspec.json.schema_components([annotation], ref_template="#/components/schemas/{name}")
    for name, component in components.items():
        described = _with_attributes(component)
        if _COMPONENTS.setdefault(name, described) != described:
            raise ValueError(f"Two classes of the server's interfaces have the name {name!r}, which names a schema.")
    return schema


def _with_attributes(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a class with the docstring's text about each attribute as the description of its property."""
    summary, heading, rest = schema.get("description", "").partition("Attributes:\n")
    if not heading:
        return schema
    properties = {name: dict(item) for name, item in schema["properties"].items()}
    name = ""
    for line in rest.splitlines():
        first, colon, text = line.strip().partition(": ")
        if colon and first in properties:
            name, description = first, text
        else:
            description = f"{properties[name].get('description', '')} {line.strip()}".strip()
        properties[name]["description"] = description
    return {**schema, "description": summary.strip(), "properties": properties}


def _with_model_names(schema: Any, models: Sequence[str]) -> Any:
    """Return a schema with the names of the models as the only possible values of a name."""
    if isinstance(schema, list):
        return [_with_model_names(item, models) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == _MODEL_FORMAT:
        unmarked = {name: value for name, value in schema.items() if name != "format"}
        return {**unmarked, "enum": list(models)} if models else unmarked
    return {name: _with_model_names(item, models) for name, item in schema.items()}

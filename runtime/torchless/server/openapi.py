"""The OpenAPI document: what each route takes and gives, said by the types that read and write it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

import msgspec
from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Schema,
    SecurityScheme,
)
from litestar.params import FromPath, ParameterKwarg
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from torchless import __version__

__all__ = [
    "ASSETS_PATH",
    "MaybeModelName",
    "ModelName",
    "ModelNamed",
    "Schemas",
    "StreamedOperation",
    "WrittenSchema",
    "complete",
    "describe",
    "openapi_config",
]

ASSETS_PATH = "/docs/assets"

_FORMAT = "model"  # by which `complete` finds where the name of a model stands
# The page and its files are this server's, and nothing comes from elsewhere; what begins the page is written in it.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)
# The types that were described so far, by name; they are the same for every application.
_COMPONENTS: dict[str, Any] = {}

ModelNamed: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": _FORMAT})]
"""The name of a model, in a body."""

ModelName: TypeAlias = FromPath[ModelNamed]
"""The name of a model, in a path."""

MaybeModelName: TypeAlias = FromPath[ModelNamed | None]
"""The same, of a route that also has a path without it."""


class Schemas(OpenAPISchemaPlugin):
    """Describes types as msgspec reads and writes them: with every bound, and closed where unknown fields are refused."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:  # noqa: ARG002
        """Say that every type is described so."""
        return True

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:  # noqa: ARG002
        """Describe a type."""
        schema = describe(field_definition.raw)
        if isinstance(field_definition.kwarg_definition, ParameterKwarg) and "anyOf" in schema:
            (schema,) = (
                item for item in schema["anyOf"] if item != {"type": "null"}
            )  # a path has it, or is another path
        return WrittenSchema(written=schema)


@dataclass
class StreamedOperation(Operation):
    """An operation that may also answer with server-sent events."""

    def __post_init__(self) -> None:
        self.responses["200"].content["text/event-stream"] = OpenAPIMediaType(  # type: ignore[index, union-attr]
            schema=Schema(description='Server-sent events, for `"stream": true`.')
        )


def openapi_config(*, secured: bool) -> OpenAPIConfig:
    """Return what the document begins with, and the page that shows it.

    Args:
        secured: Whether requests need a key.
    """
    page = SwaggerRenderPlugin(
        path="/",
        js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
        css_url=f"{ASSETS_PATH}/swagger-ui.css",
        standalone_preset_js_url=f"{ASSETS_PATH}/swagger-ui-standalone-preset.js",
        favicon=f'<link rel="icon" type="image/png" href="{ASSETS_PATH}/favicon-32x32.png">',
    )
    key = SecurityScheme(type="http", scheme="bearer", description="The server's key.")
    return OpenAPIConfig(
        title="torchless",
        version=__version__,
        use_handler_docstrings=True,
        components=Components(security_schemes={"key": key} if secured else None),
        security=[{"key": []}] if secured else None,
        render_plugins=[page],
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            include_in_schema=False,
            opt={"public": True},
            response_headers={"Content-Security-Policy": _POLICY},
        ),
    )


def complete(app: Litestar, *, models: Sequence[str]) -> None:
    """Write into an application's document what its types say, and which models there are.

    Args:
        app: The application.
        models: Their names; none leaves open which there are.
    """
    document = app.openapi_schema
    for item in (document.paths or {}).values():
        for operation in (getattr(item, declared.name) for declared in fields(item)):
            for parameter in getattr(operation, "parameters", None) or ():
                if isinstance(parameter.schema, WrittenSchema):
                    parameter.schema = WrittenSchema(written=_naming(parameter.schema.written, models))
    document.components.schemas = {
        name: WrittenSchema(written=_naming(schema, models)) for name, schema in sorted(_COMPONENTS.items())
    }


@dataclass
class WrittenSchema(Schema):
    """A schema as it stands in the document.

    Attributes:
        written: All of it.
    """

    written: dict[str, Any] = field(default_factory=dict)

    def to_schema(self) -> dict[str, Any]:
        """Return it."""
        return self.written


def describe(annotation: Any) -> dict[str, Any]:
    """Return the schema of a type, and keep those of the classes within it.

    Args:
        annotation: The type. A union may have members that msgspec could not distinguish when it reads.

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
    """Return a class's schema with what its docstring says of an attribute beside this, and not in one text."""
    summary, found, rest = schema.get("description", "").partition("Attributes:\n")
    if not found:
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


def _naming(schema: Any, models: Sequence[str]) -> Any:
    """Return a schema that says which names of models there are, wherever one stands."""
    if isinstance(schema, list):
        return [_naming(item, models) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == _FORMAT:
        others = {name: value for name, value in schema.items() if name != "format"}
        return {**others, "enum": list(models)} if models else others
    return {name: _naming(item, models) for name, item in schema.items()}

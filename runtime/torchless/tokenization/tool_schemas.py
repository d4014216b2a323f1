"""Python functions as tools: their type hints and docstrings as the JSON schemas that chat templates read."""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torchless.errors import OptionError

__all__ = ["tool_schema"]

_BASIC: Mapping[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}
_SECTION = re.compile(r"^\s*(Args|Returns|Raises):", re.MULTILINE)
_ARGUMENT = re.compile(r"\s*(\w+):(.*)")
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def tool_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a function that a model may call.

    Args:
        function: It has type hints, and a docstring in Google style that describes every argument; a description may end
            with `(choices: ["tea", "coffee"])`.

    Returns:
        `{"type": "function", "function": {"name", "description", "parameters"}}`, and `return` where it has a hint.

    Raises:
        OptionError: A type hint or a description is missing, or JSON does not have the type.

    Source: `get_json_schema` in transformers 4.57.6, utils/chat_template_utils.py.
    """
    name = getattr(function, "__name__", repr(function))
    sections = _sections(inspect.getdoc(function) or "")
    if not sections["description"]:
        raise OptionError(f"The tool {name} has no docstring.", hint="Say what it does, and each argument under Args:.")
    signature = inspect.signature(function)
    for argument, parameter in signature.parameters.items():
        if parameter.annotation is inspect.Parameter.empty:
            raise OptionError(f"{argument} of the tool {name} has no type hint.", hint=f"Write {argument}: str, or so.")
    hints = {argument: _schema_of(hint, name) for argument, hint in get_type_hints(function).items()}
    returned = hints.pop("return", None)
    described = _described(sections["Args"])
    for argument, schema in hints.items():
        if argument not in described:
            raise OptionError(
                f"The docstring of the tool {name} does not describe {argument}.",
                hint=f"Write under Args: `{argument}: what it is`.",
            )
        choices = _CHOICES.search(described[argument])
        if choices:
            schema["enum"] = [choice.strip() for choice in json.loads(choices.group(1))]
        schema["description"] = described[argument][: choices.start() if choices else None].strip()
    parameters: dict[str, Any] = {"type": "object", "properties": hints}
    required = [name for name, item in signature.parameters.items() if item.default is inspect.Parameter.empty]
    if required:
        parameters["required"] = required
    schema = {"name": name, "description": sections["description"], "parameters": parameters}
    if returned is not None:
        schema["return"] = {**returned, "description": sections["Returns"]} if sections["Returns"] else returned
    return {"type": "function", "function": schema}


def _sections(docstring: str) -> dict[str, str]:
    description, *rest = _SECTION.split(docstring.strip())
    named = dict(zip(rest[::2], (text.strip() for text in rest[1::2]), strict=True))
    return {"description": description.strip(), "Args": "", "Returns": "", **named}


def _described(arguments: str) -> dict[str, str]:
    described: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in filter(str.strip, arguments.splitlines()):
        begins = _ARGUMENT.match(line)
        if begins:
            lines = described[begins.group(1)] = []
        lines.append((begins.group(2) if begins else line).strip())
    return {name: " ".join(lines).strip() for name, lines in described.items()}


def _schema_of(hint: Any, tool: str) -> dict[str, Any]:
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is None:
        return dict(_BASIC.get(hint, {"type": "object"}))
    if kind in {Union, UnionType}:
        return _schema_of_union(arguments, tool)
    if kind is Literal:
        types = list(dict.fromkeys(_BASIC[type(value)]["type"] for value in arguments))
        return {"type": types[0] if len(types) == 1 else types, "enum": list(arguments)}
    if kind in {list, tuple, dict} and ... not in arguments and (kind is not tuple or len(arguments) != 1):
        return _schema_of_collection(kind, [_schema_of(item, tool) for item in arguments])
    raise OptionError(
        f"The tool {tool} has the type hint {hint}, which JSON has no type for.",
        hint="Use int, float, str, bool, Literal, list[…], dict[str, …], or a union of them.",
    )


def _schema_of_collection(kind: type, members: list[dict[str, Any]]) -> dict[str, Any]:
    if kind is dict:
        return {"type": "object", "additionalProperties": members[1]} if members else {"type": "object"}
    if not members:
        return {"type": "array"}
    return {"type": "array", "items": members[0]} if kind is list else {"type": "array", "prefixItems": members}


def _schema_of_union(members: tuple[Any, ...], tool: str) -> dict[str, Any]:
    schemas = [_schema_of(item, tool) for item in members if item is not type(None)]
    if len(schemas) == 1:
        (union,) = schemas
    elif all(isinstance(schema.get("type"), str) for schema in schemas):
        union = {"type": sorted(schema["type"] for schema in schemas)}
    else:
        union = {"anyOf": schemas}
    return {**union, "nullable": True} if type(None) in members else union

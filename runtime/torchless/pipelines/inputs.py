"""The shapes that inputs may have, checked."""

from collections.abc import Mapping, Sequence
from typing import Any

from torchless.errors import InputError

__all__ = ["as_records", "record", "text_input", "text_pairs"]


def text_input(text: Any, name: str = "The input") -> str:
    """Return an input that must be a string.

    Args:
        text: What the caller gave.
        name: What it is, for the error.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(text, str):
        raise InputError(
            f"{name} is {text!r}, of type {type(text).__name__}, not a string.",
            hint="Give a string, a list of strings, or an iterator over strings.",
        )
    return text


def record(item: Any, *fields: str) -> list[Any]:
    """Return the values of an input that must be a mapping with these fields, in their order, none of them empty.

    Raises:
        InputError: It is something else, or a field is missing or empty.
    """
    example = "{" + ", ".join(f'"{name}": …' for name in fields) + "}"
    if not isinstance(item, Mapping):
        raise InputError(f"The input is {item!r}, of type {type(item).__name__}.", hint=f"Give {example}.")
    for name in fields:
        if item.get(name) is None:
            raise InputError(f"The input {dict(item)!r} has no {name}.", hint=f"Give {example}.")
        if isinstance(item[name], str | Sequence) and not len(item[name]):
            raise InputError(f"The {name} of the input is empty: {item[name]!r}.", hint=f"Give {example}.")
    return [item[name] for name in fields]


def as_records(inputs: Any, values: Mapping[str, Any], many: str) -> Any:
    """Return the inputs of a call that may name its fields instead: one record, or a list where `many` is a list.

    Args:
        inputs: What was given without a name: records already, or None.
        values: What was given by name, each a value or None.
        many: The field that may be a list of values, one a record; the others are then lists too, or shared by all.

    Raises:
        InputError: Both ways are used, neither is, or lists differ in length.
    """
    names = ", ".join(f"{name}=…" for name in values)
    given = {name: value for name, value in values.items() if value is not None}
    if inputs is not None and not given:
        return inputs
    if inputs is not None or len(given) < len(values):
        raise InputError(
            f"The call gives {', '.join(given) or 'nothing'}{' beside its inputs' if inputs is not None else ''}.",
            hint=f"Give {names}, or one dict with these keys, or a list of such dicts.",
        )
    if not isinstance(given[many], list):
        return given
    columns = {name: value if isinstance(value, list) else [value] * len(given[many]) for name, value in given.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "The lists differ in length: " + ", ".join(f"{count} {name}" for name, count in lengths.items()) + ".",
            hint="Give lists of the same length, or one value for all.",
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def text_pairs(text: Any, candidates: Any, *, text_name: str, candidate_name: str) -> list[tuple[str, str]]:
    """Return the pair of a text with each of its candidates.

    Args:
        text: A string.
        candidates: A list of strings.
        text_name: What the text is, for the error: `query`.
        candidate_name: What a candidate is, for the error: `document`.

    Raises:
        InputError: The text or a candidate is not a string, or the candidates are not a list.
    """
    if not isinstance(candidates, list | tuple):
        raise InputError(f"The {candidate_name}s are {candidates!r}, not a list.", hint="Give a list of strings.")
    text = text_input(text, f"The {text_name}")
    return [(text, text_input(candidate, f"A {candidate_name}")) for candidate in candidates]

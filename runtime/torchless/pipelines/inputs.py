"""Checks of the inputs of pipelines."""

from collections.abc import Mapping, Sequence
from typing import Any

from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, shortened
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["as_records", "expect_pairs", "record", "text_input", "text_pairs"]


def text_input(text: Any, name: str = "The input") -> str:
    """Return an input that must be a string.

    Args:
        text: The input.
        name: The name of the input, for the error.

    Raises:
        InputError: The input is not a string.
    """
    if not isinstance(text, str):
        raise InputError(
            f"{name} is {shortened(text)}, of type {type(text).__name__}, not a string.",
            hint="Give a string, a list of strings, or an iterator over strings.",
        )
    return text


def record(item: Any, *fields: str) -> list[Any]:
    """Return the values of these fields of an input, which must be a mapping.

    Raises:
        InputError: The input is not a mapping, or a field is missing or empty.
    """
    example = "{" + ", ".join(f'"{name}": …' for name in fields) + "}"
    if not isinstance(item, Mapping):
        raise InputError(f"The input is {shortened(item)}, of type {type(item).__name__}.", hint=f"Give {example}.")
    for name in fields:
        if item.get(name) is None:
            raise InputError(f"The input {shortened(dict(item))} has no {name}.", hint=f"Give {example}.")
        if isinstance(item[name], str | Sequence) and not len(item[name]):
            raise InputError(f"The {name} of the input is empty: {item[name]!r}.", hint=f"Give {example}.")
    return [item[name] for name in fields]


def as_records(inputs: Any, values: Mapping[str, Any], many: str) -> Any:
    """Return the inputs of a call, which may be given as fields: one record, or a list of records if `many` is a list.

    Args:
        inputs: The positional argument: records, or None.
        values: The arguments by name, each a value or None.
        many: The field that may be a list with a value for each record. Each other field is then a list of the same
            length, or one value for all records.

    Raises:
        InputError: The call gives both records and fields, or neither, or the lists differ in length.
    """
    names = ", ".join(f"{name}=…" for name in values)
    present = {name: value for name, value in values.items() if value is not None}
    if inputs is not None and not present:
        return inputs
    if inputs is not None or len(present) < len(values):
        raise InputError(
            f"The call gives {', '.join(present) or 'nothing'}{' in addition to its inputs' if inputs is not None else ''}.",
            hint=f"Give {names}, or one dict with these keys, or a list of such dicts.",
        )
    if not isinstance(present[many], list):
        return present
    columns = {
        name: value if isinstance(value, list) else [value] * len(present[many]) for name, value in present.items()
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "The lists differ in length: " + ", ".join(f"{count} {name}" for name, count in lengths.items()) + ".",
            hint="Give lists of the same length, or one value for all.",
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def expect_pairs(count: int, tokenizer: Tokenizer) -> None:
    """Check the number of pairs before they are encoded, each into a row."""
    CURRENT_LIMITS.get().expect_rows(count, count * (tokenizer.num_special_tokens(pair=True) + 1))


def text_pairs(item: Any, text_name: str, candidate_name: str) -> list[tuple[str, str]]:
    """Return the pairs of a text with each of its candidates.

    Args:
        item: The input: a mapping with a string and a list of strings.
        text_name: The field of the text: `query`.
        candidate_name: The name of a candidate, `document`; the field is its plural.

    Raises:
        InputError: The input is not such a mapping, or a field is missing or empty.
    """
    text, candidates = record(item, text_name, f"{candidate_name}s")
    if not isinstance(candidates, list | tuple):
        raise InputError(
            f"The {candidate_name}s are {shortened(candidates)}, not a list.", hint="Give a list of strings."
        )
    text = text_input(text, f"The {text_name}")
    return [(text, text_input(candidate, f"A {candidate_name}")) for candidate in candidates]

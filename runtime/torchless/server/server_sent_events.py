"""Server-sent events."""

from typing import Any

import msgspec

__all__ = ["event"]

# What some clients take for the end of a line, as `str.splitlines` does, and JSON may hold as it is.
_LINE_ENDS = {"\x85": b"\\u0085", "\u2028": b"\\u2028", "\u2029": b"\\u2029"}


def event(data: Any) -> bytes:
    """Return data as one event: a line of JSON, whatever its texts hold.

    Args:
        data: What msgspec writes as JSON.
    """
    line = msgspec.json.encode(data)
    for character, escaped in _LINE_ENDS.items():
        line = line.replace(character.encode(), escaped)
    return b"data: " + line + b"\n\n"

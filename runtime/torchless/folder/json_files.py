"""JSON files of a folder: read, and checked for their outermost type."""

import json
from pathlib import Path
from typing import Any

from torchless.errors import CheckpointError

__all__ = ["read_json", "read_json_list"]

_COPY_AGAIN = "Copy the folder again, or export the checkpoint again."


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        CheckpointError: It holds something else.
    """
    values = _parsed(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a JSON object.", hint=_COPY_AGAIN)
    return values


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """Return the JSON array of objects in a file.

    Raises:
        CheckpointError: It holds something else.
    """
    values = _parsed(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise CheckpointError(f"{path} is not a JSON array of objects.", hint=_COPY_AGAIN)
    return values


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.", hint=_COPY_AGAIN) from error

"""Files of a folder: read within bounds, and JSON checked for its outermost type."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from torchless.errors import CheckpointError

__all__ = ["check_file", "is_file", "read_json", "read_json_list", "read_text"]

_COPY_AGAIN = "Copy the folder again, or export the checkpoint again."
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_BYTES = 2**26  # a hundred times the largest that is known


def is_file(path: Path) -> bool:
    """Return whether a path leads to a file, not to a folder, a pipe or a device; false if nothing can be known."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def check_file(path: Path) -> None:
    """Raise if something has the path of a file, and is none: to open a pipe or a device could wait for ever.

    Raises:
        CheckpointError: It is a folder, a pipe, a device, a link that leads nowhere, a pointer of Git LFS, or cannot be
            reached.
    """
    if is_file(path):
        _check_content(path)
        return
    if not os.path.lexists(path):
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            raise CheckpointError(
                f"{path} is a link to a file that does not exist.",
                hint="Copy the folder with what its links lead to (cp -rL), or remove the link.",
            ) from error
        raise _unreadable(path, error) from error
    what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise CheckpointError(f"{path} is {what}, and must be a file.", hint=_COPY_AGAIN)


def _check_content(path: Path) -> None:
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError as error:
        raise _unreadable(path, error) from error
    if is_pointer:
        raise CheckpointError(
            f"{path} is a pointer of Git LFS, which names a file but does not hold it.",
            hint="Download the file: run `git lfs pull` in the repository that it was copied from.",
        )


def read_text(path: Path) -> str:
    """Return the text in a file.

    Raises:
        CheckpointError: It is not a file, cannot be read, is larger than any such file, or is not text in UTF-8.
    """
    check_file(path)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _MAX_BYTES:
            raise CheckpointError(f"{path} has {size_bytes / 1e6:.0f} MB, which no such file has.", hint=_COPY_AGAIN)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not text in UTF-8: {error}.", hint=_COPY_AGAIN) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        CheckpointError: It cannot be read, or holds something else.
    """
    values = _parsed(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a JSON object.", hint=_COPY_AGAIN)
    return values


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """Return the JSON array of objects in a file.

    Raises:
        CheckpointError: It cannot be read, or holds something else.
    """
    values = _parsed(path)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise CheckpointError(f"{path} is not a JSON array of objects.", hint=_COPY_AGAIN)
    return values


def _parsed(path: Path) -> Any:
    text = read_text(path)
    try:
        values = json.loads(text)
        if "\\u" in text:  # an escape of half a character, which no text in UTF-8 holds
            json.dumps(values, ensure_ascii=False).encode()
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.", hint=_COPY_AGAIN) from error
    except RecursionError as error:
        raise CheckpointError(f"{path} has values that are nested too deeply.", hint=_COPY_AGAIN) from error
    return values


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read: {error.strerror or error}.", hint="Check that this user may read it, or copy it again."
    )

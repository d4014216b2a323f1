"""A staging folder, which replaces the destination only when it is complete."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from torchless.errors import ExportError
from torchless.folder.json_files import is_file
from torchless.folder.layout import MANIFEST_NAME

try:
    import fcntl
except ImportError:  # on Windows, what a killed export left stays
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_destination", "staged"]

_DISK_ERRORS = frozenset({errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS})
_PARTIAL, _REPLACED = ".partial", ".replaced"


def check_destination(out: Path) -> None:
    """Raise if the destination may not be replaced: it must be absent, empty or an earlier export.

    Raises:
        ExportError: It is a file, a link that leads nowhere, or a folder with other files, or it cannot be reached.
    """
    hint = "Choose another folder, or remove this one."
    try:
        is_empty = out.is_dir() and not any(out.iterdir())
        if os.path.lexists(out) and not is_empty and not is_file(out / MANIFEST_NAME):
            raise ExportError(f"{out} exists, and is not an export of torchless.", hint=hint)
        parent = next((parent for parent in out.absolute().parents if os.path.lexists(parent)), None)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}.", hint=hint) from error
    if parent is not None and not parent.is_dir():
        raise ExportError(f"{out} cannot be written: {parent} is not a folder.", hint=hint)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Make a staging folder beside `out`, and rename it to `out` when the block ends without an error.

    What killed exports to `out` have left is removed.

    Args:
        out: The destination; an earlier export there is replaced.

    Yields:
        The staging folder. It is removed if the block raises.

    Raises:
        ExportError: `out` may not be replaced, or cannot be written.
    """
    check_destination(out)
    out = out.resolve()  # a link stays, and the folder that it leads to is replaced
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(out)
        partial = Path(mkdtemp(prefix=f".{out.name}.", suffix=_PARTIAL, dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    replaced = partial.with_suffix(_REPLACED)
    with _locked(partial):
        try:
            yield partial
            partial.chmod(0o755)
            if out.exists():
                out.rename(replaced)
            partial.rename(out)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            raise _unwritable(out, error) from error
        finally:
            if replaced.exists() and not out.exists():  # interrupted between the two renames
                replaced.rename(out)
            for folder in (partial, replaced):
                _remove(folder)


def _unwritable(out: Path, error: OSError) -> ExportError:
    return ExportError(
        f"{out} cannot be written: {error.strerror or error}.",
        hint="Free some space, or export to a folder of another disk that this user may write.",
    )


def _remove_stale(out: Path) -> None:
    """Remove what exports to `out` have left that were killed; an earlier export that one was about to replace comes back."""
    for path in sorted(out.parent.iterdir()):
        if not path.name.startswith(f".{out.name}.") or path.suffix not in {_PARTIAL, _REPLACED}:
            continue
        partial, replaced = path.with_suffix(_PARTIAL), path.with_suffix(_REPLACED)
        if partial.is_dir() and _is_in_use(partial):
            continue
        if replaced.is_dir() and not out.exists():
            replaced.rename(out)
        for folder in (partial, replaced):
            _remove(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Mark a folder as in use: the lock ends with this process, however it ends."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _is_in_use(folder: Path) -> bool:
    if fcntl is None:
        return True
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # a second Ctrl-C
        shutil.rmtree(folder, ignore_errors=True)
        raise

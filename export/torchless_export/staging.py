"""A staging folder, which replaces the destination only when it is complete."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from torchless.errors import ExportError
from torchless.folder.layout import MANIFEST_NAME

__all__ = ["check_destination", "staged"]


def check_destination(out: Path) -> None:
    """Raise if the destination may not be replaced: it must be absent, empty or an earlier export.

    Raises:
        ExportError: It is a file, or a folder with other files.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file()):
        raise ExportError(
            f"{out} exists, and is not an export of torchless.", hint="Choose another folder, or remove this folder."
        )


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Make a staging folder beside `out`, and rename it to `out` when the block ends without an error.

    Args:
        out: The destination; an earlier export there is replaced.

    Yields:
        The staging folder. It is removed if the block raises.

    Raises:
        ExportError: `out` may not be replaced.
    """
    check_destination(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    replaced = partial.with_suffix(".replaced")
    try:
        yield partial
        partial.chmod(0o755)
        if out.exists():
            out.rename(replaced)
        partial.rename(out)
    finally:
        if replaced.exists() and not out.exists():  # interrupted between the two renames
            replaced.rename(out)
        for folder in (partial, replaced):
            _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # a second Ctrl-C
        shutil.rmtree(folder, ignore_errors=True)
        raise

"""The disk space of an installation: distributions with all their requirements, as this environment has them."""

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.checkpoints import ROOT

__all__ = ["closure", "installed_bytes"]

# An editable installation lists no source files. These are the folders of the wheel.
_WHEEL_FOLDERS = ("runtime/torchless", "export/torchless_export")


def installed_bytes(names: Iterable[str]) -> int | None:
    """Return the size of distributions and their requirements, without extras.

    Args:
        names: The names of the distributions.

    Returns:
        The size in bytes, or None if a distribution is not installed.
    """
    try:
        return sum(_distribution_bytes(item) for item in closure(names).values())
    except PackageNotFoundError:
        return None


def closure(names: Iterable[str]) -> dict[str, Distribution]:
    """Return distributions and their requirements, by name.

    Raises:
        PackageNotFoundError: A distribution is not installed.
    """
    found: dict[str, Distribution] = {}
    queue = list(names)
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = distribution(name)
            requirements = (Requirement(line) for line in found[name].requires or ())
            queue += [item.name for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
    return found


def _distribution_bytes(item: Distribution) -> int:
    listed = (Path(str(item.locate_file(path))) for path in item.files or ())
    paths = {path.resolve() for path in listed if path.is_file()}
    if item.metadata["Name"] == "torchless" and not any(path.name == "session.py" for path in paths):
        paths |= {path for folder in _WHEEL_FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    return sum(path.stat().st_size for path in paths)

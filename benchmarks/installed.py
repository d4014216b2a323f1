"""How much disk an installation takes: a distribution with all that it requires, as this environment has it."""

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.checkpoints import ROOT

__all__ = ["closure", "installed_bytes"]

# An editable install lists none of its own files; these are what the wheel holds.
_OURS = ("runtime/torchless", "export/torchless_export")


def installed_bytes(names: Iterable[str]) -> int | None:
    """Return the size of the files of some distributions and of all that they require, without extras.

    Args:
        names: Distributions.

    Returns:
        Bytes; None if one is not installed.
    """
    try:
        return sum(_own_bytes(item) for item in closure(names).values())
    except PackageNotFoundError:
        return None


def closure(names: Iterable[str]) -> dict[str, Distribution]:
    """Return distributions and all that they require, by name.

    Raises:
        PackageNotFoundError: One is not installed.
    """
    found: dict[str, Distribution] = {}
    queue = list(names)
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = distribution(name)
            needed = (Requirement(line) for line in found[name].requires or ())
            queue += [item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]
    return found


def _own_bytes(item: Distribution) -> int:
    listed = (Path(str(item.locate_file(path))) for path in item.files or ())
    paths = {path.resolve() for path in listed if path.is_file()}
    if item.metadata["Name"] == "torchless" and not any(path.name == "session.py" for path in paths):
        paths |= {path for folder in _OURS for path in (ROOT / folder).rglob("*") if path.is_file()}
    return sum(path.stat().st_size for path in paths)

"""The hashes of a folder's files, and which of them are not what the manifest lists. Without PyTorch."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torchless.folder.layout import MANIFEST_NAME
from torchless.folder.manifest import Manifest

__all__ = ["Fault", "faults", "other_files", "sha256_of", "unlisted"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what the manifest lists.

    Attributes:
        file: Its path in the folder.
        problem: What is wrong with it, as the rest of a sentence that begins with the file.
    """

    file: str
    problem: str


def other_files(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder that is neither the manifest nor part of a variant, by its path."""
    skipped = {MANIFEST_NAME, *(part.file for part in manifest.parts)}
    return {name: sha256_of(folder / name) for name in _names(folder) if name not in skipped}


def faults(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    """Yield the files of a folder that are not what its manifest lists; each is read whole."""
    for part in manifest.parts:
        damage = part.damage(folder) or _difference(folder / part.file, part.sha256)
        if damage:
            yield Fault(part.file, damage)
    for name, sha256 in manifest.files.items():
        damage = _difference(folder / name, sha256)
        if damage:
            yield Fault(name, damage)


def unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Return the graphs of a folder that its manifest says nothing of."""
    listed = {part.file for part in manifest.parts}
    return [name for name in _names(folder) if name.endswith(".onnx") and name not in listed]


def _difference(path: Path, sha256: str) -> str | None:
    if not path.is_file():
        return "is missing"
    found = sha256_of(path)
    return None if found == sha256 else f"was changed: its SHA-256 is {found}, and the manifest says {sha256}"


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

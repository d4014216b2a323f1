"""The hashes of an exported folder's files, compared with its manifest. It needs no PyTorch."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torchless.folder.layout import MANIFEST_NAME
from torchless.folder.manifest import Manifest

__all__ = ["Fault", "faults", "other_files", "sha256_of", "unlisted"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that differs from the manifest.

    Attributes:
        file: The path in the folder.
        problem: What is wrong, a predicate without its subject, which is the file.
    """

    file: str
    problem: str


def other_files(folder: Path, manifest: Manifest) -> dict[str, str]:
    """Return the SHA-256 of the files that are neither the manifest nor part of a variant, by their paths."""
    skipped = {MANIFEST_NAME, *(part.file for part in manifest.parts)}
    return {name: sha256_of(folder / name) for name in _names(folder) if name not in skipped}


def faults(folder: Path, manifest: Manifest) -> Iterator[Fault]:
    """Yield the files of a folder that differ from its manifest; their whole content is read."""
    for part in manifest.parts:
        if problem := part.damage(folder) or _difference(folder / part.file, part.sha256):
            yield Fault(part.file, problem)
    for name, sha256 in manifest.files.items():
        if problem := _difference(folder / name, sha256):
            yield Fault(name, problem)


def unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Return the graphs of a folder that are missing from its manifest."""
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

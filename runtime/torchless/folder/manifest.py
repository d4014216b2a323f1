"""`torchless.json`, the manifest: what a folder holds, where it came from, and how it was verified."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from torchless.errors import CheckpointError
from torchless.folder.json_files import check_file, is_file, read_json
from torchless.folder.layout import MANIFEST_NAME, leads_outside
from torchless.folder.schemas import MANIFEST, PART, VARIANT, VERIFICATION, check_values

__all__ = ["Manifest", "Part", "Variant", "Verification"]

SCHEMA_VERSION = 2
_KIND = "a manifest"
_ONE_GRAPH_SCHEMA_VERSION = 1  # a variant was one graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a variant's answers are against PyTorch's, measured when it was exported.

    Attributes:
        texts: How many texts were compared, without those in `kinds`.
        agreement: The share of them with the same final answer, 0 to 1.
        max_abs_diff: The largest difference of any output value; for hidden states, relative to their scale.
        mean_abs_diff: The mean of the same.
        ms_per_text: The median time of one text through this variant, alone, in milliseconds.
        reference_ms_per_text: The same through PyTorch.
        lengths: The lengths in tokens of the texts that were made to cross each switch of the model.
        tolerance: How far an fp32 score may be from PyTorch's; above 1e-4 if PyTorch in float32 is as far from float64.
        kinds: For each kind of text, as prose, code or numbers, the least similarity of an answer to PyTorch's, 0 to 1. It
            is the cosine of the mean hidden states, a decoder's share of the same next tokens, or else 1 minus the largest
            difference of a score.
        perplexity: Of a decoder alone, the perplexity of the texts.
        reference_perplexity: The same in PyTorch.
    """

    texts: int
    agreement: float
    max_abs_diff: float
    mean_abs_diff: float
    ms_per_text: float
    reference_ms_per_text: float
    lengths: tuple[int, ...] = ()
    tolerance: float | None = None
    kinds: Mapping[str, float] = field(default_factory=dict)
    perplexity: float | None = None
    reference_perplexity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a folder, and how to tell that it is whole."""

    file: str
    size_bytes: int
    sha256: str

    def damage(self, folder: Path) -> str | None:
        """Return what is wrong with the file in a folder, as its size tells; None if nothing is."""
        path = folder / self.file
        if not is_file(path):
            return "is missing"
        size_bytes = path.stat().st_size
        if size_bytes == self.size_bytes:
            return None
        return f"is damaged: {size_bytes} bytes, and the manifest says {self.size_bytes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What answers in one dtype: a graph, or the two of an encoder-decoder.

    Attributes:
        parts: Its files: the graphs, the encoder's first, and each one's weights where they are not in its own file.
        scheme: What the variant is, in words.
        batch_dependent: Whether an answer depends on the rows that share its batch.
        verification: How it compared with PyTorch.
    """

    parts: tuple[Part, ...]
    scheme: str = ""
    batch_dependent: bool = False
    verification: Verification | None = None

    @property
    def graphs(self) -> tuple[Part, ...]:
        """The files of its graphs."""
        return tuple(part for part in self.parts if part.file.endswith(".onnx"))

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`torchless.json`: what a folder holds, where it came from, and how it was verified.

    Attributes:
        task: A name of `torchless.tasks`.
        source: Where the checkpoint came from: `name`, `revision` where there is one, and `files` with their SHA-256.
        versions: The packages that made it.
        variants: What answers, by dtype.
        files: The SHA-256 of every other file of the folder, by its path.
        max_tokens: The most tokens that the graphs answer as the checkpoint does; None sets no limit beside the model's.
        rejected: Why requested variants are missing, by dtype.
        schema_version: The version of this schema.
    """

    task: str
    source: Mapping[str, Any]
    versions: Mapping[str, str]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file of every variant."""
        return tuple(part for variant in self.variants.values() for part in variant.parts)

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder."""
        (folder / MANIFEST_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the manifest of a folder; None where it has none.

        Raises:
            CheckpointError: It is not a manifest of a version that this library reads.
        """
        path = folder / MANIFEST_NAME
        check_file(path)
        if not is_file(path):
            return None
        values = read_json(path)
        version = values.pop("schema_version", None)
        if version not in (_ONE_GRAPH_SCHEMA_VERSION, SCHEMA_VERSION):
            raise CheckpointError(
                f"{path} has schema version {version!r}; this library reads up to version {SCHEMA_VERSION}.",
                hint="Update torchless, or export the checkpoint again with `torchless export`.",
            )
        check_values(path, values, MANIFEST, kind=_KIND)
        try:
            variants = {dtype: _variant(path, variant) for dtype, variant in values["variants"].items()}
            manifest = cls(**{**values, "variants": variants})
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} is not a manifest: {error}.",
                hint="Export the checkpoint again with `torchless export`.",
            ) from error
        for name in (*(part.file for part in manifest.parts), *manifest.files):
            if leads_outside(name):
                raise CheckpointError(
                    f"{path} names a file outside of its folder: {name!r}.",
                    hint="Do not use a folder that you cannot trust; export the checkpoint again.",
                )
        return manifest


def _variant(path: Path, values: Mapping[str, Any]) -> Variant:
    values = dict(values)
    if "file" in values:  # of the first schema, where a variant was its graph
        graph = {name: values.pop(name) for name in ("file", "size_bytes", "sha256")}
        data = values.pop("data", None)
        values["parts"] = [graph] if data is None else [graph, data]
    check_values(path, values, VARIANT, kind=_KIND)
    parts, verification = values.pop("parts"), values.pop("verification", None)
    for part in parts:
        check_values(path, part, PART, kind=_KIND)
    if verification is not None:
        check_values(path, verification, VERIFICATION, kind=_KIND)
        verification = Verification(**{**verification, "lengths": tuple(verification.get("lengths", ()))})
    return Variant(parts=tuple(Part(**part) for part in parts), verification=verification, **values)

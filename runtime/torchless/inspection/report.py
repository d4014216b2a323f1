"""An inspection on a screen: lines of facts, a table of variants, and what is wrong."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from torchless.folder.manifest import Verification
from torchless.inspection.inspection import GraphInspection, Inspection, VariantInspection

__all__ = ["report", "verification_cells"]

_PIPED_WIDTH = 200
_MOST_LABELS = 12
_HASH_DIGITS = 12


def report(found: Inspection, declared: Sequence[GraphInspection] = ()) -> None:
    """Print what a folder holds.

    Args:
        found: What was gathered.
        declared: What graphs of it declare, if that was asked for.
    """
    # What a folder says of itself is shown as it stands: nothing in it is markup.
    console = Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    _print_lines(console, list(_facts(found)))
    if found.variants:
        console.print()
        console.print(_variants(found))
        console.print()
        _print_lines(console, list(_details(found)))
    if not found.verified:
        console.print("Nothing was verified: no manifest says how a graph compares with PyTorch.", style="yellow")
    for problem in found.problems:
        console.print(_plain(problem), style="red", soft_wrap=True)
    for graph in declared:
        console.print()
        _print_lines(console, list(_graph(graph)))


def _print_lines(console: Console, lines: list[tuple[str, str]]) -> None:
    width = max(len(title) for title, _ in lines)
    for title, value in lines:
        console.print(f"{_plain(title):<{width}}  {_plain(value)}", soft_wrap=True)


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield the lines above the table, by their titles."""
    yield (
        ("repository", f"{found.hub_name}, in the cache: {found.folder}")
        if found.hub_name
        else ("folder", found.folder)
    )
    yield "task", found.task
    yield "model", ", ".join(filter(None, (found.model_type, *found.architectures))) or "unknown"
    if found.labels:
        labels = [str(label) for label in found.labels.values()]
        more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
        yield "labels", f"{len(labels)}: {', '.join(labels[:_MOST_LABELS])}{more}"
    yield "longest text", "no limit" if found.max_tokens is None else f"{found.max_tokens} tokens"
    tokenizer = found.tokenizer
    longest = "without a limit" if tokenizer.max_length is None else f"up to {tokenizer.max_length} tokens"
    yield (
        "tokenizer",
        f"{tokenizer.tokenizer_class or 'of no named class'}, {longest}, pads on the {tokenizer.padding_side}",
    )
    if found.embeddings:
        embeddings = found.embeddings
        cut = f", texts cut to {embeddings.max_tokens} tokens" if embeddings.max_tokens else ""
        yield "embeddings", f"{embeddings.mode} of the tokens{', of length 1' if embeddings.normalize else ''}{cut}"
    if found.source:
        yield from _source("source", found.source)
    if found.versions:
        yield "made with", ", ".join(f"{name} {version}" for name, version in found.versions.items())


def _source(title: str, source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield title, " ".join(filter(None, (source.get("name"), source.get("revision")))) or "unknown"
    for name, digest in source.get("files", {}).items():
        yield f"  {name}", f"SHA-256 {str(digest)[:_HASH_DIGITS]}…"
    if source.get("base"):
        yield from _source("base", source["base"])


def _variants(found: Inspection) -> Table:
    table = Table("variant", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for title in ("size", "of fp32", "agreement", "max |Δ|", "mean |Δ|", "ms a text", "PyTorch"):
        table.add_column(title, justify="right")
    fp32_bytes = next((variant.size_bytes for variant in found.variants if variant.dtype == "fp32"), 0)
    absent = "not downloaded" if found.hub_name else "missing"
    for variant in found.variants:
        table.add_row(
            _plain(_name(variant)),
            absent if None in variant.files.values() else f"{variant.size_bytes / 1e6:.1f} MB",
            f"{variant.size_bytes / fp32_bytes:.0%}" if fp32_bytes and variant.size_bytes else "",
            *_measured(variant),
        )
    return table


def _details(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield the lines below the table, by their variants."""
    for variant in found.variants:
        batch = "an answer depends on its batch, so rows run one by one" if variant.batch_dependent else ""
        yield _name(variant), "; ".join(filter(None, (", ".join(variant.files), variant.scheme, batch)))


def _name(variant: VariantInspection) -> str:
    return variant.dtype or next(iter(variant.files))


def _measured(variant: VariantInspection) -> tuple[str, str, str, str, str]:
    return (
        ("not verified", "", "", "", "") if variant.verification is None else verification_cells(variant.verification)
    )


def verification_cells(measured: Verification) -> tuple[str, str, str, str, str]:
    """Return what was measured of a variant, for a table: agreement, max |Δ|, mean |Δ|, ms a text, and PyTorch's."""
    return (
        f"{measured.agreement:.1%} of {measured.texts}",
        f"{measured.max_abs_diff:.1e}",
        f"{measured.mean_abs_diff:.1e}",
        f"{measured.ms_per_text:.1f}",
        f"{measured.reference_ms_per_text:.1f}",
    )


def _graph(declared: GraphInspection) -> Iterator[tuple[str, str]]:
    yield "graph", declared.file
    for name, tensor in declared.inputs.items():
        yield f"  takes {name}", tensor
    for name, tensor in declared.outputs.items():
        yield f"  answers {name}", tensor


def _plain(text: str) -> str:
    """Return a text of a folder's without what a terminal would act on."""
    return "".join(character if character.isprintable() else "�" for character in str(text))

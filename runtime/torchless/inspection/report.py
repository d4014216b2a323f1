"""The printed report of an inspection: lines of facts, a table of variants, and the problems."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from torchless.folder.manifest import Verification
from torchless.inspection.inspection import GraphInspection, Inspection, VariantInspection

__all__ = ["least_similarity", "report", "verification_cells"]

_PIPED_WIDTH = 200
_MAX_LABELS = 12
_HASH_DIGITS = 12


def report(found: Inspection, graphs: Sequence[GraphInspection] = ()) -> None:
    """Print an inspection.

    Args:
        found: The inspection of a folder.
        graphs: The inspections of graphs, which are printed last.
    """
    # Texts from the folder must not be read as markup.
    console = Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    _print_lines(console, list(_facts(found)))
    if found.variants:
        console.print()
        console.print(_variants(found))
        console.print()
        _print_lines(console, list(_details(found)))
    if not found.verified:
        console.print("Nothing was verified: no manifest compares a graph with PyTorch.", style="yellow")
    for problem in found.problems:
        console.print(_printable(problem), style="red", soft_wrap=True)
    for graph in graphs:
        console.print()
        _print_lines(console, list(_graph(graph)))


def _print_lines(console: Console, lines: list[tuple[str, str]]) -> None:
    width = max(len(title) for title, _ in lines)
    for title, value in lines:
        console.print(f"{_printable(title):<{width}}  {_printable(value)}", soft_wrap=True)


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield the titles and the texts of the lines above the table."""
    if found.hub_name:
        yield "repository", f"{found.hub_name}, in the cache: {found.folder}"
    else:
        yield "folder", found.folder
    yield "task", found.task
    yield "model", ", ".join(filter(None, (found.model_type, *found.architectures))) or "unknown"
    if found.labels:
        labels = [str(label) for label in found.labels.values()]
        more = f" and {len(labels) - _MAX_LABELS} more" if len(labels) > _MAX_LABELS else ""
        yield "labels", f"{len(labels)}: {', '.join(labels[:_MAX_LABELS])}{more}"
    yield "max length", "no limit" if found.max_tokens is None else f"{found.max_tokens} tokens"
    tokenizer = found.tokenizer
    limit = "without a limit" if tokenizer.max_length is None else f"up to {tokenizer.max_length} tokens"
    name = tokenizer.tokenizer_class or "class unknown"
    yield "tokenizer", f"{name}, {limit}, pads on the {tokenizer.padding_side}"
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
            _printable(_name(variant)),
            absent if None in variant.files.values() else f"{variant.size_bytes / 1e6:.1f} MB",
            f"{variant.size_bytes / fp32_bytes:.0%}" if fp32_bytes and variant.size_bytes else "",
            *(verification_cells(variant.verification) if variant.verification else ["not verified"]),
        )
    return table


def _details(found: Inspection) -> Iterator[tuple[str, str]]:
    """Yield the names of the variants and the texts of the lines below the table."""
    for variant in found.variants:
        batch = "an answer depends on its batch, so each row runs alone" if variant.batch_dependent else ""
        kinds = variant.verification.kinds if variant.verification else {}
        least = ", ".join(f"{kind.replace('_', ' ')} {value:.3f}" for kind, value in kinds.items())
        by_kind = f"least similarity to PyTorch by kind of text: {least}" if least else ""
        yield _name(variant), "; ".join(filter(None, (", ".join(variant.files), variant.scheme, batch, by_kind)))


def _name(variant: VariantInspection) -> str:
    return variant.dtype or next(iter(variant.files))


def verification_cells(measured: Verification) -> tuple[str, str, str, str, str]:
    """Return the cells of a variant's verification: agreement, max |Δ|, mean |Δ|, ms per text, and PyTorch's ms per text."""
    return (
        f"{measured.agreement:.1%} of {measured.texts}",
        f"{measured.max_abs_diff:.1e}",
        f"{measured.mean_abs_diff:.1e}",
        f"{measured.ms_per_text:.1f}",
        f"{measured.reference_ms_per_text:.1f}",
    )


def least_similarity(measured: Verification) -> str:
    """Return the least similarity of all kinds of text; empty if no kind was compared."""
    return f"{min(measured.kinds.values()):.3f}" if measured.kinds else ""


def _graph(graph: GraphInspection) -> Iterator[tuple[str, str]]:
    yield "graph", graph.file
    for name, tensor in graph.inputs.items():
        yield f"  takes {name}", tensor
    for name, tensor in graph.outputs.items():
        yield f"  answers {name}", tensor


def _printable(text: str) -> str:
    """Return a text without characters that control a terminal."""
    return "".join(character if character.isprintable() else "�" for character in str(text))

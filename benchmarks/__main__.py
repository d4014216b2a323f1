"""`make bench`: measures, prints tables, and writes figures, a report and plots to `benchmarks/results/`."""

import argparse
import json
import sys
from collections.abc import Sequence
from types import ModuleType

from rich.console import Console
from rich.table import Table as Screen

from benchmarks.checkpoints import RESULTS
from benchmarks.goals import GOALS, verdict, verdicts_table
from benchmarks.machine import conditions
from benchmarks.plots import draw
from benchmarks.report import SUITES, figures_of, render
from benchmarks.table import Table

_FILE_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure suites.

    Returns:
        The exit status: 1 if a peer failed or, with `--check`, if a goal was not met.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; by default all")
    parser.add_argument(
        "--check", action="store_true", help="compare the figures with the goals, and fail if a goal is not met"
    )
    parser.add_argument(
        "--report", action="store_true", help="measure nothing, and write the report of the stored figures"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {unknown[0]!r}; name one of {', '.join(SUITES)}")
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    console, failed = Console(width=width, soft_wrap=True, highlight=False), False
    names = options.suites or list(SUITES)
    for name in () if options.report else names:
        failed = not _measure(name, SUITES[name], console) or failed
    _report(console)
    if options.check:
        figures = {name: figures_of(name) for name in names}
        verdicts = [verdict(goal, figures[goal.suite] or {}) for goal in GOALS if goal.suite in figures]
        _print(console, verdicts_table(verdicts))
        failed = not all(item.met for item in verdicts) or failed
    return int(failed)


def _measure(name: str, suite: ModuleType, console: Console) -> bool:
    """Measure a suite and write its figures.

    Returns:
        True if no peer failed.
    """
    console.print(f"[bold]{name}[/]: {suite.__doc__}")
    machine = conditions()
    figures = {"suite": name, "machine": machine, **suite.measure()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for table in suite.tables(figures):
        _print(console, table)
    for peer, reason in figures["skipped"].items():
        console.print(f"{peer} skipped: {reason}", markup=False)
    for peer, error in figures["failed"].items():
        console.print(f"{peer} failed: {error}", markup=False, style="red")
    return not figures["failed"]


def _report(console: Console) -> None:
    path = RESULTS / "report.md"
    path.write_text(render(), encoding="utf-8")
    drawn = draw(RESULTS)
    console.print(f"Written: {path} and {len(drawn)} plots")


def _print(console: Console, table: Table) -> None:
    screen = Screen(*table.header, title=table.title, title_justify="left")
    screen.columns[0].no_wrap = True
    for column in screen.columns[1:]:
        column.justify = "right"
    for row in table.rows:
        screen.add_row(*row)
    console.print(screen)


if __name__ == "__main__":
    sys.exit(main())

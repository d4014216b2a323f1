"""The command that `make bench` runs."""

import json

import pytest
from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.goals import GOALS


class Suite:
    """A suite with one figure."""

    def __init__(self, failed):
        self._failed = failed

    def measure(self):
        times = {"torchless, q8": {"transformers.pipeline": 7.0}}
        return {"inputs": {"16": {"ms": {}, "times_faster": times}}, "skipped": {"a": "gone"}, "failed": self._failed}

    def tables(self, figures):
        return []


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command with a test suite in place of latency."""

    def call(*arguments, failed=()):
        suites = {"latency": Suite(dict(failed))}
        for module in (command, report):
            monkeypatch.setattr(module, "SUITES", suites)
            monkeypatch.setattr(module, "RESULTS", tmp_path)
        monkeypatch.setattr(command, "figures_of", lambda name: report.figures_of(name, tmp_path))
        monkeypatch.setattr(command, "render", lambda: report.render(tmp_path))
        monkeypatch.setattr(command, "draw", lambda results: [])
        return command.main(arguments)

    return call


def test_figures_are_written_with_their_conditions(run, tmp_path, capsys):
    assert run() == 0
    figures = json.loads((tmp_path / "latency.json").read_text())
    assert figures["machine"]["threads"] >= 1
    assert "a skipped: gone" in capsys.readouterr().out
    assert "a, gone" in (tmp_path / "report.md").read_text()


def test_a_check_lists_each_goal_and_fails_if_a_goal_is_missed(run, capsys):
    assert run("latency", "--check") == 1
    printed = capsys.readouterr().out
    assert "7×" in printed
    assert "not measured" in printed


def test_a_check_succeeds_if_all_goals_are_met(run, monkeypatch):
    met = [goal for goal in GOALS if goal.name == "16 tokens, q8, vs transformers.pipeline"]
    monkeypatch.setattr(command, "GOALS", met)
    assert run("--check") == 0


def test_a_failed_peer_is_reported_and_fails_the_command(run, capsys):
    assert run(failed={"b": "ValueError: no"}.items()) == 1
    assert "b failed: ValueError: no" in capsys.readouterr().out


def test_a_report_measures_nothing(run, tmp_path):
    assert run("--report") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"report.md"}


def test_an_unknown_suite_is_an_error_that_lists_the_suites(run, capsys):
    with pytest.raises(SystemExit):
        run("speed")
    assert "there is no suite 'speed'; name one of latency" in capsys.readouterr().err

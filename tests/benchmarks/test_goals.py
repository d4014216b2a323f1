"""Goals: bounds on figures, and their verdicts."""

import pytest
from benchmarks.goals import GOALS, Goal, verdict, verdicts_table
from benchmarks.report import SUITES

LEAST = Goal(suite="latency", name="twice as fast", path=("times", "torchless"), at_least=2)
MOST = Goal(suite="latency", name="at most a second", path=("times", "torchless"), at_most=1, unit=" s")


@pytest.mark.parametrize(
    ("goal", "figure", "word"),
    [
        (LEAST, 2.0, "met"),
        (LEAST, 1.99, "missed"),
        (MOST, 1.0, "met"),
        (MOST, 1.01, "missed"),
        (MOST, 0.0, "met"),
    ],
)
def test_a_figure_meets_its_bound_or_misses_it(goal, figure, word):
    found = verdict(goal, {"times": {"torchless": figure}})
    assert (found.word, found.met) == (word, word == "met")


@pytest.mark.parametrize("figures", [{}, {"times": {}}, {"times": 3}, {"times": {"torchless": None}}])
def test_a_goal_without_a_figure_is_not_met(figures):
    found = verdict(LEAST, figures)
    assert (found.word, found.met, found.figure) == ("not measured", False, None)


def test_the_table_lists_each_goal_with_its_figure():
    rows = verdicts_table([verdict(LEAST, {"times": {"torchless": 2.345}}), verdict(MOST, {})]).rows
    assert rows == [
        ("latency: twice as fast", "≥ 2×", "2.35×", "met"),
        ("latency: at most a second", "≤ 1 s", "–", "not measured"),
    ]


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.name)
def test_a_goal_has_exactly_one_bound_and_a_suite_with_its_peers(goal):
    assert (goal.at_least is None) != (goal.at_most is None)
    suite = SUITES[goal.suite]
    groups = [value for value in vars(suite).values() if isinstance(value, tuple)]
    names = {peer.name for group in groups for peer in group if hasattr(peer, "engine")}
    if goal.suite == "quantization":
        names = {peer.name for peer in suite.peers("sentiment")}
    peer_names = [key for key in goal.path if "torchless, " in key or "transformers" in key]
    assert set(peer_names) <= names

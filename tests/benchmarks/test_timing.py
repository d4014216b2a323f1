"""Statistics of times."""

import pytest
from benchmarks.timing import ratio, spread, summary


def test_a_ratio_is_the_median_of_the_ratios_of_each_round():
    slow = [[4, 4, 100], [80, 80], [6]]  # medians 4, 80, 6
    fast = [[2, 2, 2], [10, 10], [2]]
    assert ratio(slow, fast) == 3  # of 2, 8 and 3; both peers are slow in the second round


def test_both_peers_have_the_same_number_of_rounds():
    with pytest.raises(ValueError, match="shorter"):
        ratio([[1], [1]], [[1]])


def test_a_spread_has_the_median_between_its_quartiles():
    assert spread([5, 1, 2, 4, 3]) == {"median": 3, "quartiles": [2, 4]}
    assert spread([7]) == {"median": 7, "quartiles": [7, 7]}


def test_a_summary_has_the_ratio_of_each_pair_of_peers():
    figures = summary({"reference": [[6, 6], [9]], "torchless": [[2, 2], [3]]})
    assert figures["times_faster"] == {"reference": {"torchless": pytest.approx(1 / 3)}, "torchless": {"reference": 3}}
    assert figures["ms"]["torchless"]["median"] == 2

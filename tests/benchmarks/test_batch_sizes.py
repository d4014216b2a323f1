"""The search for a peer's best batch size."""

from typing import Any, cast

import pytest
from benchmarks.batch_sizes import best, texts_a_second


class Contest:
    """Peers whose times are known."""

    def __init__(self, times_ms):
        self._times_ms = times_ms
        self.asked = []

    def __contains__(self, name):
        return name in self._times_ms

    def rounds(self, inputs, *, rounds, warm_up, names, batch_sizes):
        self.asked.append(batch_sizes)
        return {name: [[self._times_ms[name][batch_sizes[name]]]] * rounds for name in names}


def test_each_peer_has_the_size_that_is_fastest_for_it():
    contest = Contest({"a": {1: 500, 8: 250, 16: 1000}, "b": {1: 100, 8: 200, 16: 400}})
    sizes, rates = best(cast(Any, contest), ["a", "b", "absent"], ["text"] * 16, sizes=(1, 8, 16, 32))
    assert sizes == {"a": 8, "b": 1}
    assert rates["a"] == {"1": 32, "8": 64, "16": 16}
    assert contest.asked == [{"a": size, "b": size} for size in (1, 8, 16)]


def test_a_rate_is_texts_a_second():
    rates = texts_a_second({"a": [[500.0], [1000.0], [2000.0]]}, 100)
    assert rates["a"]["median"] == 100
    assert rates["a"]["quartiles"] == [pytest.approx(75), pytest.approx(150)]

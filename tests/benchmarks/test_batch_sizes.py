"""The search for a peer's best batch size."""

from typing import Any, cast

import pytest
from benchmarks.batch_sizes import best_batch_sizes, texts_per_second


class Contest:
    """Peers with known times."""

    def __init__(self, times_ms):
        self._times_ms = times_ms
        self.requested_sizes = []

    def __contains__(self, name):
        return name in self._times_ms

    def rounds(self, inputs, *, rounds, warm_up, names, batch_sizes):
        self.requested_sizes.append(batch_sizes)
        return {name: [[self._times_ms[name][batch_sizes[name]]]] * rounds for name in names}


def test_the_best_size_of_each_peer_is_its_fastest():
    contest = Contest({"a": {1: 500, 8: 250, 16: 1000}, "b": {1: 100, 8: 200, 16: 400}})
    sizes, rates = best_batch_sizes(cast(Any, contest), ["a", "b", "absent"], ["text"] * 16, sizes=(1, 8, 16, 32))
    assert sizes == {"a": 8, "b": 1}
    assert rates["a"] == {"1": 32, "8": 64, "16": 16}
    assert contest.requested_sizes == [{"a": size, "b": size} for size in (1, 8, 16)]


def test_a_rate_is_in_texts_per_second():
    rates = texts_per_second({"a": [[500.0], [1000.0], [2000.0]]}, 100)
    assert rates["a"]["median"] == 100
    assert rates["a"]["quartiles"] == [pytest.approx(75), pytest.approx(150)]

"""Rows that are dropped, repeated and reordered in a cache."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchless.generation.cache import Cache


def filled(rows):
    cache = Cache(rows)
    cache.kept["key"] = np.arange(rows, dtype=np.float32).reshape(rows, 1, 1) * np.ones((1, 2, 3), np.float32)
    cache.shared["encoder"] = np.arange(rows).reshape(rows, 1) * np.ones((1, 4), np.int64)
    return cache


def values(cache, name):
    """The value of each row, in the order of the rows; all elements of a row are equal."""
    array = {**cache.kept, **cache.shared}[name][cache.slots]
    assert (array == array.reshape(len(array), -1)[:, 0].reshape(-1, *[1] * (array.ndim - 1))).all()
    return array.reshape(len(array), -1)[:, 0].astype(int).tolist()


@given(data=st.data(), rows=st.integers(1, 6))
def test_each_row_has_the_values_of_its_parent(data, rows):
    cache, expected = filled(rows), list(range(rows))
    for _ in range(4):
        parents = data.draw(st.lists(st.integers(0, len(expected) - 1), min_size=1, max_size=8))
        cache.follow(np.array(parents))
        expected = [expected[parent] for parent in parents]
        assert values(cache, "key") == values(cache, "encoder") == expected
        assert sorted(cache.slots) == list(range(len(parents)))


class Writes(np.ndarray):
    """An array that counts the rows written to it."""

    def __setitem__(self, index, value):
        Writes.count += 1
        super().__setitem__(index, value)


@pytest.mark.parametrize(
    ("parents", "copied"),
    [([0, 1, 2, 3], 0), ([3, 2, 1, 0], 0), ([0, 0, 1, 2], 1), ([2, 2, 2, 3], 2), ([0, 1], 0), ([0, 3], 1), ([3], 1)],
    ids=str,
)
def test_only_changed_rows_are_copied(parents, copied):
    cache = filled(4)
    array = cache.kept["key"] = cache.kept["key"].view(Writes)
    Writes.count = 0
    cache.follow(np.array(parents))
    assert Writes.count == copied
    assert np.shares_memory(cache.kept["key"], array)
    assert cache.kept["key"].flags.c_contiguous


def test_shared_arrays_of_beams_are_not_copied():
    cache = filled(2)
    cache.follow(np.array([0, 0, 0, 1, 1, 1]))
    shared = cache.shared["encoder"] = cache.shared["encoder"].view(Writes)
    Writes.count = 0
    for parents in ([2, 0, 0, 5, 5, 5], [0, 1, 0, 3, 4, 4], [1, 1, 1, 4, 3, 5]):
        cache.follow(np.array(parents))
    assert Writes.count == 0
    assert cache.shared["encoder"] is shared
    cache.follow(np.array([0, 1, 2, 0, 1, 2]))
    assert Writes.count == 3
    assert values(cache, "encoder") == [0] * 6

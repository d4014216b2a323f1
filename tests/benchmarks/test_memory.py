"""The current and the peak memory of a process."""

import os

import pytest
from benchmarks.memory import peak_bytes, resident_bytes, resident_bytes_of


def test_freed_memory_is_not_resident_but_counts_for_the_peak():
    before = resident_bytes()
    held = bytearray(b"x" * 300_000_000)
    during = resident_bytes()
    del held
    assert during - before > 200e6
    assert resident_bytes() < during
    assert peak_bytes() >= during


def test_the_memory_of_a_process_by_its_id():
    assert resident_bytes_of(os.getpid()) == pytest.approx(resident_bytes(), rel=0.05)

"""How much memory a process has, and had."""

import os

import pytest
from benchmarks.memory import peak_bytes, resident_bytes, resident_bytes_of


def test_what_is_let_go_of_is_no_longer_resident_and_counts_for_the_peak():
    before = resident_bytes()
    held = bytearray(b"x" * 300_000_000)
    during = resident_bytes()
    del held
    assert during - before > 200e6
    assert resident_bytes() < during
    assert peak_bytes() >= during


def test_the_memory_of_another_process_is_told_by_its_id():
    assert resident_bytes_of(os.getpid()) == pytest.approx(resident_bytes(), rel=0.05)

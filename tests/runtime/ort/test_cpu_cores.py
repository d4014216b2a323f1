import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from torchless.ort.cpu_cores import CpuCores

PATIENCE_S = 10


@contextmanager
def lent(cores, requested, *, or_single):
    taken = cores.acquire(requested, or_single=or_single)
    try:
        yield taken
    finally:
        cores.release(taken)


def test_a_run_alone_gets_all_the_cores_that_it_requests():
    cores = CpuCores(4)
    for requested in (1, 3, 4, 9):
        with lent(cores, requested, or_single=True) as taken:
            assert taken == min(requested, 4)
            assert cores.contended
    assert not cores.contended


def test_parallel_runs_have_a_core_each():
    cores = CpuCores(2)
    with lent(cores, 1, or_single=True), lent(cores, 2, or_single=True) as taken:
        assert taken == 1


def test_a_run_of_all_cores_waits_for_all_cores():
    cores, order = CpuCores(2), []

    def wants_all():
        with lent(cores, 2, or_single=False) as taken:
            order.append(taken)

    thread = threading.Thread(target=wants_all)
    with lent(cores, 1, or_single=True):
        thread.start()
        while not cores._queue:
            assert thread.is_alive()
        order.append("one")
    thread.join(PATIENCE_S)
    assert order == ["one", 2]


def test_a_later_run_does_not_overtake():
    cores, order = CpuCores(2), []

    def wants(name, requested, or_single):
        with lent(cores, requested, or_single=or_single):
            order.append(name)

    with lent(cores, 1, or_single=True):
        first = threading.Thread(target=wants, args=("first", 2, False))
        first.start()
        while len(cores._queue) < 1:
            assert first.is_alive()
        second = threading.Thread(target=wants, args=("second", 1, True))  # a core is free, but the first waits for it
        second.start()
        while len(cores._queue) < 2:
            assert second.is_alive()
        assert order == []
    for thread in (first, second):
        thread.join(PATIENCE_S)
    assert order == ["first", "second"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_runs_never_hold_more_cores_than_there_are(count):
    cores, lock, at_work, most = CpuCores(count), threading.Lock(), 0, 0

    def work(number):
        nonlocal at_work, most
        requested = 1 + number % (count + 1)
        with lent(cores, requested, or_single=bool(number % 3)) as taken:
            with lock:
                at_work += taken
                most = max(most, at_work)
            with lock:
                at_work -= taken

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(500), timeout=PATIENCE_S))
    assert 1 <= most <= count
    assert not cores.contended


def test_a_failed_run_gives_its_cores_back():
    cores = CpuCores(2)
    with pytest.raises(ZeroDivisionError), lent(cores, 2, or_single=False):
        1 / 0  # noqa: B018
    assert not cores.contended

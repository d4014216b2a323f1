import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from torchless.cores import Cores

PATIENCE_S = 10


def test_one_run_alone_has_what_it_wants():
    cores = Cores(4)
    for wanted in (1, 3, 4, 9):
        with cores.lent(wanted, or_one=True) as in_full:
            assert in_full
            assert cores.wanted_by_others
    assert not cores.wanted_by_others


def test_runs_side_by_side_have_one_core_each():
    cores = Cores(2)
    with cores.lent(1, or_one=True), cores.lent(2, or_one=True) as in_full:
        assert not in_full


def test_who_wants_all_waits_for_all():
    cores, order = Cores(2), []

    def wants_all():
        with cores.lent(2, or_one=False) as in_full:
            order.append(("all", in_full))

    thread = threading.Thread(target=wants_all)
    with cores.lent(1, or_one=True):
        thread.start()
        while not cores._queue:
            assert thread.is_alive()
        order.append("one")
    thread.join(PATIENCE_S)
    assert order == ["one", ("all", True)]


def test_a_later_run_does_not_overtake():
    cores, order = Cores(2), []

    def wants(name, wanted, or_one):
        with cores.lent(wanted, or_one=or_one):
            order.append(name)

    with cores.lent(1, or_one=True):
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
def test_never_more_than_there_are(count):
    cores, lock, at_work, most = Cores(count), threading.Lock(), 0, 0

    def work(number):
        nonlocal at_work, most
        wanted = 1 + number % (count + 1)
        with cores.lent(wanted, or_one=bool(number % 3)) as in_full:
            used = min(wanted, count) if in_full else 1
            with lock:
                at_work += used
                most = max(most, at_work)
            with lock:
                at_work -= used

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(500), timeout=PATIENCE_S))
    assert 1 <= most <= count
    assert not cores.wanted_by_others


def test_a_failed_run_gives_its_cores_back():
    cores = Cores(2)
    with pytest.raises(ZeroDivisionError), cores.lent(2, or_one=False):
        1 / 0  # noqa: B018
    assert not cores.wanted_by_others

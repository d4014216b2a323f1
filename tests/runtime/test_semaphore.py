import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import monotonic

import pytest
from fixtures.interrupts import interrupted_at

from torchless.semaphore import Semaphore

PATIENCE_S = 10


def test_a_caller_alone_gets_all_the_permits_that_it_requests():
    cores = Semaphore(4)
    for requested in (1, 3, 4, 9):
        with cores.lend(requested, or_single=True) as taken:
            assert taken == min(requested, 4)
            assert cores.contended
    assert not cores.contended


def test_parallel_callers_have_a_permit_each():
    cores = Semaphore(2)
    with cores.lend(1, or_single=True), cores.lend(2, or_single=True) as taken:
        assert taken == 1


def test_a_caller_of_all_permits_waits_for_all():
    cores, order = Semaphore(2), []

    def wants_all():
        with cores.lend(2) as taken:
            order.append(taken)

    thread = threading.Thread(target=wants_all)
    with cores.lend(1, or_single=True):
        thread.start()
        while len(cores.claims()) < 2:
            assert thread.is_alive()
        order.append("one")
    thread.join(PATIENCE_S)
    assert order == ["one", 2]


def test_a_later_caller_does_not_overtake():
    cores, order = Semaphore(2), []

    def wants(name, requested, or_single):
        with cores.lend(requested, or_single=or_single):
            order.append(name)

    with cores.lend(1, or_single=True):
        first = threading.Thread(target=wants, args=("first", 2, False))
        first.start()
        while len(cores.claims()) < 2:
            assert first.is_alive()
        second = threading.Thread(target=wants, args=("second", 1, True))  # one is free, but the first waits for it
        second.start()
        while len(cores.claims()) < 3:
            assert second.is_alive()
        assert order == []
    for thread in (first, second):
        thread.join(PATIENCE_S)
    assert order == ["first", "second"]


@pytest.mark.parametrize("permits", [1, 2, 5])
def test_callers_never_hold_more_permits_than_there_are(permits):
    cores, lock, at_work, most = Semaphore(permits), threading.Lock(), 0, 0

    def work(number):
        nonlocal at_work, most
        with cores.lend(1 + number % (permits + 1), or_single=bool(number % 3)) as taken:
            with lock:
                at_work += taken
                most = max(most, at_work)
            with lock:
                at_work -= taken

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(500), timeout=PATIENCE_S))
    assert 1 <= most <= permits
    assert not cores.contended


def test_a_failed_call_gives_its_permits_back():
    cores = Semaphore(2)
    with pytest.raises(ZeroDivisionError), cores.lend(2):
        1 / 0  # noqa: B018
    assert not cores.contended


def test_an_interrupt_at_any_bytecode_leaves_no_permit_taken():
    cores = Semaphore(2)

    def use():
        with cores.lend(2, or_single=True):
            return sum(range(3))

    for number in count():
        if not interrupted_at(number, use):
            break
        begin = monotonic()
        with cores.lend(2, or_single=True) as taken:
            assert taken == 2
        assert monotonic() - begin < PATIENCE_S
    assert number > 100


def waits_and_is_interrupted(number):
    """Wait for permits that another thread holds, with an interrupt, and return whether it came, and what others then get."""
    cores, released, results = Semaphore(2), threading.Event(), []

    def hold():
        with cores.lend(2):
            released.wait(PATIENCE_S)

    def use():
        with cores.lend(2):
            released.set()

    def use_all():
        with cores.lend(2) as taken:
            results.append(taken)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    while not cores.contended:
        assert threads[0].is_alive()
    threading.Timer(0.01, released.set).start()
    was_interrupted = interrupted_at(number, use)
    threads += [threading.Thread(target=use_all) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return was_interrupted, results


def test_an_interrupt_at_any_bytecode_wakes_a_caller_that_waits():
    for number in count(0, 7):
        was_interrupted, results = waits_and_is_interrupted(number)
        assert results == [2, 2]
        if not was_interrupted:
            break
    assert number > 35


def test_an_interrupted_call_whose_traceback_is_kept():
    cores, kept = Semaphore(1), []

    def use():
        claim = cores.lend()
        claim.acquire(sys._getframe())
        raise KeyboardInterrupt

    try:
        use()
    except KeyboardInterrupt as error:
        kept.append(error)
    with cores.lend() as taken:
        assert taken == 1


def test_a_generator_holds_its_permit_while_it_is_suspended():
    cores = Semaphore(2)

    def generate():
        with cores.lend() as taken:
            yield taken

    generator = generate()
    assert next(generator) == 1
    assert cores.contended
    assert not cores.contended or next(generator, None) is None
    assert not cores.contended


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
def test_a_fork_holds_nothing():
    cores = Semaphore(1)
    begun, ended = threading.Event(), threading.Event()

    def hold():
        with cores.lend():
            begun.set()
            ended.wait(PATIENCE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(PATIENCE_S)
    child = os.fork()
    if child == 0:
        with cores.lend() as taken:
            os._exit(taken - 1)
    assert os.waitpid(child, 0)[1] == 0
    ended.set()
    thread.join(PATIENCE_S)


def test_other_threads_get_nothing_once_it_is_closed():
    cores = Semaphore(1)
    begun = threading.Event()

    def work(ended):
        with cores.lend():
            begun.set()
            ended.wait(0.05)

    threading.Thread(target=work, args=(threading.Event(),)).start()
    begun.wait(PATIENCE_S)
    cores.close(PATIENCE_S)
    assert not cores.contended
    late = threading.Thread(target=work, args=(begun,), daemon=True)
    late.start()
    late.join(0.2)
    assert late.is_alive()
    cores._closed_by = None
    late.join(PATIENCE_S)
    assert not cores.contended


def test_a_process_exits_while_a_daemon_thread_runs_a_model(tiny):
    script = """
import sys, threading, time
from torchless import pipeline
pipe = pipeline(model=sys.argv[1])
begun = threading.Event()

def work():
    while True:
        pipe(["A film of quiet power. " * 20] * 8)
        begun.set()

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
begun.wait()
"""
    folder = tiny.export("bert", "text-classification", num_labels=3)
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")

"""An interrupt between any two bytecodes of a call: the next calls answer, on this thread and beside others."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest
from fixtures.interrupts import Interrupted, interrupted_at

from torchless import pipeline
from torchless.ort import session as session_module
from torchless.ort.session import Session
from torchless.semaphore import Semaphore

PATIENCE_S = 20
TEXTS = ["Dull.", "A film of quiet power, and well played.", "Never again."]


@pytest.fixture
def folder(tiny):
    return tiny.export("bert", "text-classification", num_labels=3)


@pytest.fixture
def two_cores(monkeypatch):
    cores = Semaphore(2)
    monkeypatch.setattr(session_module, "CPU_CORES", cores)
    return cores


@pytest.fixture
def beside():
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_any_bytecode_of_a_run(folder, two_cores, beside):
    session = Session(folder / "onnx" / "model.onnx", threads=2)
    ids = np.ones((1, 4), np.int64)
    feeds = {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids * 0}
    (expected,) = session.run(feeds)

    def run():
        return session.run(feeds)[0]

    for number in count():
        if not interrupted_at(number, run):
            break
        assert not two_cores.contended, number
        for answer in (beside.submit(run), beside.submit(run)):
            np.testing.assert_array_equal(answer.result(PATIENCE_S), expected)
        with two_cores.lend(2, or_single=True) as taken:
            assert taken == 2, number
    assert number > 200


def test_any_bytecode_of_loading_for_contention(folder, two_cores, beside, monkeypatch):
    session = Session(folder / "onnx" / "model.onnx", threads=2)
    loaded = session._load(1, plan_memory=False)
    monkeypatch.setattr(session, "_load", lambda *_, **__: loaded)
    for number in count():
        session._single_threaded = None
        if not interrupted_at(number, session.prepare_for_contention):
            break
        session._single_threaded = None
        beside.submit(session.prepare_for_contention).result(PATIENCE_S)
        assert session._single_threaded is loaded
    assert number > 50


@pytest.mark.parametrize(("inputs", "stride"), [(TEXTS[1], 29), (TEXTS, 61)], ids=["one", "many"])
def test_bytecodes_of_a_call(folder, beside, inputs, stride):
    pipe = pipeline(model=folder, batch_size=1)
    expected = pipe(inputs)
    for number in count(0, stride):
        if not interrupted_at(number, lambda: pipe(inputs)):
            break
        assert beside.submit(pipe, inputs).result(PATIENCE_S) == expected
        assert pipe(inputs) == expected
    assert number > 1000


# A signal within the callback of a weak reference is reported by Python, and lost.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_signals_at_any_time(folder):
    pipe = pipeline(model=folder, batch_size=1)
    expected = pipe(TEXTS)

    def interrupt(*_):
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, interrupt)
    interrupts = 0
    try:
        for number in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + number * 4e-5)
                pipe(TEXTS)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                interrupts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(pipe(TEXTS)), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert interrupts > 10
    assert answers == [expected] * 4

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless import CheckpointError, InputError
from torchless.ort.session import Session, single_threaded
from torchless.semaphore import Semaphore


@pytest.mark.parametrize("operator", ["MatMulInteger", "MatMulIntegerToFloat"])
def test_sums_of_8_bit_products_are_exact(operator, tmp_path):
    # On x86 CPUs without VNNI, ONNX Runtime's default kernels saturate these sums at half of their value.
    constants = {
        "w": np.full((64, 16), 127, np.int8),
        "s": np.float32(1),
        "c": np.ones(16, np.float32),
        "z": np.uint8(0),
    }
    floats = operator.endswith("Float")
    node = helper.make_node(
        operator, ["x", "w", *("scz" if floats else "")], ["y"], domain="com.microsoft" if floats else ""
    )
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT if floats else TensorProto.INT32, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)

    session = Session(path)
    (sums,) = session.run({"x": np.full((3, 64), 255, np.uint8)})
    assert (sums == 255 * 127 * 64).all()


@pytest.fixture
def two_cores(monkeypatch):
    cores = Semaphore(2)
    monkeypatch.setattr("torchless.ort.session.CPU_CORES", cores)
    return cores


def feeds_of(tokens):
    ids = np.arange(1000, 1000 + tokens)[None]
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.mark.parametrize("dtype", ["fp32", "q8"])
def test_parallel_runs_answer_as_single_runs(dtype, sentiment, two_cores):
    graph = "onnx/model.onnx" if dtype == "fp32" else "onnx/model_quantized.onnx"
    session, lengths = Session(sentiment / graph), [5, 40, 17, 120] * 12
    alone = [session.run(feeds_of(length))[0] for length in lengths]
    assert session._single_threaded is None
    with ThreadPoolExecutor(4) as threads:
        beside = [logits for (logits,) in threads.map(session.run, map(feeds_of, lengths))]
    assert session._single_threaded is not None
    np.testing.assert_array_equal(beside, alone)
    assert not two_cores.contended


def test_a_warmed_single_threaded_session_is_not_loaded_again(sentiment, two_cores, monkeypatch):
    session = Session(sentiment / "onnx/model.onnx", threads=2)
    with single_threaded(session):
        (beside,) = session.run(feeds_of(20))
    assert not two_cores.contended
    monkeypatch.setattr(session, "_load", None)
    with ThreadPoolExecutor(4) as threads:
        answers = [logits for (logits,) in threads.map(session.run, [feeds_of(20)] * 40)]
    np.testing.assert_array_equal(answers, [beside] * 40)


def test_a_session_of_a_single_thread_loads_nothing_for_contention(sentiment, two_cores):
    session = Session(sentiment / "onnx/model.onnx", threads=1)
    with single_threaded(session):
        session.run(feeds_of(20))
    assert session._single_threaded is session._session


def test_one_thread_is_loaded_once(sentiment, two_cores):
    session = Session(sentiment / "onnx/model.onnx", threads=1)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(session.run, [feeds_of(20)] * 40))
    assert session._single_threaded is session._session
    assert session.workers == 1


def test_threads_are_by_default_what_the_machine_grants(sentiment, two_cores):
    assert Session(sentiment / "onnx/model.onnx").threads == 2
    assert Session(sentiment / "onnx/model.onnx", threads=64).workers == 2


def test_an_idle_session_does_not_spin(sentiment, two_cores):
    session, busy_s = Session(sentiment / "onnx/model.onnx"), []
    for _ in range(7):
        session.run(feeds_of(64))
        before = time.process_time()
        time.sleep(0.02)
        busy_s.append(time.process_time() - before)
    assert median(busy_s) < 0.01  # spinning threads would use the whole time


def test_memory_is_bounded_under_mixed_lengths(sentiment):
    session, rng = Session(sentiment / "onnx/model_quantized.onnx"), np.random.default_rng(0)
    for tokens in (512, 300, 7, 512):  # the longest run reserves enough memory for the rest
        session.run(feeds_of(tokens))
    before = resident_mb()
    for tokens in rng.integers(2, 513, 150):
        session.run(feeds_of(int(tokens)))
    assert resident_mb() - before < 20


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_onnx_runtime_writes_nothing_beside_an_error(sentiment, tmp_path, capfd):
    session = Session(sentiment / "onnx/model.onnx")
    feeds = feeds_of(4)
    for wrong in (feeds | {"input_ids": np.full((1, 4), 10**7)}, feeds | {"attention_mask": np.ones((1, 5), np.int64)}):
        with pytest.raises(InputError, match="refuses these inputs"):
            session.run(wrong)
    (tmp_path / "model.onnx").write_bytes((sentiment / "onnx/model.onnx").read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="cannot load"):
        Session(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_inputs_are_cast(sentiment):
    session, feeds = Session(sentiment / "onnx/model.onnx"), feeds_of(4)
    np.testing.assert_array_equal(
        session.run({name: array.astype(np.int32) for name, array in feeds.items()})[0], session.run(feeds)[0]
    )

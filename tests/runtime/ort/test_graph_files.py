"""A model that is loaded stays what it is: its folder may be renamed, replaced or removed."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from torchless import CheckpointError, InputError, pipeline
from torchless.ort import session as session_module
from torchless.ort.session import Session
from torchless.semaphore import Semaphore

TEXTS = ["Dull.", "A film of quiet power, and well played.", "Never again."]

FORKS = """
import os, shutil, sys
from torchless import pipeline

pipe = pipeline(model=sys.argv[1])
expected = pipe("Dull.")
shutil.rmtree(sys.argv[1])
child = os.fork()
if child == 0:
    sys.exit(pipe("Dull.") != expected)
sys.exit(os.waitpid(child, 0)[1] != 0)
"""


def feeds_of(tokens):
    ids = np.arange(1000, 1000 + tokens)[None]
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "folder")


@pytest.fixture
def other(tiny, tmp_path):
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=2), tmp_path / "other")


def removed(folder, _):
    shutil.rmtree(folder)


def renamed(folder, _):
    folder.rename(folder.with_name("elsewhere"))


def replaced(folder, other):
    folder.rename(folder.with_name("previous"))
    other.rename(folder)


def replaced_graph(folder, other):
    (other / "onnx" / "model.onnx").rename(folder / "onnx" / "model.onnx")


@pytest.mark.parametrize("change", [removed, renamed, replaced, replaced_graph])
@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
def test_a_session_loads_again_what_it_loaded(folder, other, change, outside):
    path = folder / "onnx" / "model.onnx"
    if outside:
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    session = Session(path, threads=2)
    (expected,) = session.run(feeds_of(9))
    change(folder, other)
    for _ in range(2):
        (answer,) = session._load(1, plan_memory=False).run(None, feeds_of(9))
        np.testing.assert_array_equal(answer, expected)


def test_a_renamed_graph_is_mapped_where_it_is_now(folder, monkeypatch):
    session = Session(folder / "onnx" / "model.onnx")
    renamed(folder, None)
    if sys.platform == "linux":
        assert session._files.path() == folder.with_name("elsewhere") / "onnx" / "model.onnx"


def test_a_swap_while_a_graph_is_read(folder, other, monkeypatch):
    session = Session(folder / "onnx" / "model.onnx")
    (expected,) = session.run(feeds_of(9))
    model_at = session._files.model_at

    def swap(*arguments):
        replaced_graph(folder, other)
        return model_at(*arguments)

    monkeypatch.setattr(session._files, "model_at", swap)
    (answer,) = session._load(1, plan_memory=False).run(None, feeds_of(9))
    np.testing.assert_array_equal(answer, expected)


def test_two_models_that_are_swapped_under_load(folder, other, monkeypatch):
    monkeypatch.setattr(session_module, "CPU_CORES", Semaphore(2))
    first, second = pipeline(model=folder, threads=2), pipeline(model=other, threads=2)
    expected = [pipe(TEXTS, top_k=None) for pipe in (first, second)]

    def answer(number):
        if number % 10 == 3:
            aside = folder.with_name("aside")
            folder.rename(aside)
            other.rename(folder)
            aside.rename(other)
        return first(TEXTS, top_k=None) == expected[0] and second(TEXTS, top_k=None) == expected[1]

    with ThreadPoolExecutor(1) as swaps, ThreadPoolExecutor(4) as threads:
        outcomes = [*threads.map(answer, [0] * 60), *swaps.map(answer, range(40))]
    assert all(outcomes)


def test_a_fork_after_the_folder_was_removed(folder):
    command = [sys.executable, "-c", FORKS, folder]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_a_pipeline_whose_folder_was_removed(folder):
    pipe = pipeline(model=folder)
    expected = pipe(TEXTS)
    shutil.rmtree(folder)
    assert pipe(TEXTS) == expected


def test_a_generating_pipeline_whose_folder_was_removed(tiny, tmp_path):
    folder = shutil.copytree(tiny.export("qwen3", "text-generation"), tmp_path / "decoder")
    (folder / "torchless.json").unlink()
    pipe = pipeline(model=folder, do_sample=False, max_new_tokens=3)
    shutil.rmtree(folder)
    assert len(pipe(["A film", "Dull."])) == 2


@pytest.mark.parametrize(
    "error", [MemoryError("std::bad_alloc"), RuntimeError("Failed to allocate memory for requested buffer")]
)
def test_a_graph_for_which_the_memory_is_not_enough(folder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(CheckpointError, match="not enough memory to load") as raised:
        Session(folder / "onnx" / "model.onnx")
    assert "damaged" not in str(raised.value)


def test_a_graph_that_cannot_be_read(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("torchless.ort.graph_files.os.open", refuse)
    with pytest.raises(CheckpointError, match="model.onnx cannot be read: Permission denied"):
        Session(folder / "onnx" / "model.onnx")


def test_an_error_of_a_run_shows_no_path(folder):
    session = Session(folder / "onnx" / "model.onnx")
    wrong = feeds_of(4) | {"attention_mask": np.ones((1, 5), np.int64)}
    for feeds in (wrong, feeds_of(4) | {"input_ids": np.full((1, 4), 10**7)}):
        with pytest.raises(InputError, match=r"^model.onnx refuses these inputs") as raised:
            session.run(feeds)
        assert str(Path(folder).parent) not in str(raised.value)
        assert "onnxruntime_src" not in str(raised.value)

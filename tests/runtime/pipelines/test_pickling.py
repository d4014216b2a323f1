"""Pipelines in pickles and in forks: Spark, multiprocessing and job queues send them so."""

import copy
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier, Thread

import pytest
import tokenizers

from torchless import AutoTokenizer, pipeline
from torchless.errors import CheckpointError, InputError, MissingExtraError, ScoreError
from torchless.pipelines.text_classification import TextClassificationPipeline
from torchless.tokenization.tokenizer import Tokenizer

TEXTS = ["Dull.", "A film of quiet power, and well played by all who are in it.", "Never again."]

FORKS = """
import os, sys
from torchless import pipeline

pipe = pipeline(model=sys.argv[1])
expected = pipe({texts!r})
pipe.tokenizer({texts!r})
child = os.fork()
if child == 0:
    assert pipe({texts!r}) == expected
    pipe.tokenizer({texts!r})
    assert pipe({texts!r}[0])[0]["label"] == expected[0]["label"]
    sys.exit(0)  # with all destructors
assert os.waitpid(child, 0)[1] == 0
assert pipe({texts!r}) == expected
"""

FORKS_WHILE_OTHERS_WORK = """
import os, sys, threading, time
from torchless import pipeline

pipe = pipeline(model=sys.argv[1])
expected = pipe("Dull.", truncation=True, max_length=9)
stopped = threading.Event()

def work():
    while not stopped.is_set():
        {work}

thread = threading.Thread(target=work)
thread.start()
time.sleep(0.2)
children = []
for uses in (False, True):
    child = os.fork()
    if child == 0:
        if uses:
            assert pipe("Dull.", truncation=True, max_length=9) == expected
            pipe(["Dull.", "A film."])
        sys.exit(0)  # with all destructors, also of what the child never used
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
stopped.set()
thread.join()
"""


class Greeting(TextClassificationPipeline):
    """A pipeline of a user, with an attribute of its own."""

    def __init__(self, model, tokenizer, *, greeting, **options):
        super().__init__(model, tokenizer, **options)
        self.greeting = greeting


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "folder")


def test_a_pickle_answers_as_the_pipeline(folder):
    pipe = pipeline(model=folder, top_k=None, batch_size=2)
    content = pickle.dumps(pipe)
    assert len(content) < 10_000
    copy = pickle.loads(content)
    assert isinstance(copy, type(pipe))
    assert copy(TEXTS) == pipe(TEXTS)
    assert (copy.options, copy.batch_size, copy.task_name) == (pipe.options, 2, "text-classification")


def test_a_generating_pipeline(tiny):
    pipe = pipeline(model=tiny.export("llama", "text-generation"), do_sample=False, max_new_tokens=5)
    copy = pickle.loads(pickle.dumps(pipe))
    assert copy("A film") == pipe("A film")
    assert "".join(copy.stream("A film")) == "".join(pipe.stream("A film"))


def test_an_encoder_decoder_of_a_dtype(tiny):
    pipe = pipeline("translation_en_to_de", tiny.export("t5", "text2text-generation"), max_new_tokens=5)
    assert pickle.loads(pickle.dumps(pipe))("A film") == pipe("A film")


def test_a_pickle_is_loaded_where_it_is_used_and_once(folder):
    content = pickle.dumps(pipeline(model=folder))
    first, second = pickle.loads(content), pickle.loads(content)
    assert "model" not in vars(first)
    assert first.model is second.model
    assert pickle.loads(pickle.dumps(pickle.loads(content))).model is first.model
    shutil.rmtree(folder)
    other = pickle.loads(content.replace(b"/folder", b"/golder"))
    with pytest.raises(CheckpointError, match="There is no folder"):
        other("Dull.")


def test_a_relative_folder_is_found_from_anywhere(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder.parent)
    content = pickle.dumps(pipeline(model=folder.name))
    expected = pipeline(model=folder)("Dull.")
    monkeypatch.chdir(tmp_path.parent)
    assert pickle.loads(content)("Dull.") == expected


def test_attributes_that_do_not_exist(folder):
    copy = pickle.loads(pickle.dumps(pipeline(model=folder)))
    for _ in range(2):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = copy.nothing


def test_a_tokenizer_keeps_what_the_caller_has_set(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    copy = pickle.loads(pickle.dumps(tokenizer))
    options = {"padding": True, "return_tensors": "np"}
    assert (copy(TEXTS, **options)["input_ids"] == tokenizer(TEXTS, **options)["input_ids"]).all()
    assert copy.pad_token == tokenizer.pad_token


def test_a_tokenizer_without_a_folder_is_pickled_whole(folder):
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer(backend, {"pad_token": "[PAD]"}, chat_template="{{ messages }}")
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
    assert (copy.chat_template, copy.pad_token) == ("{{ messages }}", "[PAD]")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool(folder, method):
    pipe = pipeline(model=folder)
    expected = pipe(TEXTS)
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert [result[0] for result in pool.map(pipe, [[text] for text in TEXTS], timeout=60)] == expected


@pytest.mark.parametrize("parallelism", ["", "false", "true"])
def test_a_fork_answers_and_ends(folder, tmp_path, monkeypatch, parallelism):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if parallelism:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallelism)
    script = Path(tmp_path / "forks.py")
    script.write_text(FORKS.format(texts=TEXTS))
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("work", ['pipe.tokenizer(["word " * 3000] * 20)', 'pipe(["word " * 200] * 8)'])
def test_a_fork_while_another_thread_works(folder, tmp_path, work):
    script = Path(tmp_path / "forks.py")
    script.write_text(FORKS_WHILE_OTHERS_WORK.format(work=work))
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("copied", [lambda pipe: pickle.loads(pickle.dumps(pipe)), copy.copy, copy.deepcopy])
def test_a_subclass_keeps_its_attributes(folder, copied):
    loaded = pipeline(model=folder)
    pipe = Greeting(loaded.model, loaded.tokenizer, greeting="Hello", top_k=None)
    other = copied(pipe)
    assert (type(other), other.greeting, other.options) == (Greeting, "Hello", pipe.options)
    assert other("Dull.") == pipe("Dull.")


def test_a_subclass_that_no_module_holds_can_be_sent(folder):
    cloudpickle = pytest.importorskip("cloudpickle")
    loaded = pipeline(model=folder)

    class Local(Greeting):
        pass

    pipe = Local(loaded.model, loaded.tokenizer, greeting="Hello")
    content = cloudpickle.dumps(pipe)
    other = pickle.loads(content)
    assert other.greeting == "Hello"
    assert other("Dull.") == pipe("Dull.")


def test_a_copy_shares_the_model(folder):
    pipe = pipeline(model=folder)
    assert copy.copy(pipe).model is pipe.model


def test_a_tokenizer_and_generation_options_that_the_caller_has_set(tiny):
    folder = tiny.export("llama", "text-generation")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 77
    pipe = pipeline(model=folder, tokenizer=tokenizer, do_sample=False, max_new_tokens=5)
    pipe.model.generation_config = pipe.model.generation_config.updated(repetition_penalty=3.0)
    other = pickle.loads(pickle.dumps(pipe))
    assert other.tokenizer.model_max_length == 77
    assert other.model.generation_config == pipe.model.generation_config
    assert other("A film, a film") == pipe("A film, a film")


def test_threads_that_use_equal_pickles_at_once(folder):
    content = pickle.dumps(pipeline(model=folder))
    shared, results, barrier = pickle.loads(content), [], Barrier(8)

    def answer(pipe):
        barrier.wait()
        results.append(pipe("Dull."))

    threads = [Thread(target=answer, args=(pipe,)) for pipe in [shared] * 4 + [pickle.loads(content) for _ in range(4)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [shared("Dull.")] * 8


def test_errors_come_back_from_a_worker_process(folder):
    for error in (
        InputError("It is 3.", hint="Give texts."),
        ScoreError("Dull.", row=2),
        MissingExtraError("It", extra="hub"),
    ):
        other = pickle.loads(pickle.dumps(error))
        assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        answer = pool.submit(pipeline(model=folder), ["Dull.", 3])
    with pytest.raises(InputError, match="Index 1 of the inputs: The input is 3"):
        answer.result()


def test_outputs_of_a_model_can_be_copied(folder):
    output = pipeline(model=folder).model([[2, 3, 4]])
    for copied in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
        assert (copied(output).logits == output.logits).all()
    with pytest.raises(AttributeError, match="no output 'nothing'; there are: logits"):
        _ = output.nothing

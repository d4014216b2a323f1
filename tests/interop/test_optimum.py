"""optimum's own classes on exported folders, and torchless on the folders that optimum's own export wrote."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import optimum.onnxruntime
import pytest
import torch
import transformers
from fixtures.comparison import assert_same
from optimum.exporters.onnx import main_export
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

import torchless

COURSE_TEXTS = ["I've been waiting for a HuggingFace course my whole life.", "I hate this so much!"]
QUESTION = {"question": "Where do I live?", "context": "My name is Wolfgang and I live in Berlin."}
CHOICES = {"prompt": "It rains. What do you take?", "choices": ["An umbrella.", "A spoon.", "My time, and more."]}

TASKS = {  # the class of optimum, the family, its configuration, the example, with which options
    "feature-extraction": ("ORTModelForFeatureExtraction", "bert", {}, COURSE_TEXTS, {}),
    "fill-mask": ("ORTModelForMaskedLM", "roberta", {}, "It was the <mask> of times.", {}),
    "question-answering": ("ORTModelForQuestionAnswering", "bert", {}, QUESTION, {}),
    "text-classification": (
        "ORTModelForSequenceClassification", "distilbert", {"num_labels": 3}, COURSE_TEXTS, {"top_k": None},
    ),
    "token-classification": (
        "ORTModelForTokenClassification", "bert", {"num_labels": 5}, COURSE_TEXTS, {"aggregation_strategy": "simple"},
    ),
}  # fmt: skip
DECODERS = ["gpt2", "llama", "qwen3"]
LOADED_BY = {"default": {}, "name": {"subfolder": "onnx", "file_name": "model.onnx"}}


@pytest.fixture(params=LOADED_BY)
def optimum_model(request):
    """A class of optimum and a folder, loaded in each of the ways that its users write."""

    def load(class_name, folder):
        return getattr(optimum.onnxruntime, class_name).from_pretrained(folder, **LOADED_BY[request.param])

    return load


@pytest.fixture(params=DECODERS)
def decoder(request, tiny):
    """(the checkpoint of a decoder, its export, a batch for PyTorch that is padded on the left)."""
    checkpoint, folder = (make(request.param, "text-generation") for make in (tiny.checkpoint, tiny.export))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return (
        checkpoint,
        folder,
        tokenizer(COURSE_TEXTS, padding=True, padding_side="left", return_tensors="pt", return_token_type_ids=False),
    )


def answer(pipe, example, options):
    """Call a pipeline of either kind; fields are given by name."""
    return pipe(**example, **options) if isinstance(example, dict) else pipe(example, **options)


def export_with_optimum(checkpoint, folder, task):
    """Write what `optimum-cli export onnx` writes, with the warnings of its tracer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main_export(str(checkpoint), folder, task=task, do_validation=False)


@pytest.mark.parametrize("task", TASKS)
def test_pipelines(task, tiny, optimum_model):
    class_name, family, config, example, options = TASKS[task]
    folder = tiny.export(family, task, **config)
    theirs = transformers.pipeline(
        task,
        model=optimum_model(class_name, folder),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
    )
    assert_same(answer(theirs, example, options), answer(torchless.pipeline(task, folder), example, options))


def test_multiple_choice(tiny, optimum_model):
    folder = tiny.export("bert", "multiple-choice")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer([CHOICES["prompt"]] * 3, CHOICES["choices"], padding=True, return_tensors="pt")
    expected = optimum_model("ORTModelForMultipleChoice", folder)(
        **{name: array[None] for name, array in inputs.items()}
    )
    ours = torchless.pipeline("multiple-choice", folder)(CHOICES)
    scores = {item["index"]: item["score"] for item in ours}
    assert_same(expected.logits[0].softmax(-1).tolist(), [scores[index] for index in range(3)])


def test_logits_of_decoders(decoder, optimum_model):
    _, folder, inputs = decoder
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)  # as optimum counts them when it generates
    expected = optimum_model("ORTModelForCausalLM", folder)(**inputs, position_ids=positions).logits.numpy()
    ours = torchless.AutoModelForCausalLM.from_pretrained(folder)(inputs["input_ids"].numpy(), mask.numpy()).logits
    counts = mask.numpy() == 1
    assert np.abs(ours[counts] - expected[counts]).max() <= 1e-4 * np.abs(expected[counts]).max()


def test_greedy_generation(decoder, optimum_model):
    checkpoint, folder, inputs = decoder
    expected, got = (
        model.generate(**inputs, max_new_tokens=12, do_sample=False)
        for model in (
            transformers.AutoModelForCausalLM.from_pretrained(checkpoint),
            optimum_model("ORTModelForCausalLM", folder),
        )
    )
    assert expected.tolist() == got.tolist()


@pytest.mark.parametrize("family", ["bart", "marian", "pegasus", "t5"])
@pytest.mark.parametrize(
    "options", [{"do_sample": False}, {"num_beams": 3, "do_sample": False}], ids=["greedy", "beams"]
)
def test_generation_by_encoder_decoders(family, options, tiny):
    checkpoint, folder = (make(family, "text2text-generation") for make in (tiny.checkpoint, tiny.export))
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(COURSE_TEXTS, padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    expected, got = (
        model.generate(**inputs, max_new_tokens=8, **options)
        for model in (
            transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoint),
            optimum.onnxruntime.ORTModelForSeq2SeqLM.from_pretrained(folder),
        )
    )
    assert expected.tolist() == got.tolist()


@pytest.mark.parametrize("task", TASKS)
def test_folders_that_optimum_wrote(task, tiny, tmp_path):
    _, family, config, example, options = TASKS[task]
    checkpoint = tiny.checkpoint(family, task, **config)
    export_with_optimum(checkpoint, tmp_path, task)
    assert (tmp_path / "model.onnx").is_file()
    reference = transformers.pipeline(task, model=str(checkpoint), device="cpu")
    assert_same(answer(reference, example, options), answer(torchless.pipeline(task, tmp_path), example, options))


@pytest.mark.parametrize("task", ["text-generation", "text-generation-with-past"])
def test_decoders_that_optimum_wrote(task, tiny, tmp_path):
    checkpoint = tiny.checkpoint("llama", "text-generation")
    export_with_optimum(checkpoint, tmp_path, task)
    ids = torchless.AutoTokenizer.from_pretrained(tmp_path)(COURSE_TEXTS[0]).input_ids
    with torch.inference_mode():
        expected = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)(torch.tensor([ids])).logits.numpy()
    got = torchless.AutoModelForCausalLM.from_pretrained(tmp_path)([ids]).logits
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_command_of_optimum(tiny, tmp_path):
    checkpoint = tiny.checkpoint("bert", "text-classification", num_labels=3)
    command = Path(sys.executable).with_name("optimum-cli")
    result = subprocess.run(
        [command, "export", "onnx", "--task", "text-classification", "--model", checkpoint, tmp_path / "out"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    expected = transformers.pipeline("text-classification", model=str(checkpoint), device="cpu")
    assert_same(
        expected(COURSE_TEXTS, top_k=None), torchless.pipeline(model=tmp_path / "out")(COURSE_TEXTS, top_k=None)
    )


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_sentence_transformers_folder_that_optimum_exported(pooling, tiny, tmp_path):
    base = modules.Transformer(str(tiny.checkpoint("bert", "feature-extraction")), max_seq_length=16)
    parts = [base, modules.Pooling(32, pooling_mode=pooling), modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "checkpoint"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main_export(
            str(tmp_path / "checkpoint"),
            tmp_path / "expected",
            task="feature-extraction",
            library_name="sentence_transformers",
            do_validation=False,
        )
    texts = [*COURSE_TEXTS, "A text of more tokens than this model reads. " * 5]
    expected = SentenceTransformer(str(tmp_path / "checkpoint"), device="cpu").encode(texts)
    embed = torchless.pipeline("feature-extraction", tmp_path / "expected")
    np.testing.assert_allclose(embed(texts[:2], pooling="auto", return_tensors="np"), expected[:2], atol=1e-5)
    with pytest.warns(torchless.TruncationWarning, match="cut to 16 tokens"):
        cut = embed(texts[2:], pooling="auto", return_tensors="np")
    np.testing.assert_allclose(cut, expected[2:], atol=1e-5)

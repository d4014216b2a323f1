"""transformers.js on exported folders, in Node: `make interop` installs it."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from fixtures.comparison import assert_same
from fixtures.texts import HARD_TEXTS

import torchless
from torchless_export.export import Silent, export
from torchless_export.sample import sample_texts

NODE = shutil.which("node") or "node"
ANSWER = Path(__file__).parent / "node" / "answer.mjs"
TEXTS = [*HARD_TEXTS.values(), *sample_texts(10)]
NAMES = ["My name is Sarah and I live in London.", *sample_texts(5)]
PROMPTS = ["A film of", "It rains in Paris, and has done so for"]

VARIANTS = ("fp32", "fp16", "q8", "int8", "q4", "q4f16")

# By variant, how far a score may be from ours: one graph, two builds of ONNX Runtime.
TOLERANCES = {"fp32": 1e-4, "q8": 1e-4}


@pytest.fixture(params=TOLERANCES)
def dtype(request):
    return request.param


@pytest.fixture
def answer(tmp_path):
    """What transformers.js answers to each of some inputs, one at a time."""

    def call(folder, task, inputs, *, dtype="fp32", **options):
        link = tmp_path / "model"  # transformers.js allows no "=" in a name
        link.symlink_to(folder)
        job = {"folder": str(link), "task": task, "dtype": dtype, "inputs": inputs, "options": options}
        result = subprocess.run(
            [NODE, ANSWER], input=json.dumps(job), capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return call


def test_text_classification(dtype, sentiment, answer):
    classify = torchless.pipeline("text-classification", sentiment, dtype=dtype)
    got = answer(sentiment, "text-classification", TEXTS, dtype=dtype, top_k=None)
    assert_same(got, [classify(text, top_k=None) for text in TEXTS], tolerance=TOLERANCES[dtype])


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_other_tokenizers(family, tiny, answer):
    folder = tiny.export(family, "text-classification", num_labels=3)
    classify = torchless.pipeline("text-classification", folder)
    got = answer(folder, "text-classification", TEXTS, top_k=None)
    assert_same(got, [classify(text, top_k=None) for text in TEXTS])


@pytest.fixture(scope="module")
def variants(tiny, tmp_path_factory):
    """A tiny model in every dtype; where they are large, weights are in files of their own."""
    out = tmp_path_factory.mktemp("variants") / "out"
    checkpoint = tiny.checkpoint("bert", "text-classification", num_labels=3)
    options = {"dtypes": VARIANTS, "min_agreement": 0.0, "max_graph_bytes": 2_000_000, "verify_with": tiny.few_texts()}
    manifest, _ = export(str(checkpoint), out, Silent(), **options)
    assert {dtype for dtype, variant in manifest.variants.items() if len(variant.parts) == 1} == {"q8", "int8"}
    return out


@pytest.mark.parametrize("dtype", VARIANTS)
def test_variants(dtype, variants, answer):
    classify = torchless.pipeline("text-classification", variants, dtype=dtype)
    got = answer(variants, "text-classification", TEXTS, dtype=dtype, top_k=None)
    tolerance = 1e-4 if dtype == "fp32" else 1e-2
    assert_same(got, [classify(text, top_k=None) for text in TEXTS], tolerance=tolerance)


def test_feature_extraction(dtype, embeddings, answer):
    extract = torchless.pipeline("feature-extraction", embeddings, dtype=dtype)
    options = {"pooling": "mean", "normalize": True}
    got = answer(embeddings, "feature-extraction", TEXTS, dtype=dtype, **options)
    expected = [extract(text, **options) for text in TEXTS]
    np.testing.assert_allclose([result[0] for result in got], expected, rtol=0, atol=TOLERANCES[dtype])


def test_token_classification(tiny, answer):
    folder = tiny.export("bert", "token-classification", num_labels=5)
    tag = torchless.pipeline("token-classification", folder, ignore_labels=[])
    got = answer(folder, "token-classification", NAMES, ignore_labels=[])
    keys = ("entity", "score", "index", "word")
    expected = [[{key: token[key] for key in keys} for token in tag(text)] for text in NAMES]
    assert_same(got, expected)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_text_generation(family, tiny, answer):
    checkpoint, folder = tiny.checkpoint(family, "text-generation"), tiny.export(family, "text-generation")
    options = {"max_new_tokens": 16, "do_sample": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    expected = []
    for prompts in (PROMPTS[:1], PROMPTS[1:], PROMPTS):
        inputs = tokenizer(prompts, padding=True, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            expected.append(model.generate(**inputs, **options).tolist())
    assert answer(folder, "generate", [PROMPTS[:1], PROMPTS[1:], PROMPTS], **options) == expected


def test_chat(tiny, answer):
    checkpoint, folder = tiny.checkpoint("qwen3", "text-generation"), tiny.export("qwen3", "text-generation")
    chat = [{"role": "system", "content": "You answer in verse."}, {"role": "user", "content": "What is a film?"}]
    options = {"max_new_tokens": 16, "do_sample": False}
    reference = transformers.pipeline("text-generation", model=str(checkpoint), device="cpu")
    assert answer(folder, "text-generation", [chat], **options) == [reference(chat, **options)]


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_text2text_generation(family, tiny, answer):
    checkpoint, folder = (make(family, "text2text-generation") for make in (tiny.checkpoint, tiny.export))
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    expected = []
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            (sequence,) = model.generate(**inputs, max_new_tokens=12, do_sample=False, num_beams=1)
        expected.append([{"generated_text": tokenizer.decode(sequence, skip_special_tokens=True)}])
    assert answer(folder, "text2text-generation", PROMPTS, max_new_tokens=12, do_sample=False) == expected

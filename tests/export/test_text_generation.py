"""Decoders, exported."""

import json
import shutil

import numpy as np
import onnx
import pytest
import transformers
from fixtures.checkpoints import CHAT_TEMPLATE
from onnx import numpy_helper

import torchless_export.converters.optimum
from torchless import AutoModelForCausalLM, ExportError
from torchless.folder.model_folder import ModelFolder
from torchless_export.export import Silent, export
from torchless_export.verification.cases import CASES, _next_tokens
from torchless_export.verification.teacher_forcing import stepwise_logits

TASK = "text-generation"


@pytest.fixture(params=["gpt2", "llama", "qwen3"])
def family(request):
    return request.param


def test_one_graph_with_a_cache(tiny, family):
    folder = tiny.export(family, TASK)
    assert [path.name for path in (folder / "onnx").iterdir()] == ["model.onnx"]
    graph = AutoModelForCausalLM.from_pretrained(folder).session
    assert {name for name in graph.inputs if name.startswith("past")} == {
        f"past_key_values.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")
    }
    assert graph.inputs["past_key_values.0.key"].shape[1] == 2  # the heads of keys, not of queries
    assert {name for name in graph.outputs if name != "logits"} == {
        name.replace("past_key_values", "present") for name in graph.inputs if name.startswith("past")
    }


def test_it_is_the_task_of_the_model(tiny, family, tmp_path):
    manifest, _ = export(str(tiny.checkpoint(family, TASK)), tmp_path / "out", Silent())
    measured = manifest.variants["fp32"].verification
    assert (manifest.task, measured.texts, measured.agreement) == (TASK, 252, 1)
    assert measured.max_abs_diff <= 1e-4
    assert ModelFolder(tmp_path / "out").task().name == TASK


def test_the_generation_configuration_travels(tiny, tmp_path):
    checkpoint = shutil.copytree(tiny.checkpoint("llama", TASK), tmp_path / "checkpoint")
    sampling = {"bos_token_id": 0, "eos_token_id": [1, 2], "temperature": 0.6, "top_p": 0.9}  # without do_sample
    (checkpoint / "generation_config.json").write_text(json.dumps(sampling))
    export(str(checkpoint), tmp_path / "out", Silent())
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()).items() >= sampling.items()


def test_the_chat_template_travels(tiny):
    folder = tiny.export("qwen3", TASK)
    assert (folder / "chat_template.jinja").read_text() == CHAT_TEMPLATE
    assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == CHAT_TEMPLATE
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi."}], tokenize=False) == (
        "<|im_start|>user\nHi.<|im_end|>\n"
    )


def test_a_wrong_weight_is_found(tiny, tmp_path, monkeypatch):
    convert = torchless_export.converters.optimum.convert

    def broken(loaded, task, folder):
        convert(loaded, task, folder)
        path = folder / "onnx" / "model.onnx"
        graph = onnx.load(path)
        (norm,) = [tensor for tensor in graph.graph.initializer if tensor.name == "model.norm.weight"]
        norm.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(norm), 1), norm.name))
        onnx.save(graph, path)

    monkeypatch.setattr(torchless_export.converters.optimum, "convert", broken)
    with pytest.raises(ExportError, match=r"fp32 gives other answers than PyTorch on (\d+) of \1 texts"):
        export(str(tiny.checkpoint("llama", TASK)), tmp_path / "out", Silent())


def compared(expected, got):
    """Compare logits as a verification does."""
    return CASES[TASK].compare(_next_tokens(np.array(expected)), _next_tokens(np.array(got)))


@pytest.mark.parametrize("lengths", [(5,), (9, 4, 12), (1, 3), (2, 2)])
def test_steps_in_a_batch_give_the_logits_of_each_text(tiny, family, lengths):
    model = AutoModelForCausalLM.from_pretrained(tiny.export(family, TASK))
    texts = [list(range(10, 10 + length)) for length in lengths]
    for ids, got in zip(texts, stepwise_logits(model, texts), strict=True):
        expected = model([ids]).logits[0]
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_agreement_is_the_share_of_tokens():
    expected = [[9.0, 1.0, 5.0], [1.0, 9.0, 5.0], [1.0, 5.0, 9.0], [9.0, 1.0, 5.0]]
    got = [[9.0, 1.0, 5.0], [1.0, 9.0, 5.0], [9.0, 5.0, 1.0], [5.0, 1.0, 5.9]]
    difference = compared(expected, got)
    assert difference.agreement == 0.5
    assert difference.values.max() == pytest.approx(8 / 9)


def test_a_tie_is_no_disagreement():
    assert compared([[9.0, 1.0, 8.9999]], [[8.9999, 1.0, 9.0]]).agreement == 1
    assert compared([[9.0, 1.0, 8.99]], [[8.99, 1.0, 9.0]]).agreement == 0
    assert compared([[9.0, 1.0, 8.9999]], [[1.0, 9.0, 8.9999]]).agreement == 0


def test_a_large_vocabulary_is_compared_in_part():
    logits = np.random.default_rng(0).normal(size=(3, 50_000))
    other = logits.copy()
    other[:, 50] += 1e-2
    difference = compared(logits, other)
    assert difference.values.shape == (3, 1000)
    assert difference.values.max() == pytest.approx(1e-2 / np.abs(logits[:, ::50]).max())

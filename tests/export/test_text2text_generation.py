"""Encoder-decoders, exported."""

import hashlib
import json
import shutil

import onnx
import pytest
import transformers
from fixtures.checkpoints import ENCODER_DECODERS

import torchless_export.verification.teacher_forcing
from torchless import AutoModel, CheckpointError, ExportError
from torchless.folder.manifest import Manifest
from torchless.folder.model_folder import ModelFolder
from torchless.ort.session import Session
from torchless.tasks import find_task
from torchless_export.export import Silent, export
from torchless_export.hashes import unlisted
from torchless_export.source.model_state import ModelState

TASK = "text2text-generation"
DTYPES = {"fp32": "", "q8": "_quantized", "q4": "_q4"}


@pytest.fixture(scope="module", params=ENCODER_DECODERS)
def folder(request, tiny, tmp_path_factory):
    """A tiny model of each family, in the dtypes that most will choose."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    options = {"dtypes": tuple(DTYPES), "min_agreement": 0.0, "verify_with": tiny.few_texts()}
    export(str(tiny.checkpoint(request.param, TASK)), out, Silent(), **options)
    return out


def test_only_what_runs(folder):
    graphs = {f"onnx/{stem}{end}.onnx" for end in DTYPES.values() for stem in ("encoder_model", "decoder_model_merged")}
    assert {path.relative_to(folder).as_posix() for path in (folder / "onnx").iterdir()} == graphs
    assert unlisted(folder, Manifest.read(folder)) == []
    checkpoint = ModelFolder(folder)
    assert checkpoint.task().name == TASK
    assert list(checkpoint.dtypes()) == list(DTYPES)
    for dtype, end in DTYPES.items():
        found = [path.name for path in checkpoint.encoder_and_decoder(dtype)]
        assert found == [f"encoder_model{end}.onnx", f"decoder_model_merged{end}.onnx"]


def test_it_answers_as_pytorch_does(folder):
    measured = {dtype: variant.verification for dtype, variant in Manifest.read(folder).variants.items()}
    assert measured["fp32"].agreement == 1
    assert measured["fp32"].max_abs_diff < 1e-4
    assert measured["fp32"].max_abs_diff < measured["q8"].mean_abs_diff < measured["q4"].mean_abs_diff < 0.3


def test_what_the_manifest_says(folder):
    for variant in Manifest.read(folder).variants.values():
        for part in variant.parts:
            content = (folder / part.file).read_bytes()
            assert (part.size_bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            onnx.checker.check_model(content)
        assert variant.size_bytes == sum(part.size_bytes for part in variant.parts)
        assert not variant.batch_dependent


def test_both_branches_share_their_weights(folder):
    for dtype in DTYPES:
        _, path = ModelFolder(folder).encoder_and_decoder(dtype)
        model = onnx.load(path)
        weights = [tensor.raw_data for tensor in model.graph.initializer]
        assert len(weights) == len(set(weights))
        (choice,) = model.graph.node
        assert all(len(branch.g.SerializeToString()) < 100_000 for branch in choice.attribute)


def test_every_linear_layer_of_a_decoder_is_quantised(folder):
    for dtype in ("q8", "q4"):
        _, path = ModelFolder(folder).encoder_and_decoder(dtype)
        model = onnx.load(path)
        for branch in model.graph.node[0].attribute:
            constants = {tensor.name for tensor in (*model.graph.initializer, *branch.g.initializer)}
            products = [node for node in branch.g.node if node.op_type in {"MatMul", "Gemm"}]
            assert not [node for node in products if node.input[1] in constants]
            assert any(node.op_type == "MatMulNBits" for node in branch.g.node)


def test_inputs_and_outputs_of_variants(folder):
    declared = []
    for dtype in DTYPES:
        sessions = [Session(path) for path in ModelFolder(folder).encoder_and_decoder(dtype)]
        declared.append([(session.inputs, session.outputs) for session in sessions])
    assert declared[0] == declared[1] == declared[2]
    assert {name for name in declared[0][1][0] if not name.startswith("past_key_values")} == {
        "encoder_attention_mask", "encoder_hidden_states", "input_ids", "use_cache_branch",
    }  # fmt: skip


def test_what_a_model_of_one_graph_is_told(folder):
    with pytest.raises(CheckpointError, match=r"encoder-decoder[\s\S]*AutoModelForSeq2SeqLM"):
        AutoModel.from_pretrained(folder)


def test_an_encoder_decoder_has_two_graphs(tiny):
    with pytest.raises(CheckpointError, match=r"one graph[\s\S]*AutoModelForTokenClassification"):
        ModelFolder(tiny.export("bert", "token-classification", num_labels=5)).encoder_and_decoder("fp32")


@pytest.mark.parametrize("name", ["summarization", "translation", "translation_en_to_de"])
def test_tasks_of_the_same_graphs(tiny, tmp_path, name):
    specific = {"summarization": {"prefix": "summarize: ", "num_beams": 4}}
    checkpoint = tiny.checkpoint("t5", TASK, task_specific_params=specific)
    manifest, _ = export(
        str(checkpoint), tmp_path / "out", Silent(), task=name, verify_with=tiny.few_texts()
    )  # fmt: skip
    assert manifest.task == find_task(name).name == name.partition("_")[0]
    assert json.loads((tmp_path / "out/config.json").read_text())["task_specific_params"] == specific
    generation = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert generation["decoder_start_token_id"] == 0


def test_a_wrong_branch_is_found(tiny, tmp_path, monkeypatch):
    """The first tokens are right, those with a past are not."""
    real = Session.run

    def run(self, feeds, outputs=None):
        arrays = real(self, feeds, outputs)
        return [-array for array in arrays] if feeds.get("use_cache_branch", [False])[0] else arrays

    monkeypatch.setattr(Session, "run", run)
    with pytest.raises(ExportError, match=r"fp32 gives other answers than PyTorch on (\d+) of \1 texts"):
        export(str(tiny.checkpoint("bart", TASK)), tmp_path / "out", Silent(), verify_with=tiny.few_texts())


def test_an_answer_ends_where_pytorch_ends_it(tiny, monkeypatch):
    folder = tiny.checkpoint("t5", TASK)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    loaded = torchless_export.source.loading.LoadedModel(
        model, transformers.AutoTokenizer.from_pretrained(folder), ModelState(model)
    )
    decoder_input_ids, logits = torchless_export.verification.teacher_forcing.greedy_logits(loaded, "A film.")
    assert (len(decoder_input_ids), len(logits)) == (8, 8)
    model.config.eos_token_id = int(logits[2].argmax())
    shorter, _ = torchless_export.verification.teacher_forcing.greedy_logits(loaded, "A film.")
    assert len(shorter) == 1 + decoder_input_ids[1:].index(model.config.eos_token_id)
    assert shorter == decoder_input_ids[: len(shorter)]


def test_a_short_decoder_is_found(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    with (copy / "onnx/decoder_model_merged_q4.onnx").open("r+b") as file:
        file.truncate(1000)
    ModelFolder(copy).encoder_and_decoder("q8")
    with pytest.raises(CheckpointError, match="decoder_model_merged_q4.onnx is damaged: 1000 bytes"):
        ModelFolder(copy).encoder_and_decoder("q4")
    (copy / "onnx/decoder_model_merged_q4.onnx").unlink()
    with pytest.raises(
        CheckpointError, match=r"has no onnx/decoder_model_merged_q4\.onnx[\s\S]*It has dtype='fp32', dtype='q8'"
    ):
        ModelFolder(copy).encoder_and_decoder("q4")

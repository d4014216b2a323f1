"""Checkpoints of transformers 5, against what transformers 5.24 itself answers: its logits lie beside its checkpoints."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import torchless
from torchless.errors import ExportError
from torchless_export.export import Silent, export
from torchless_export.source.source import ReadOptions
from torchless_export.source.transformers5 import is_newer, readable_folder

DATA = Path(__file__).parents[2] / "data" / "transformers5"
NAMES = sorted(path.parent.name for path in DATA.glob("*/config.json"))
# The texts of make.py there.
TEXTS = ["A film of quiet power.", "<|im_start|>user\nIs it dull?<|im_end|>", "naïve café, 3,000 €!"]


def readable_config(tmp_path, **values):
    (tmp_path / "config.json").write_text(json.dumps({"transformers_version": "5.17.0", **values}))
    with readable_folder(tmp_path) as readable:
        return json.loads((readable / "config.json").read_text())


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory, tiny):
    out = tmp_path_factory.mktemp("transformers5") / request.param
    export(str(DATA / request.param), out, Silent(), verify_with=tiny.few_texts())
    return request.param, out


def test_the_logits_are_those_of_transformers_5(exported):
    name, out = exported
    task = torchless.pipeline(model=out).task
    model = getattr(torchless, task.auto_class).from_pretrained(out)
    with np.load(DATA / name / "logits.npz") as answers:
        for length in (8, 150):
            ids = (np.arange(length) % 250 + 10)[None]
            inputs = {"decoder_input_ids": ids[:, :7]} if task.encoder_decoder else {}
            logits = model(ids, **inputs).logits
            expected = answers[f"logits_{length}"]
            logits = logits if logits.ndim == 2 else logits[:, -expected.shape[1] :]
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_token_ids_are_those_of_transformers_5(exported):
    name, out = exported
    tokenizer = torchless.AutoTokenizer.from_pretrained(out)
    assert [tokenizer.encode(text) for text in TEXTS] == json.loads((DATA / name / "token_ids.json").read_text())


def test_a_checkpoint_of_version_4_is_read_as_it_is(tiny):
    folder = tiny.checkpoint("llama", "text-generation")
    with readable_folder(folder) as readable:
        assert readable == folder


def test_other_files_are_there_too():
    with readable_folder(DATA / "llama") as readable:
        assert {path.name for path in readable.iterdir()} == {path.name for path in (DATA / "llama").iterdir()}
    assert not readable.exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rope_theta": 5.0, "rope_type": "default"}, {"rope_theta": 5.0, "rope_scaling": None}),
        (
            {"rope_theta": 5.0, "rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5},
            {
                "rope_theta": 5.0,
                "partial_rotary_factor": 0.5,
                "rope_scaling": {"rope_type": "linear", "factor": 2.0},
            },
        ),
        (
            {"rope_theta": 5.0, "rope_type": "longrope", "original_max_position_embeddings": 64, "factor": 2.0},
            {
                "rope_theta": 5.0,
                "original_max_position_embeddings": 64,
                "rope_scaling": {"rope_type": "longrope", "factor": 2.0},
            },
        ),
        (
            {layer: {"rope_theta": 5.0, "rope_type": "default"} for layer in ("full_attention", "sliding_attention")},
            {"rope_theta": 5.0, "rope_scaling": None},
        ),
    ],
)
def test_rotary_parameters(tmp_path, values, expected):
    found = readable_config(tmp_path, model_type="llama", rope_parameters=values)
    assert found == {"model_type": "llama", "transformers_version": "5.17.0", **expected}


@pytest.mark.parametrize(
    ("model_type", "values"),
    [
        ("llama", {"rope_theta": 5.0, "rope_type": "proportional"}),
        ("llama", {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {"rope_theta": 6.0}}),
        ("llama", {"full_attention": {"rope_theta": 5.0}, "sliding_attention": None}),
        ("gemma3_text", {"full_attention": {"rope_theta": 5.0}}),
        (
            "gemma3_text",
            {
                "full_attention": {"rope_theta": 5.0},
                "sliding_attention": {"rope_theta": 6.0, "rope_type": "linear", "factor": 2.0},
            },
        ),
    ],
)
def test_rotary_parameters_that_version_4_cannot_express(tmp_path, model_type, values):
    with pytest.raises(ExportError, match="cannot express the rope_parameters"):
        readable_config(tmp_path, model_type=model_type, rope_parameters=values)


def test_unknown_keys_are_refused_by_name_unless_they_are_allowed(tmp_path, tiny):
    checkpoint = shutil.copytree(DATA / "bert", tmp_path / "checkpoint")
    config = checkpoint / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "window_of_attention": 4, "gates": False}))
    with pytest.raises(ExportError, match=r"does not know these keys of its config\.json: window_of_attention\."):
        export(str(checkpoint), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    export(
        str(checkpoint),
        tmp_path / "out",
        Silent(),
        verify_with=tiny.few_texts(),
        read_options=ReadOptions(allow_unknown_config=True),
    )


def test_keys_that_only_the_code_of_a_model_reads_are_known(tmp_path):
    values = {"model_type": "deberta-v2", "share_att_key": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm"}
    assert readable_config(tmp_path, **values) == {"transformers_version": "5.17.0", **values}


def test_layers_of_modernbert_that_version_4_cannot_express(tmp_path):
    layers = ["full_attention", "full_attention", "sliding_attention"]
    with pytest.raises(ExportError, match="layer_types"):
        readable_config(tmp_path, model_type="modernbert", layer_types=layers, global_attn_every_n_layers=3)


@pytest.mark.parametrize(
    ("version", "newer"), [("5.0.0", True), ("5.24.0.dev0", True), ("4.57.6", False), (None, False), ("new", False)]
)
def test_versions(version, newer):
    assert is_newer({"transformers_version": version}) is newer

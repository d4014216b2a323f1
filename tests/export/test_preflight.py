import json
import shutil
from typing import NamedTuple

import pytest
import transformers

from torchless import ExportError
from torchless.errors import ExportWarning
from torchless.tasks import find_task
from torchless_export import export as export_module
from torchless_export.converters.optimum import check_supported
from torchless_export.export import Silent, export
from torchless_export.preflight import check_disk, warn_of_generation
from torchless_export.source.source import find_source


class Usage(NamedTuple):
    """What `shutil.disk_usage` answers."""

    free: float


@pytest.fixture
def no_weights(monkeypatch):
    """Nothing may be loaded."""
    monkeypatch.setattr(export_module, "load", None)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("model_type", "task", "message"),
    [
        (
            "funnel",
            "text-classification",
            r"does not know the architecture 'funnel'\.\n  .*another architecture.* Valid: albert, .*bert",
        ),
        ("mpnet", "multiple-choice", None),
        ("longformer", "text-classification", r"takes global_attention_mask, and no text gives that"),
        ("gpt2", "fill-mask", r"does not know 'gpt2' for fill-mask\.\n  .*--task.*It knows: feature-extraction, "),
        ("t5", "text-ranking", r"does not know 't5' for text-ranking\.\n  .*text2text-generation"),
    ],
)
def test_architectures(tmp_path, tiny, model_type, task, message):
    if message is None:
        check_supported(model_type, find_task(task))
        return
    checkpoint = shutil.copytree(tiny.checkpoint("bert", "feature-extraction"), tmp_path / "checkpoint")
    (checkpoint / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ExportError, match=message):
        export(str(checkpoint), tmp_path / "out", Silent(), task=task)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"architectures": ["LongformerForMaskedLM"]}, r"LongformerForMaskedLM: \"model_type\": \"longformer\""),
        ({"architectures": ["NoSuchModel"]}, "as in .model_type"),
        ({}, "as in .model_type"),
    ],
)
def test_a_configuration_without_a_model_type(tmp_path, tiny, config, hint):
    """transformers takes the name of any architecture in the folder's path for it."""
    checkpoint = shutil.copytree(tiny.checkpoint("bert", "feature-extraction"), tmp_path / "albert")
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=rf"has no model_type, as those of old checkpoints\.\n?.*\n?.*{hint}"):
        export(str(checkpoint), tmp_path / "out", Silent(), task="fill-mask")
    assert not (tmp_path / "out").exists()


def test_a_typing_error_is_seen():
    with pytest.raises(ExportError, match="Did you mean 'roberta'"):
        check_supported("robertta", find_task("fill-mask"))


class TestDisk:
    """What the weights take in fp32, twice, and once more a variant."""

    @pytest.fixture
    def source(self, tiny, tmp_path):
        return find_source(str(shutil.copytree(tiny.checkpoint("bert", "feature-extraction"), tmp_path / "checkpoint")))

    @pytest.fixture
    def parameters(self, source):
        model = transformers.AutoModel.from_pretrained(source.folder)
        return sum(parameter.numel() for parameter in model.parameters())

    @pytest.mark.parametrize("dtypes", [("fp32",), ("fp32", "fp16", "q8")])
    @pytest.mark.parametrize(("task", "copies"), [("feature-extraction", 2), ("summarization", 4)])
    def test_the_limit(self, source, parameters, tmp_path, monkeypatch, dtypes, task, copies):
        needed_bytes = 4 * parameters * (copies + len(dtypes) - 1)
        folders = []

        def disk_usage(folder):
            folders.append(folder)
            return Usage(free_bytes)

        monkeypatch.setattr("shutil.disk_usage", disk_usage)
        free_bytes = needed_bytes
        check_disk(source, find_task(task), tmp_path / "not" / "yet" / "out", dtypes)
        free_bytes = needed_bytes - 1
        with pytest.raises(
            ExportError, match=r"needs about \d\.\d GB in .*, which has \d\.\d GB free[\s\S]*Free .* GB"
        ):
            check_disk(source, find_task(task), tmp_path / "not" / "yet" / "out", dtypes)
        assert folders == [tmp_path, tmp_path]

    def test_half_precision_counts_as_fp32(self, source, parameters, tmp_path, monkeypatch):
        transformers.AutoModel.from_pretrained(source.folder).half().save_pretrained(source.folder)
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(8 * parameters - 1))
        with pytest.raises(ExportError, match="The export needs"):
            check_disk(source, find_task("feature-extraction"), tmp_path / "out", ("fp32",))

    @pytest.mark.usefixtures("no_weights")
    def test_before_anything_is_written(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1000))
        with pytest.raises(ExportError, match=r"0\.0 GB free"):
            export(str(source.folder), tmp_path / "models" / "out", Silent())
        assert not (tmp_path / "models").exists()


def test_generation_settings_that_torchless_cannot_use_have_a_warning(tiny, tmp_path):
    checkpoint = shutil.copytree(tiny.checkpoint("llama", "text-generation"), tmp_path / "checkpoint")
    (checkpoint / "generation_config.json").write_text('{"penalty_alpha": 0.6, "top_k": 4}')
    with pytest.warns(ExportWarning, match=r"generation_config.json of .*Contrastive search.*penalty_alpha=None"):
        warn_of_generation(find_source(str(checkpoint)))

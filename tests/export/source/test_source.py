import json
import os
import shutil

import pytest
import torch
import transformers
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from torchless import CheckpointError, ExportError, ExportWarning, pipeline
from torchless.tasks import find_task
from torchless_export.export import Silent, export
from torchless_export.preflight import preflight
from torchless_export.source import loading
from torchless_export.source.loading import load
from torchless_export.source.source import ReadOptions, find_source

CLASSIFICATION = find_task("text-classification")


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A checkpoint to change."""
    return shutil.copytree(tiny.checkpoint("bert", CLASSIFICATION.name, num_labels=3), tmp_path / "checkpoint")


@pytest.fixture
def adapter(tiny, tmp_path):
    """A LoRA adapter over a base without a head."""
    base = tiny.checkpoint("bert", "feature-extraction")
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["query"])
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def pickle_weights(folder, name, stem):
    """Put pickled weights in the place of safetensors."""
    torch.save(load_file(folder / f"{stem}.safetensors"), folder / name)
    (folder / f"{stem}.safetensors").unlink()


class TestPickles:
    """Read only when that is allowed and nothing better is there; never in silence."""

    def test_safetensors_are_preferred_even_if_pickles_are_allowed(self, checkpoint, out):
        (checkpoint / "pytorch_model.bin").write_bytes(b"not to be read")
        source = find_source(str(checkpoint), ReadOptions(allow_pickle=True))
        preflight(source, CLASSIFICATION, out, ("fp32",))
        assert load(source, CLASSIFICATION).model.num_labels == 3

    def test_a_pickled_checkpoint(self, checkpoint, out):
        pickle_weights(checkpoint, "pytorch_model.bin", "model")
        with pytest.raises(ExportError, match=r"only pytorch_model.bin[\s\S]*--allow-pickle"):
            find_source(str(checkpoint))
        source = find_source(str(checkpoint), ReadOptions(allow_pickle=True))
        with pytest.warns(ExportWarning, match="Reading PICKLED weights of .*checkpoint.*: pytorch_model.bin"):
            preflight(source, CLASSIFICATION, out, ("fp32",))
        assert load(source, CLASSIFICATION).model.num_labels == 3

    def test_a_pickled_adapter(self, adapter, out):
        pickle_weights(adapter, "adapter_model.bin", "adapter_model")
        with pytest.raises(ExportError, match=r"only adapter_model.bin[\s\S]*--allow-pickle"):
            find_source(str(adapter))
        source = find_source(str(adapter), ReadOptions(allow_pickle=True))
        with pytest.warns(ExportWarning, match="Reading PICKLED weights of .*adapter.*: adapter_model.bin"):
            preflight(source, CLASSIFICATION, out, ("fp32",))
        assert load(source, CLASSIFICATION).model.num_labels == 3

    def test_no_weights_at_all(self, checkpoint):
        (checkpoint / "model.safetensors").unlink()
        with pytest.raises(ExportError, match=r"has no safetensors weights\.[\s\S]*save_pretrained"):
            find_source(str(checkpoint), ReadOptions(allow_pickle=True))


class TestRandomHeads:
    """Refused, or warned of."""

    def test_an_adapter_that_brings_no_head(self, adapter):
        weights = {
            name: value
            for name, value in load_file(adapter / "adapter_model.safetensors").items()
            if "classifier" not in name
        }
        save_file(weights, adapter / "adapter_model.safetensors")
        settings = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(
            json.dumps({**settings, "modules_to_save": None, "task_type": None})
        )
        source = find_source(str(adapter))
        with pytest.raises(
            ExportError, match=r"no weights for text-classification: classifier.bias, classifier.weight"
        ):
            load(source, CLASSIFICATION)
        with pytest.warns(ExportWarning, match="RANDOM weights"):
            load(find_source(str(adapter), ReadOptions(allow_random_head=True)), CLASSIFICATION)

    def test_of_many_weights_some_are_named(self, checkpoint):
        weights = load_file(checkpoint / "model.safetensors")
        kept = {name: value for name, value in weights.items() if ".layer.0." not in name}
        save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})
        lacking = len(weights) - len(kept)
        with pytest.raises(ExportError, match=rf"no weights for .*: bert\.encoder.* and {lacking - 8} more\."):
            load(find_source(str(checkpoint)), CLASSIFICATION)

    def test_an_adapter_that_brings_its_head(self, adapter):
        assert load(find_source(str(adapter)), CLASSIFICATION).model.num_labels == 3


class TestTokenizers:
    """What is wrong with a tokenizer is said before weights are loaded."""

    @pytest.fixture(autouse=True)
    def no_weights(self, monkeypatch):
        monkeypatch.setattr(loading, "_from_pretrained", None)

    def test_none(self, checkpoint):
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            (checkpoint / name).unlink()
        with pytest.raises(ExportError, match=r"has no tokenizer[\s\S]*Put tokenizer.json"):
            load(find_source(str(checkpoint)), CLASSIFICATION)

    def test_damaged(self, checkpoint):
        (checkpoint / "tokenizer.json").write_text("{}")
        with pytest.raises(ExportError, match="The tokenizer of .* cannot be loaded"):
            load(find_source(str(checkpoint)), CLASSIFICATION)


def test_slow_files_alone(checkpoint):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (checkpoint / name).unlink()
    assert load(find_source(str(checkpoint)), CLASSIFICATION).tokenizer.is_fast


CONFIGURATION = """
from transformers import BertConfig


class MineConfig(BertConfig):
    model_type = "bert"

    def __init__(self, **kwargs):
        kwargs.pop("model_type", None)
        super().__init__(**kwargs)
"""
MODELING = """
from transformers import BertForSequenceClassification

from .configuration_mine import MineConfig


class MineForSequenceClassification(BertForSequenceClassification):
    config_class = MineConfig
"""
TOKENIZATION = """
from transformers import BertTokenizerFast


class MineTokenizer(BertTokenizerFast):
    pass
"""


class TestCode:
    """Code that a checkpoint brings runs only for who asks for it by name."""

    @pytest.fixture(autouse=True)
    def modules(self, tmp_path, monkeypatch):
        """Where transformers copies such code to; and nobody answers its questions."""
        monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
        monkeypatch.syspath_prepend(str(tmp_path / "modules"))
        monkeypatch.setattr("builtins.input", None)

    @staticmethod
    def change(path, **values):
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    @pytest.fixture
    def mine(self, checkpoint):
        """A checkpoint whose configuration and model are code of its own."""
        (checkpoint / "configuration_mine.py").write_text(CONFIGURATION)
        (checkpoint / "modeling_mine.py").write_text(MODELING)
        classes = {
            "AutoConfig": "configuration_mine.MineConfig",
            "AutoModelForSequenceClassification": "modeling_mine.MineForSequenceClassification",
        }
        self.change(checkpoint / "config.json", model_type="mine", auto_map=classes)
        return checkpoint

    def test_refused(self, mine, out):
        with pytest.raises(
            ExportError,
            match=r"running code that it brings: configuration_mine.py, modeling_mine.py\.[\s\S]*--trust-remote-code",
        ):
            export(str(mine), out, Silent())
        assert not out.parent.joinpath("modules").exists()

    def test_let_through_with_a_warning(self, mine, out):
        with pytest.warns(ExportWarning, match="Running CODE of .*: configuration_mine.py, modeling_mine.py"):
            manifest, _ = export(str(mine), out, Silent(), read_options=ReadOptions(trust_remote_code=True))
        assert set(manifest.source["files"]) >= {"configuration_mine.py", "modeling_mine.py"}
        assert len(pipeline("text-classification", out, top_k=None)("A film.")[0]) == 3

    def test_a_head_alone(self, mine, out):
        classes = {"AutoModelForMultipleChoice": "modeling_mine.MineForMultipleChoice"}
        self.change(mine / "config.json", model_type="clip_text_model", auto_map=classes)
        with pytest.raises(ExportError, match=r"brings: modeling_mine.py\.[\s\S]*--trust-remote-code"):
            export(str(mine), out, Silent(), task="multiple-choice")

    def test_a_tokenizer(self, checkpoint, out):
        (checkpoint / "tokenization_mine.py").write_text(TOKENIZATION)
        classes = {"AutoTokenizer": [None, "tokenization_mine.MineTokenizer"]}
        config = checkpoint / "tokenizer_config.json"
        self.change(config, tokenizer_class="MineTokenizer", auto_map=classes)
        with pytest.raises(ExportError, match=r"brings: tokenization_mine.py\.[\s\S]*--trust-remote-code"):
            load(find_source(str(checkpoint)), CLASSIFICATION)
        trusted = find_source(str(checkpoint), ReadOptions(trust_remote_code=True))
        with pytest.warns(ExportWarning, match="Running CODE of .*: tokenization_mine.py"):
            preflight(trusted, CLASSIFICATION, out, ("fp32",))
        loaded = load(trusted, CLASSIFICATION)
        assert type(loaded.tokenizer).__name__ == "MineTokenizer"

        self.change(config, tokenizer_class="BertTokenizer")
        native = load(find_source(str(checkpoint)), CLASSIFICATION)
        assert type(native.tokenizer).__name__ == "BertTokenizerFast"

    def test_code_of_another_repository_is_named(self, checkpoint):
        classes = {"AutoModel": "someone/else--modeling_mine.Mine"}
        self.change(checkpoint / "config.json", auto_map=classes)
        assert find_source(str(checkpoint)).code() == ["someone/else/modeling_mine.py"]

    def test_an_architecture_that_transformers_knows_needs_none(self, mine, out):
        self.change(mine / "config.json", model_type="bert")
        (mine / "modeling_mine.py").write_text("raise SystemError")
        assert export(str(mine), out, Silent())[1]


class TestBadFolders:
    """Each is refused in a sentence, before PyTorch is loaded."""

    def change(self, folder, name, **values):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    def test_an_adapter_over_itself(self, adapter):
        self.change(adapter, "adapter_config.json", base_model_name_or_path=str(adapter))
        with pytest.raises(ExportError, match=r"is an adapter over it\.[\s\S]*--base-model"):
            find_source(str(adapter))

    def test_adapters_over_each_other(self, adapter):
        other = shutil.copytree(adapter, adapter.with_name("other"))
        self.change(adapter, "adapter_config.json", base_model_name_or_path=str(other))
        self.change(other, "adapter_config.json", base_model_name_or_path=str(adapter))
        with pytest.raises(ExportError, match="is an adapter over it"):
            find_source(str(adapter))

    @pytest.mark.parametrize("base", [5, [], {"x": 1}, None])
    def test_a_base_that_is_no_name(self, adapter, base):
        self.change(adapter, "adapter_config.json", base_model_name_or_path=base)
        with pytest.raises(ExportError, match="does not say what it was trained over"):
            find_source(str(adapter))

    @pytest.mark.parametrize("kind", [5, ["SEQ_CLS"], None])
    def test_an_adapter_of_no_known_task(self, adapter, kind):
        self.change(adapter, "adapter_config.json", task_type=kind)
        with pytest.raises(ExportError, match="--task"):
            find_source(str(adapter)).task()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("architectures", [5]),
            ("architectures", "Bert"),
            ("model_type", ["bert"]),
            ("num_labels", 1e9),
            ("id2label", ["a"]),
        ],
    )
    def test_a_value_that_is_not_possible(self, checkpoint, name, value):
        self.change(checkpoint, "config.json", **{name: value})
        with pytest.raises(CheckpointError, match=f"config.json has {name} = "):
            find_source(str(checkpoint))

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
    def test_a_pipe(self, checkpoint, name):
        (checkpoint / name).unlink()
        os.mkfifo(checkpoint / name)
        with pytest.raises(CheckpointError, match=f"{name} is a pipe or a device"):
            find_source(str(checkpoint))

    def test_code_of_another_type(self, checkpoint):
        self.change(checkpoint, "config.json", auto_map=["mine.Model"])
        assert find_source(str(checkpoint)).code() == ["mine.py"]

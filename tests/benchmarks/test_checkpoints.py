"""Cached checkpoints: they are made again when their sources change."""

import pytest
from benchmarks import checkpoints
from benchmarks.checkpoints import CHECKPOINTS, key


@pytest.fixture
def changed_by(monkeypatch):
    """Return the checkpoints whose key changes when files change."""

    def call(path):
        before = {name: key(name) for name in CHECKPOINTS}
        real = checkpoints._files
        key.cache_clear()
        monkeypatch.setattr(
            checkpoints, "_files", lambda sources: [file for file in real(sources) if path not in str(file)]
        )
        after = {name: key(name) for name in CHECKPOINTS}
        monkeypatch.undo()
        key.cache_clear()
        return {name for name in CHECKPOINTS if before[name] != after[name]}

    return call


def test_a_change_of_the_export_changes_its_folders_and_their_conversions(changed_by):
    exported = {name for name in CHECKPOINTS if name.endswith("-torchless")}
    assert changed_by("torchless_export/quantization/variants.py") == exported | {"sentiment-openvino"}


def test_a_change_of_the_random_weights_changes_all_conversions_of_the_models(changed_by):
    random_models = ("distilbert", "gpt2", "llama", "t5", "bart")
    assert changed_by("random_weights.py") == {name for name in CHECKPOINTS if name.startswith(random_models)}

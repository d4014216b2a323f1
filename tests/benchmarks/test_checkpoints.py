"""Kept checkpoints: made again when what they are made of changes."""

import pytest
from benchmarks import checkpoints
from benchmarks.checkpoints import CHECKPOINTS, key


@pytest.fixture
def edited(monkeypatch):
    """Return the checkpoints whose key another content of some files changes."""

    def call(named):
        before = {name: key(name) for name in CHECKPOINTS}
        real = checkpoints._files
        key.cache_clear()
        monkeypatch.setattr(
            checkpoints, "_files", lambda sources: [one for one in real(sources) if named not in str(one)]
        )
        after = {name: key(name) for name in CHECKPOINTS}
        monkeypatch.undo()
        key.cache_clear()
        return {name for name in CHECKPOINTS if before[name] != after[name]}

    return call


def test_a_change_of_the_export_makes_its_own_folders_again_and_what_comes_of_them(edited):
    ours = {name for name in CHECKPOINTS if name.endswith("-torchless")}
    assert edited("torchless_export/quantization/variants.py") == ours | {"sentiment-openvino"}


def test_a_change_of_the_weights_makes_that_model_again_for_everyone(edited):
    random = ("distilbert", "gpt2", "llama", "t5", "bart")
    assert edited("random_weights.py") == {name for name in CHECKPOINTS if name.startswith(random)}

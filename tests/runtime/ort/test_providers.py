import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from torchless.errors import OptionError
from torchless.ort import providers
from torchless.ort.session import Session


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed plug-in with a single device, as the packages of that kind are made."""
    package = tmp_path / "onnxruntime_ep_quick"
    package.mkdir()
    (package / "__init__.py").write_text("def get_library_path():\n    return 'libquick.so'\n")
    monkeypatch.syspath_prepend(tmp_path)
    registered = []
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda *library: registered.append(library))
    devices = [SimpleNamespace(ep_name="CPUExecutionProvider"), SimpleNamespace(ep_name="QuickExecutionProvider")]
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: devices)
    providers._registered_plugins.cache_clear()
    yield registered
    providers._registered_plugins.cache_clear()
    sys.modules.pop("onnxruntime_ep_quick", None)


@pytest.mark.parametrize("requested", [None, "cpu", "CPUExecutionProvider", ["CPU"], ()])
def test_the_cpu_by_any_name(requested):
    assert providers.chosen_providers(requested) == ("CPUExecutionProvider",)


def test_a_plug_in_is_one_argument(plugin):
    names = providers.chosen_providers("quick")
    assert names == ("QuickExecutionProvider", "CPUExecutionProvider")
    assert plugin == [("onnxruntime_ep_quick", "libquick.so")]
    chosen = []
    settings = SimpleNamespace(add_provider_for_devices=lambda devices, options: chosen.extend(devices))
    assert providers.use_providers(settings, names) is None
    assert [device.ep_name for device in chosen] == list(names)


def test_built_in_providers_are_passed_to_the_session():
    assert providers.use_providers(None, ["CPUExecutionProvider"]) == ["CPUExecutionProvider"]


def test_the_error_for_an_unknown_provider_names_the_available_providers(sentiment):
    with pytest.raises(OptionError, match="no execution provider 'cpuu' here") as raised:
        Session(sentiment / "onnx/model.onnx", providers="cpuu")
    assert "CPUExecutionProvider" in raised.value.hint


def test_a_plug_in_without_a_device_is_named(plugin):
    with pytest.raises(OptionError, match="Installed, with no device here: onnxruntime_ep_quick"):
        providers.chosen_providers("quicker")


def test_another_provider_of_this_build_computes_too(sentiment):
    other = next((item for item in onnxruntime.get_available_providers() if item != "CPUExecutionProvider"), None)
    if other is None:
        pytest.skip("this build of ONNX Runtime has the CPU alone")
    session = Session(sentiment / "onnx/model.onnx", providers=[other])
    assert not session.on_cpu
    ids = np.full((1, 5), 2000)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert session.run(feeds)[0].shape == (1, 2)


def test_a_provider_that_cannot_start_is_an_error(sentiment, monkeypatch):
    cuda = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr("torchless.ort.session.chosen_providers", lambda _: cuda)
    monkeypatch.setattr("torchless.ort.session.use_providers", lambda *_: ["CPUExecutionProvider"])
    with pytest.raises(OptionError, match="CUDAExecutionProvider could not start"):
        Session(sentiment / "onnx/model.onnx", providers="cuda")

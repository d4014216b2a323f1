import tomllib

import pytest

from torchless.errors import OptionError
from torchless.server.settings import ModelSettings, Settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text(
        'port = 1\nhost = "file"\ndtype = "q8"\n[models]\na = "models/a"\nb = {folder = "b", dtype = "fp32"}\n'
    )
    return path


def test_flags_outdo_the_environment_and_that_the_file(file):
    settings = Settings.load({"port": 3, "host": None}, {"TORCHLESS_PORT": "2", "TORCHLESS_HOST": "environment"}, file)
    assert (settings.port, settings.host, settings.dtype, settings.payload_limit) == (3, "environment", "q8", 2_000_000)
    assert settings.models == {"a": ModelSettings(folder="models/a"), "b": ModelSettings(folder="b", dtype="fp32")}


def test_models_have_names(tmp_path):
    (tmp_path / "sentiment").mkdir()
    given = {"models": [str(tmp_path / "sentiment"), "other=x/y", "user/model"]}
    folders = {name: model.folder for name, model in Settings.load(given, {}).models.items()}
    assert folders == {"sentiment": str(tmp_path / "sentiment"), "other": "x/y", "model": "user/model"}
    assert list(Settings.load({}, {"TORCHLESS_MODELS": "a=b c=d"}).models) == ["a", "c"]


@pytest.mark.parametrize(
    ("given", "name"), [("models/current", "current"), ("models/current/", "current"), ("models/v3/..", "models")]
)
def test_a_folder_has_the_name_that_it_was_given(tmp_path, monkeypatch, given, name):
    (tmp_path / "models" / "v3").mkdir(parents=True)
    (tmp_path / "models" / "current").symlink_to("v3")
    monkeypatch.chdir(tmp_path)
    assert list(Settings.load({"models": [given]}, {}).models) == [name]


def test_what_is_printed_can_be_read_but_for_the_key(file):
    settings = Settings.load({"cors_allow_origin": ["https://a.b"]}, {"TORCHLESS_API_KEY": "hidden"}, file)
    assert "hidden" not in settings.printed()
    again = tomllib.loads(settings.printed())
    assert Settings.load(again | {"api_key": "hidden"}, {}) == settings


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"port": 70000}, "port"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
        ({"request_timeout_s": "soon"}, "request_timeout_s"),
        ({"log_format": "xml"}, "log_format"),
        ({"models": ["a=b", "a=c"]}, "'a=c'"),
        ({"ports": 1}, "'port'"),
    ],
)
def test_impossible_values_are_named(flags, says):
    with pytest.raises(OptionError, match=says):
        Settings.load(flags, {})


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        Settings.load({}, {}, tmp_path / "none.toml")

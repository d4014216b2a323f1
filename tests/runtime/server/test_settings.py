import importlib.util
import sys
import tomllib
from itertools import chain
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from torchless.errors import MissingExtraError, OptionError
from torchless.server.command import add_serve_command
from torchless.server.settings import ModelSettings, Settings, setting_infos


def application():
    app = typer.Typer()
    app.callback()(lambda: None)
    add_serve_command(app)
    return app


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "serve.toml"
    path.write_text(
        'port = 1\nhost = "file"\ndtype = "q8"\n[models]\na = "models/a"\nb = {folder = "b", dtype = "fp32"}\n'
    )
    return path


def test_flags_override_the_environment_which_overrides_the_file(file):
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
def test_a_model_has_the_last_name_of_its_path(tmp_path, monkeypatch, given, name):
    (tmp_path / "models" / "v3").mkdir(parents=True)
    (tmp_path / "models" / "current").symlink_to("v3")
    monkeypatch.chdir(tmp_path)
    assert list(Settings.load({"models": [given]}, {}).models) == [name]


def test_printed_settings_can_be_read_again_except_for_the_key(file):
    settings = Settings.load({"cors_allow_origin": ["https://a.b"]}, {"TORCHLESS_API_KEY": "hidden"}, file)
    assert "hidden" not in settings.to_toml()
    again = tomllib.loads(settings.to_toml())
    assert Settings.load(again | {"api_key": "hidden"}, {}) == settings


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"port": 70000}, "port"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
        ({"request_timeout_s": "soon"}, "request_timeout_s"),
        ({"request_timeout_s": "nan"}, "request_timeout_s"),
        ({"request_timeout_s": "inf"}, "request_timeout_s"),
        ({"keep_alive_timeout_s": "1e10"}, "keep_alive_timeout_s"),
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"log_format": "xml"}, "log_format"),
        ({"models": ["a=b", "a=c"]}, "'a=c'"),
        ({"ports": 1}, "'port'"),
    ],
)
def test_impossible_values_have_a_message(flags, message):
    with pytest.raises(OptionError, match=message):
        Settings.load(flags, {})


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        Settings.load({}, {}, tmp_path / "none.toml")


def test_the_page_has_the_current_table():
    path = Path(__file__).parents[3] / "docs" / "settings_table.py"
    spec = importlib.util.spec_from_file_location("settings_table", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = script.PAGE.read_text(encoding="utf-8")
    assert page == script.with_table(page), "run: .venv/bin/python docs/settings_table.py"


def test_each_setting_is_a_flag_with_its_description_and_default():
    result = CliRunner().invoke(application(), ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    shown = " ".join(result.output.split())
    for info in setting_infos():
        assert info.description
        if info.name != "models":
            assert info.flag in shown
            assert " ".join(info.description.split()) in shown.replace(" │ │ ", " ")
            assert info.default is None or info.default in shown


def test_each_flag_reaches_the_settings():
    flags = {"--dtype": "q8", "--threads": "3", "--host": "::1", "--port": "9", "--max-concurrent-requests": "4"}
    flags |= {
        "--max-batch-tokens": "5",
        "--max-client-batch-size": "6",
        "--payload-limit": "7",
        "--max-buffered-bytes": "9",
        "--keep-alive-timeout-s": "90.5",
        "--max-input-length": "8",
        "--max-request-tokens": "9",
        "--max-answer-values": "10",
    }
    flags |= {"--request-timeout-s": "1.5", "--api-key": "k", "--cors-allow-origin": "*", "--log-format": "none"}
    switches = {"--log-inputs", "--open-telemetry"}
    assert {info.flag for info in setting_infos()} - {"--models"} == flags.keys() | switches
    arguments = ["serve", "name=folder", *chain(*flags.items()), *switches, "--print-config"]
    printed = tomllib.loads(CliRunner().invoke(application(), arguments).output)
    settings = Settings.load(printed | {"api_key": "k"}, {})
    values = {f"--{name.replace('_', '-')}": value for name, value in msgspec.to_builtins(settings).items()}
    assert {flag: str(values[flag]) for flag in flags} == {**flags, "--cors-allow-origin": "['*']"}
    assert all(values[flag] is True for flag in switches)


def test_without_the_extra_the_command_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchless.server.settings", None)
    result = CliRunner().invoke(application(), ["serve", "models/sentiment", "--port", "1"])
    assert isinstance(result.exception, MissingExtraError)
    assert "torchless[serve]" in str(result.exception)

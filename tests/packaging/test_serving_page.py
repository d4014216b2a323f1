"""What the page about serving and its examples say is what the server does."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.request import urlopen

import httpx
import pytest
import yaml
from fixtures.server import configuration, serving

from torchless.server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples" / "serving"
DOCKERFILE, UNIT, KUBERNETES = (
    (EXAMPLES / name).read_text(encoding="utf-8") for name in ("Dockerfile", "torchless.service", "kubernetes.yaml")
)
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("serving", "hugging-face", "text-embeddings", "openai", "inference-protocol")
]
LINES = [
    pytest.param(line, id=f"{page.name}:{number}")
    for page in PAGES
    for number, line in enumerate(
        re.findall(r"^\$ (.*)$", page.read_text(encoding="utf-8").replace("\\\n", ""), re.MULTILINE)
    )
]
COMMANDS = [
    *(param for param in LINES if param.values[0].startswith("torchless ")),
    pytest.param(shlex.join(json.loads(re.search(r"ENTRYPOINT (.*)", DOCKERFILE)[1])), id="Dockerfile"),
    pytest.param(re.search(r"ExecStart=\S+/(torchless .*)", UNIT)[1], id="torchless.service"),
]


def settings_file():
    return re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def url(sentiment, embeddings, tiny, tmp_path_factory):
    """A server of what the pages ask."""
    folders = {
        "sentiment": sentiment,
        "embeddings": embeddings,
        "ranker": tiny.export("bert", "text-classification", num_labels=1),
        "chat": tiny.export("qwen3", "text-generation"),
    }
    file = configuration(tmp_path_factory.mktemp("serve") / "serve.toml", folders, {"ranker": "text-ranking"})
    with serving("--config", file) as server:
        yield server.url


@pytest.mark.parametrize("name", [name for name in Settings.__struct_fields__ if name != "models"])
def test_the_table_has_each_setting_with_its_default(name):
    default = getattr(Settings(), name)
    shown = "" if default in (None, False, []) else f"`{default:.0f}`" if isinstance(default, float) else f"`{default}`"
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `--{name.replace('_', '-')}`"))
    assert f"`TORCHLESS_{name.upper()}`" in row
    assert shown in row.split(" | ")[2]


def test_the_file_of_settings_is_one(tmp_path):
    text = settings_file()
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    settings = Settings.load({}, {}, file)
    assert (settings.port, settings.models["embeddings"].dtype) == (tomllib.loads(text)["port"], "q8")


@pytest.mark.parametrize("line", [param for param in LINES if param.values[0].startswith("curl ")])
def test_what_the_pages_ask_is_answered(line, url):
    _, *words = shlex.split(re.sub(r"(http://)?(localhost|127\.0\.0\.1):8000", url, line))
    headers, body, addresses = {"Content-Type": "application/x-www-form-urlencoded"}, None, []  # as curl sends it
    while words:
        match words.pop(0):
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-d":
                body = words.pop(0)
            case "-s":
                pass
            case address:
                addresses.append(address)
    (address,) = addresses
    answer = httpx.request("GET" if body is None else "POST", address, content=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_serves_is_one(command, tmp_path):
    (tmp_path / "serve.toml").write_text(settings_file(), encoding="utf-8")
    _, *words = shlex.split(command.replace("/etc/torchless/", ""))
    script = "from torchless.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", script, *words, "--print-config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert tomllib.loads(result.stdout)["models"]


def test_what_the_dockerfile_copies_is_there():
    copied = [path for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for path in line.split()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *packages}
    assert {path for path in needed if not any(path.startswith(prefix) for prefix in copied)} == set()
    assert all((ROOT / path).exists() for path in copied if path != "${MODEL}")
    for extras in re.findall(r"EXTRAS=(\S+)", DOCKERFILE):
        assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()


def test_a_stop_leaves_time_for_what_was_admitted():
    deployment, service = yaml.safe_load_all(KUBERNETES)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    waits_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits_s + Settings().request_timeout_s
    assert int(re.search(r"TimeoutStopSec=(\d+)", UNIT)[1]) > Settings().request_timeout_s
    (port,) = {port["containerPort"] for port in container["ports"]}
    assert f'"--port", "{port}"' in DOCKERFILE
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {port}
    assert str(container["securityContext"]["runAsUser"]) == re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[1]


def test_the_examples_set_what_there_is_to_set():
    named = set(re.findall(r"TORCHLESS_(\w+)", DOCKERFILE + UNIT + KUBERNETES))
    assert named
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)


def test_what_the_examples_probe_is_served(server):
    deployment, _ = yaml.safe_load_all(KUBERNETES)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probed = {probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    probed |= set(re.findall(r"127\.0\.0\.1:8080(/\w+)", DOCKERFILE))
    assert probed
    for path in probed:
        with urlopen(f"{server.url}{path}", timeout=10) as response:
            assert response.status == 200

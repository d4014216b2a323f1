"""What the page about serving and its examples say is what the server does."""

import re
import tomllib
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from torchless.server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples" / "serving"


@pytest.mark.parametrize("name", [name for name in Settings.__struct_fields__ if name != "models"])
def test_the_table_has_each_setting_with_its_default(name):
    default = getattr(Settings(), name)
    shown = "" if default in (None, False, []) else f" {default:g}" if isinstance(default, float) else f" {default}"
    assert f"`--{name.replace('_', '-')}{shown}`" in PAGE
    assert f"`TORCHLESS_{name.upper()}`" in PAGE


def test_the_file_of_settings_is_one(tmp_path):
    text = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL).group(1)
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    settings = Settings.load({}, {}, file)
    assert (settings.port, settings.models["embeddings"].dtype) == (tomllib.loads(text)["port"], "q8")


def test_what_the_examples_probe_is_served(server):
    deployment, _ = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probed = {probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    probed |= set(re.findall(r"127\.0\.0\.1:8080(/\w+)", (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")))
    assert probed
    for path in probed:
        with urlopen(f"{server.url}{path}", timeout=10) as response:
            assert response.status == 200

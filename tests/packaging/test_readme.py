"""The Python in the README and the docs runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_it_runs(block, sentiment, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sentiment").symlink_to(sentiment)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    for expected in re.findall(r"^# (\[\{.*)$", block, re.MULTILINE):
        assert expected.partition("...")[0] in result.stdout


def test_the_readme_starts_with_the_two_commands():
    first = re.search(r"```console\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["$ make export", "$ make test"]


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""A fixture that runs tests with the newest clients, in a separate environment."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def newest_clients(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that runs a file's tests with the newest clients, on a server from the wheel with the newest packages."""
    python = request.config.getoption("--clients-python", None)
    if python is None:
        pytest.skip("give --clients-python, as `make test` does")

    def run(file: str) -> None:
        exported = {name: request.getfixturevalue(name) for name in ("sentiment", "embeddings")}
        exported["tiny"] = request.getfixturevalue("tiny").folder
        result = subprocess.run(
            [
                Path(python).absolute(), "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "fixtures.exported",
                *(f"--{name}={folder}" for name, folder in exported.items()),
                f"--confcutdir={Path(file).parent}", "-k", "not newest_clients", file,
            ],
            cwd=ROOT / "tests",
            env={**os.environ, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr

    return run

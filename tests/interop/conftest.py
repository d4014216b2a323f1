"""The tests with Node are there once it has its packages: `make interop` installs them first."""

from pathlib import Path

collect_ignore = [] if (Path(__file__).parent / "node" / "node_modules").is_dir() else ["test_transformers_js.py"]

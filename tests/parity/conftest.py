"""Fixtures that make the pipeline of transformers and ours on the same checkpoint."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers
from fixtures.checkpoints import TinyModels
from fixtures.comparison import Both

import torchless


@pytest.fixture(scope="session")
def reference() -> Callable[..., Any]:
    """`transformers.pipeline` on a checkpoint; each pipeline is made once."""

    @cache
    def load(task: str, checkpoint: Path, **options: Any) -> Any:
        return transformers.pipeline(task, model=str(checkpoint), device="cpu", **options)

    return load


@pytest.fixture(scope="session")
def both_on(tiny: TinyModels, reference: Callable[..., Any]) -> Callable[..., Both]:
    """Both sides on a tiny model: its family, its task, its configuration, and the options of the constructors."""

    def make(model_type: str, task: str, *, built: dict[str, Any] | None = None, **config: Any) -> Both:
        graph = torchless.tasks.find_task(task).graph
        return Both(
            reference(task, tiny.checkpoint(model_type, graph, **config), **(built or {})),
            torchless.pipeline(task, tiny.export(model_type, graph, **config), **(built or {})),
        )

    return make


@pytest.fixture
def both_configured(tiny: TinyModels, tmp_path: Path) -> Callable[..., Both]:
    """Both sides on a tiny model whose files have more values: its family, its task, and the values of each file."""

    def make(
        model_type: str,
        task: str,
        *,
        config: dict[str, Any] | None = None,
        generation_config: dict[str, Any] | None = None,
        **built: Any,
    ) -> Both:
        graph = torchless.tasks.find_task(task).graph
        changes = {"config.json": config or {}, "generation_config.json": generation_config or {}}
        folders = [
            shutil.copytree(source, tmp_path / source.name)
            for source in (tiny.checkpoint(model_type, graph), tiny.export(model_type, graph))
        ]
        for path, values in ((folder / name, values) for folder in folders for name, values in changes.items()):
            path.write_text(json.dumps(json.loads(path.read_text()) | values))
        checkpoint, export = folders
        return Both(
            transformers.pipeline(task, model=str(checkpoint), device="cpu", **built),
            torchless.pipeline(task, export, **built),
        )

    return make

"""The reference beside us, on the same checkpoint."""

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
    """`transformers.pipeline` on a checkpoint, each made once."""

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

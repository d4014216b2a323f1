"""The reference beside us, on the same checkpoint."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers


@pytest.fixture(scope="session")
def reference() -> Callable[..., Any]:
    """`transformers.pipeline` on a checkpoint, each made once."""

    @cache
    def load(task: str, checkpoint: Path, **options: Any) -> Any:
        return transformers.pipeline(task, model=str(checkpoint), device="cpu", **options)

    return load

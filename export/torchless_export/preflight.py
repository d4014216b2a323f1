"""What can be known to fail before the long work begins."""

import shutil
from math import prod
from pathlib import Path

from torchless.errors import ExportError
from torchless.tasks import Task
from torchless_export.source import Source, load_config

__all__ = ["check_disk", "preflight"]

_FP32_BYTES = 4
# The graph that the exporter writes, and the one that is made of it.
_FP32_COPIES = 2
# No other variant is larger, as a part of fp32.
_VARIANT_SHARE = 0.5


def preflight(source: Source, task: Task, out: Path, dtypes: tuple[str, ...]) -> None:
    """Raise if an export must fail, before weights are loaded.

    Args:
        source: What was found.
        task: What to export it for.
        out: The folder to write.
        dtypes: The variants to write.

    Raises:
        ExportError: The checkpoint needs code of its own to run, optimum cannot convert its architecture for the task,
            or the disk is too full.
    """
    config = load_config(source, task)
    from torchless_export.convert import check_supported

    check_supported(config.model_type, task)
    check_disk(source, out, dtypes)


def check_disk(source: Source, out: Path, dtypes: tuple[str, ...]) -> None:
    """Raise if what an export writes is more than the disk holds.

    Args:
        source: Its weights say how much that is; of an adapter, its base's.
        out: The folder to write.
        dtypes: The variants to write.

    Raises:
        ExportError: It is.
    """
    fp32_bytes = sum(_fp32_bytes(path) for path in source.homes[-1].weights())
    variants = sum(_VARIANT_SHARE for dtype in dtypes if dtype != "fp32")
    needed_bytes = fp32_bytes * (_FP32_COPIES + variants)
    home = next(folder for folder in out.absolute().parents if folder.is_dir())
    free_bytes = shutil.disk_usage(home).free
    if needed_bytes > free_bytes:
        raise ExportError(
            f"The export needs about {needed_bytes / 1e9:.1f} GB in {home}, which has {free_bytes / 1e9:.1f} GB free.",
            hint=f"Free {(needed_bytes - free_bytes) / 1e9:.1f} GB, write to another disk, or choose fewer variants.",
        )


def _fp32_bytes(path: Path) -> int:
    """Return what a file of weights takes in fp32; of a pickle only its size is known without running it."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        return path.stat().st_size
    try:
        with safe_open(path, framework="numpy") as weights:
            return sum(_FP32_BYTES * prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ExportError(
            f"The weights in {path} cannot be loaded: {error}.", hint="Copy or download the file again."
        ) from error

"""What can be known to fail before the long work begins."""

import shutil
import warnings
from math import prod
from pathlib import Path

from torchless.errors import ExportError, ExportWarning, OptionError
from torchless.folder.json_files import read_json
from torchless.generation.config import GenerationConfig
from torchless.tasks import Task
from torchless_export.source.loading import load_config
from torchless_export.source.source import Source

__all__ = ["check_disk", "preflight", "warn_of_generation", "warn_of_trust"]

_FP32_BYTES = 4
# The graph that the exporter writes, and the one that is made of it; a decoder it writes three times, for a first token,
# for those with a past, and for both.
_FP32_COPIES = 2
_FP32_COPIES_OF_TWO_GRAPHS = 4


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

    Warns:
        ExportWarning: Pickles will be read, or code will run.
    """
    for home in source.homes:
        warn_of_trust(home)
    config = load_config(source, task)
    if task.cached:
        warn_of_generation(source)
    from torchless_export.converters.optimum import check_inputs, check_supported

    check_supported(config.model_type, task)
    check_inputs(config, task)
    check_disk(source, task, out, dtypes)


def warn_of_trust(source: Source) -> None:
    """Say which pickles will be read and which code will run, if that was allowed and there are some.

    Args:
        source: What was found; for an adapter, its base is not looked at.

    Warns:
        ExportWarning: Once for pickles, once for code.
    """
    pickled = [path.name for path in source.weights() if path.suffix == ".bin"]
    if pickled:
        warnings.warn(
            f"Reading PICKLED weights of {source.name!r}, as --allow-pickle says: {', '.join(pickled)}. "
            "A pickle can run any code.",
            ExportWarning,
            stacklevel=3,
        )
    if source.options.trust_remote_code and source.code():
        warnings.warn(
            f"Running CODE of {source.name!r}, as --trust-remote-code says: {', '.join(source.code())}.",
            ExportWarning,
            stacklevel=3,
        )


def warn_of_generation(source: Source) -> None:
    """Say which generation settings of a checkpoint torchless cannot use.

    Args:
        source: The checkpoint.

    Warns:
        ExportWarning: There are some: a call must replace them.
    """
    name = "generation_config.json"
    for home in source.homes:
        if (home.folder / name).is_file():
            config = GenerationConfig.from_configs({}, read_json(home.folder / name))
            try:
                config.check_supported()
            except OptionError as error:
                warnings.warn(f"{name} of {home.name!r}: {error.problem} {error.hint}", ExportWarning, stacklevel=3)
            return


def check_disk(source: Source, task: Task, out: Path, dtypes: tuple[str, ...]) -> None:
    """Raise if what an export writes is more than the disk holds.

    Args:
        source: Its weights say how much that is; of an adapter, its base's.
        task: What to export it for.
        out: The folder to write.
        dtypes: The variants to write.

    Raises:
        ExportError: It is.
    """
    fp32_bytes = sum(_fp32_bytes(path) for path in source.homes[-1].weights())
    # A variant that keeps the embeddings whole can be nearly as large as fp32.
    copies = _FP32_COPIES_OF_TWO_GRAPHS if task.encoder_decoder else _FP32_COPIES
    needed_bytes = fp32_bytes * (copies + len(set(dtypes) - {"fp32"}))
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

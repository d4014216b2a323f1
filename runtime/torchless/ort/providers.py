"""ONNX Runtime's execution providers: the CPU, CUDA and others that are built in, and those installed as plug-ins."""

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import onnxruntime as ort

from torchless.errors import OptionError, nearest

__all__ = ["CPU", "check_providers", "chosen_providers", "use_providers"]

CPU = "CPUExecutionProvider"
_PLUGIN_PACKAGES = "onnxruntime_ep_"


def chosen_providers(providers: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the full names of the providers asked for, the CPU last.

    Args:
        providers: A name or several, the preferred first; `openvino` or `CUDA` will do for `OpenVINOExecutionProvider` or
            `CUDAExecutionProvider`. None is the CPU.

    Raises:
        OptionError: There is no such provider here.
    """
    requested = [providers] if isinstance(providers, str) else list(providers or ())
    names = tuple(_full_name(name) for name in requested)
    return names if CPU in names else (*names, CPU)


def use_providers(settings: ort.SessionOptions, names: Sequence[str]) -> list[str] | None:
    """Let a session compute with providers.

    Args:
        settings: Plug-ins are added to them.
        names: Full names.

    Returns:
        What to give to the session as its providers; None where the settings say it all.
    """
    if all(name in ort.get_available_providers() for name in names):
        return list(names)
    devices = ort.get_ep_devices()
    for name in names:
        # One device of each: a provider of several kinds of device lists the CPU first, which every machine has.
        settings.add_provider_for_devices([next(device for device in devices if device.ep_name == name)], {})
    return None


def check_providers(requested: Sequence[str], used: Sequence[str]) -> None:
    """Raise if ONNX Runtime left a provider out, as it does without an error where a library or a device is missing.

    Args:
        requested: Full names.
        used: Those of a session.

    Raises:
        OptionError: One is missing.
    """
    for name in requested:
        if name not in used:
            raise OptionError(
                f"{name} could not start: a library that it needs, or its device, is missing.",
                hint="Install what it needs (ONNX Runtime prints which file it misses), or leave providers out.",
            )


def _full_name(name: str) -> str:
    available = ort.get_available_providers()
    if (found := _match(name, available)) is not None:
        return found
    packages = _registered_plugins()
    available = list(dict.fromkeys([*available, *(device.ep_name for device in ort.get_ep_devices())]))
    if (found := _match(name, available)) is not None:
        return found
    installed = f" Installed, with no device here: {', '.join(packages)}." if packages else ""
    raise OptionError(
        f"There is no execution provider {name!r} here.{installed}",
        hint=f"{nearest(name, available)} Others come with a package: onnxruntime-gpu, or onnxruntime-ep-openvino.",
    )


def _match(name: str, available: Sequence[str]) -> str | None:
    short_name = name.casefold().removesuffix("executionprovider")
    return next(
        (candidate for candidate in available if candidate.casefold().removesuffix("executionprovider") == short_name),
        None,
    )


@cache
def _registered_plugins() -> tuple[str, ...]:
    """Register the plug-ins that are installed, and return their packages.

    Source: what the packages onnxruntime-ep-openvino and onnxruntime-ep-nv-tensorrt-rtx document.
    """
    names = tuple(module.name for module in pkgutil.iter_modules() if module.name.startswith(_PLUGIN_PACKAGES))
    for name in names:
        plugin: Any = import_module(name)
        ort.register_execution_provider_library(name, plugin.get_library_path())
    return names

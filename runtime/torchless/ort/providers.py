"""ONNX Runtime's execution providers: those that are built in, such as the CPU and CUDA, and installed plug-ins."""

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
    """Return the full names of the requested providers, and the CPU as the last.

    Args:
        providers: A name or a sequence of names, in order of preference. Short names such as `openvino` and `CUDA` stand
            for `OpenVINOExecutionProvider` and `CUDAExecutionProvider`. None means the CPU.

    Raises:
        OptionError: A provider is not available.
    """
    requested = [providers] if isinstance(providers, str) else list(providers or ())
    names = tuple(_full_name(name) for name in requested)
    return names if CPU in names else (*names, CPU)


def use_providers(settings: ort.SessionOptions, names: Sequence[str]) -> list[str] | None:
    """Prepare a session's settings for providers.

    Args:
        settings: The settings; plug-ins are added to them.
        names: The full names of the providers.

    Returns:
        The session's argument `providers`; None if the settings hold the providers.
    """
    if all(name in ort.get_available_providers() for name in names):
        return list(names)
    devices = ort.get_ep_devices()
    for name in names:
        # The first device only: a provider with several kinds of devices lists the CPU first, which all machines have.
        settings.add_provider_for_devices([next(device for device in devices if device.ep_name == name)], {})
    return None


def check_providers(requested: Sequence[str], used: Sequence[str]) -> None:
    """Raise if ONNX Runtime dropped a provider, which it does silently if a library or a device is missing.

    Args:
        requested: The full names of the requested providers.
        used: The full names of a session's providers.

    Raises:
        OptionError: A provider was dropped.
    """
    for name in requested:
        if name not in used:
            raise OptionError(
                f"{name} could not start: a library that it needs, or its device, is missing.",
                hint="Install the missing file, which ONNX Runtime prints, or omit providers.",
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
    """Register the installed plug-ins, and return the names of their packages.

    Source: the documentation of the packages onnxruntime-ep-openvino and onnxruntime-ep-nv-tensorrt-rtx.
    """
    names = tuple(module.name for module in pkgutil.iter_modules() if module.name.startswith(_PLUGIN_PACKAGES))
    for name in names:
        plugin: Any = import_module(name)
        ort.register_execution_provider_library(name, plugin.get_library_path())
    return names

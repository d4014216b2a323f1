"""What a model of PyTorch changes in itself while it answers, kept so that each text meets the model as it was loaded."""

from typing import Any

__all__ = ["ModelState"]


class ModelState:
    """The submodules, buffers and plain attributes of a model, at the time of its making.

    Some models of transformers change their own modules with the length of a text: BigBird replaces its attention, and
    rotary embeddings keep the frequencies of the longest text.

    Args:
        model: The model in PyTorch.
    """

    def __init__(self, model: Any) -> None:
        self._modules = [
            (module, dict(module._modules), dict(module._buffers), _plain(module))  # noqa: SLF001 - where PyTorch keeps them
            for module in model.modules()
        ]

    def restore(self) -> None:
        """Put the model back to this state."""
        for module, modules, buffers, plain in self._modules:
            module._modules.update(modules)  # noqa: SLF001
            module._buffers.update(buffers)  # noqa: SLF001
            vars(module).update(plain)


def _plain(module: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if value is None or isinstance(value, bool | int | float | str)
    }

"""The models of the server, by name."""

from collections.abc import Callable, Sequence
from time import monotonic

from torchless.errors import nearest
from torchless.pipelines import pipeline
from torchless.server.exceptions import UnknownModelError
from torchless.server.models import ServedModel
from torchless.server.settings import Settings

__all__ = ["Registry"]

_CLOSE_S = 3.0


class Registry:
    """The models of the server, by name.

    Args:
        models: The models, at least one.

    Attributes:
        names: The names of the models, in the order of the settings.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models = {model.name: model for model in models}
        self.names = list(self._models)

    @classmethod
    def load(cls, settings: Settings, *, on_model: Callable[[str], None] = lambda _: None) -> "Registry":
        """Load, check and warm all models, one after another.

        Args:
            settings: The models and their limits.
            on_model: Called with the name of each model that is ready.

        Raises:
            TorchlessError: A model cannot be served.
        """
        models = []
        for name, model_settings in settings.models.items():
            dtype = model_settings.dtype or settings.dtype
            pipe = pipeline(model_settings.task, model_settings.folder, dtype=dtype, threads=settings.threads)
            model = ServedModel(name, pipe, dtype=dtype, settings=settings)
            model.warm()
            models.append(model)
            on_model(name)
        return cls(models)

    def __getitem__(self, name: str) -> ServedModel:
        """Return a model.

        Raises:
            UnknownModelError: No model has this name.
        """
        if name not in self._models:
            raise UnknownModelError(f"There is no model {name!r} here.", hint=nearest(name, self.names))
        return self._models[name]

    def of_task(self, *tasks: str) -> ServedModel:
        """Return the first model that serves one of these tasks.

        Raises:
            UnknownModelError: No model serves these tasks.
        """
        for model in self._models.values():
            if model.task in tasks:
                return model
        served = ", ".join(f"{model.name} ({model.task})" for model in self._models.values())
        raise UnknownModelError(f"No model here is for {' or '.join(tasks)}.", hint=f"The models are: {served}.")

    def close(self) -> None:
        """Finish the queued rows, and end the threads; after some seconds, end them though rows are queued."""
        deadline = monotonic() + _CLOSE_S
        for model in self._models.values():
            model.close(max(0.0, deadline - monotonic()))

"""The loading of the models, on a thread, while the server listens already."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torchless.server.exceptions import LoadingError
from torchless.server.registry import Registry
from torchless.server.settings import Settings

__all__ = ["Loading"]


class Loading:
    """Loads, warms and checks the models.

    Args:
        settings: The models and their limits.

    Attributes:
        missing: The names of the models that are not loaded yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry: Future[Registry] = Future()
        self.missing = list(settings.models)

    def begin(self, on_end: Callable[[], None]) -> None:
        """Begin to load the models.

        Args:
            on_end: Called on the loading thread, after all models are loaded or a model has failed.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="torchless-loading")
        self._registry = thread.submit(Registry.load, self._settings, on_model=self.missing.remove)
        self._registry.add_done_callback(lambda _: on_end())
        thread.shutdown(wait=False)

    @property
    def ended(self) -> bool:
        """Whether the loading has ended, with or without an error."""
        return self._registry.done()

    @property
    def loaded(self) -> bool:
        """Whether all models are loaded."""
        return self.ended and self._registry.exception() is None

    @property
    def registry(self) -> Registry:
        """The models.

        Raises:
            LoadingError: A model is not loaded yet.
        """
        if not self.loaded:
            raise LoadingError(f"The server still loads {', '.join(self.missing)}.", hint="Try again in a second.")
        return self._registry.result()

    def check(self) -> None:
        """Raise the error of the loading, if it has failed.

        Raises:
            TorchlessError: A model cannot be served.
        """
        if self.ended:
            self._registry.result()

"""The models on their way: loaded one after another on a thread of their own, while the server listens already."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torchless.server.exceptions import LoadingError
from torchless.server.models import Registry
from torchless.server.settings import Settings

__all__ = ["Loading"]


class Loading:
    """Loads, warms and checks what is to be served.

    Args:
        settings: What that is.

    Attributes:
        missing: The names of the models that are not there yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry: Future[Registry] = Future()
        self.missing = list(settings.models)

    def begin(self, then: Callable[[], None]) -> None:
        """Begin to load.

        Args:
            then: Called on the thread that loads, once all models are there or one cannot be served.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="torchless-loading")
        self._registry = thread.submit(Registry.load, self._settings, on_model=self.missing.remove)
        self._registry.add_done_callback(lambda _: then())
        thread.shutdown(wait=False)

    @property
    def ended(self) -> bool:
        """Whether all models are there, or one cannot be served."""
        return self._registry.done()

    @property
    def loaded(self) -> bool:
        """Whether all models are there."""
        return self._registry.done() and self._registry.exception() is None

    @property
    def registry(self) -> Registry:
        """The models.

        Raises:
            LoadingError: They are not there yet.
        """
        if not self.loaded:
            raise LoadingError(f"The server still loads {', '.join(self.missing)}.", hint="Ask again in a second.")
        return self._registry.result()

    def check(self) -> None:
        """Raise what the loading failed with, if it has failed.

        Raises:
            TorchlessError: A model cannot be served.
        """
        if self.ended:
            self._registry.result()

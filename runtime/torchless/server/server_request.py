"""The class of the server's requests."""

import json
import re
from typing import Any

from litestar import Request
from litestar.exceptions import ClientException, SerializationException

from torchless.server.models import Registry
from torchless.server.settings import Settings

__all__ = ["ServerRequest", "surrogate_problem"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def surrogate_problem(body: bytes) -> str | None:
    """Return what is wrong with a body whose only fault is an escape of half a character; None of other bodies.

    The JSON decoder takes such a body for one that was cut.
    """
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = _SURROGATE.search(json.dumps(values, ensure_ascii=False))
    return (
        found
        and f"The JSON has the escape \\u{ord(found[0]):04x} alone, a surrogate, which is only half of a character."
    )


class ServerRequest(Request[Any, Any, Any]):
    """A request that also gives handlers the models and the settings. A body that is not JSON is the client's error.

    Litestar's dependency injection would cost a fifth of a millisecond for each request.
    """

    @property
    def registry(self) -> Registry:
        """The models.

        Raises:
            LoadingError: A model is not loaded yet.
        """
        registry: Registry = self.app.state.loading.registry
        return registry

    @property
    def settings(self) -> Settings:
        """The settings of the server."""
        settings: Settings = self.app.state.settings
        return settings

    @property
    def is_ready(self) -> bool:
        """Whether the server accepts requests: all models are loaded, and the server is not about to stop."""
        state = self.app.state
        return bool(state.loading.loaded and not state.limiter.closed)

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            ClientException: The body is not UTF-8 or not JSON, or it is nested too deeply.
        """
        try:
            return await super().json()
        except UnicodeDecodeError as error:
            raise ClientException(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
        except SerializationException as error:
            problem = surrogate_problem(await self.body())
            if problem is None:
                raise
            raise ClientException(problem) from error
        except RecursionError as error:
            raise ClientException("The body is nested too deeply.") from error

"""The class of the server's requests."""

from functools import partial
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException

from torchless.server.json_codec import LARGE_BYTES, compute, read_json
from torchless.server.registry import Registry
from torchless.server.settings import Settings

__all__ = ["ServerRequest"]


class ServerRequest(Request[Any, Any, Any]):
    """A request that also gives handlers the models and the settings, and that decodes its body at once as its type.

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
        """Return the body as the type that its handler declares.

        Raises:
            ClientException: The body is not JSON, or is beyond the limits of `read_json`.
            ValidationException: The body does not have the type.
        """
        body = await self.body()
        kind = self.route_handler.parsed_data_field
        read = partial(read_json, body, kind.annotation if kind else Any)
        try:
            return await compute(read, large=len(body) > LARGE_BYTES)
        except msgspec.ValidationError as error:
            problem, place, key = str(error).rpartition(" - at `$")
            extra = [
                {"message": problem or key, "key": key.strip("`.") or "data" if place else "data", "source": "body"}
            ]
            raise ValidationException(f"Validation failed for {self.method} {self.url.path}", extra=extra) from error

"""A request whose body may be no JSON at all."""

from typing import Any

from litestar import Request
from litestar.exceptions import ClientException

__all__ = ["JsonRequest"]


class JsonRequest(Request[Any, Any, Any]):
    """Says of every body that is no JSON that the client sent it, where Litestar takes some for its own failure."""

    async def json(self) -> Any:
        """Return what the body says.

        Raises:
            ClientException: It is no JSON, no UTF-8, or nested too deeply.
        """
        try:
            return await super().json()
        except UnicodeDecodeError as error:
            raise ClientException(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
        except RecursionError as error:
            raise ClientException("The body is nested too deeply.") from error

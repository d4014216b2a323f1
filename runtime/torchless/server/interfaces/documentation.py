"""The routes of the OpenAPI document, and of the files of the page at `/docs`."""

from functools import cache
from pathlib import Path
from typing import Any

import openapi_ui_bundles
from litestar import MediaType, Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from torchless.server.openapi import ASSETS_PATH

__all__ = ["router"]

_FOLDER = Path(openapi_ui_bundles.swagger_ui.static_path)
_MEDIA_TYPES = {
    "favicon-32x32.png": "image/png",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


@cache
def _content(name: str) -> bytes:
    return (_FOLDER / name).read_bytes()


def router() -> Router:
    """Return the routes. They need no key: the document is not secret, and a browser's address bar sends no key."""
    return Router("/", route_handlers=[document, asset], include_in_schema=False, opt={"public": True})


@get("/openapi.json", sync_to_thread=False)
def document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI document."""
    return Response(request.app.state.document, media_type=MediaType.JSON)


@get(f"{ASSETS_PATH}/{{name:str}}", sync_to_thread=True)
def asset(name: FromPath[str]) -> Response[bytes]:
    """Return a file of the page."""
    if name not in _MEDIA_TYPES:
        raise NotFoundException(f"The documentation has no file {name!r}.")
    return Response(_content(name), media_type=_MEDIA_TYPES[name], headers={"Cache-Control": "max-age=3600"})

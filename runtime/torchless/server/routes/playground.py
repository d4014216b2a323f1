"""The playground: one page at `/` and its files. All it knows, it asks the other routes."""

from importlib.resources import files

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

__all__ = ["handlers"]

_FOLDER = files("torchless.server") / "playground"
_MEDIA_TYPES = {
    "index.html": "text/html",
    "style.css": "text/css",
    "script.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# Nothing from elsewhere, nothing inline, and nobody frames it.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def handlers() -> list[HTTPRouteHandler]:
    """Return the handlers of the page and its files, which are read once."""
    contents = {name: (_FOLDER / name).read_bytes() for name in _MEDIA_TYPES}

    def response(name: str) -> Response[bytes]:
        return Response(contents[name], media_type=_MEDIA_TYPES[name], headers=_HEADERS)

    @get("/", include_in_schema=False, sync_to_thread=False)
    def page() -> Response[bytes]:
        return response("index.html")

    @get("/playground/{name:str}", include_in_schema=False, sync_to_thread=False)
    def file(name: str) -> Response[bytes]:
        if name not in contents:
            raise NotFoundException(f"The playground has no file {name!r}.")
        return response(name)

    return [page, file]

"""The process: it listens, says where, and on a signal finishes what it took before it ends."""

import signal
import sys
import warnings
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from litestar import Litestar

from torchless.server.access_log import AccessLog
from torchless.server.app import create_app
from torchless.server.settings import Settings

__all__ = ["serve"]


def serve(settings: Settings) -> None:
    """Load the models, and serve them until SIGTERM or SIGINT.

    Args:
        settings: What to serve, and how.

    Raises:
        TorchlessError: A model cannot be served.
    """
    app = create_app(settings)
    warnings.simplefilter("ignore")  # from here on they are of requests, which they may quote, and they are kept
    logged: Any = app if settings.log_format == "none" else AccessLog(app, settings.log_format)
    config = uvicorn.Config(
        logged, host=settings.host, port=settings.port, access_log=False, log_level="warning", lifespan="on"
    )
    _Server(config, app, settings).run()


class _Server(uvicorn.Server):
    """Ends in two steps: a first signal refuses new requests, and once the others are answered it stops listening."""

    def __init__(self, config: uvicorn.Config, app: Litestar, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._settings = settings

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin to listen, and say where."""
        await super().startup(sockets)
        if self.started:
            host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
            port = self.servers[0].sockets[0].getsockname()[1]
            print(f"torchless serves {', '.join(self._settings.models)} on http://{host}:{port}", flush=True)  # noqa: T201

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop listening."""
        return await super().on_tick(counter) or self._app.state.admission.drained

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new requests; on a second signal, stop at once."""
        if self._app.state.admission.closed:
            super().handle_exit(sig, frame)
        self._app.state.admission.closed = True
        sys.stderr.write(f"torchless: {signal.Signals(sig).name}; no new requests are taken.\n")

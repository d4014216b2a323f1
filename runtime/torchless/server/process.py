"""The server process: it listens, loads the models, and after a signal finishes the accepted requests."""

import gc
import os
import signal
import sys
import warnings
from functools import partial
from socket import socket
from types import FrameType

import uvicorn
from litestar import Litestar

from torchless.server.access_log import AccessLog
from torchless.server.app import create_app
from torchless.server.header_timeout import HeaderTimeoutProtocol
from torchless.server.settings import Settings

__all__ = ["serve"]

_GARBAGE_THRESHOLD = 10_000  # new objects before a collection; two requests make 700, which is Python's default


def serve(settings: Settings) -> None:
    """Listen, load the models, and serve them until SIGTERM or SIGINT.

    Args:
        settings: The settings of the server.

    Raises:
        TorchlessError: A model cannot be served.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app if settings.log_format == "none" else AccessLog(app, settings.log_format, models=settings.models),
        http=partial(HeaderTimeoutProtocol, head_timeout_s=settings.request_timeout_s),  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        lifespan="on",
    )
    _Server(config, app, settings).run()
    app.state.loading.check()


class _Server(uvicorn.Server):
    """Stops in two steps: after a signal it refuses new requests, and it stops when the other requests are answered."""

    def __init__(self, config: uvicorn.Config, app: Litestar, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._settings = settings

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin to listen, and to load the models."""
        await super().startup(sockets)
        if self.started:
            names = ", ".join(self._settings.models)
            sys.stderr.write(f"torchless: loading {names}; {self._address}/ready answers 200 when this is done.\n")
            self._app.state.loading.begin(self._start_serving)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop."""
        return await super().on_tick(counter) or self._app.state.limiter.drained

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new requests; on a second signal, stop at once."""
        limiter, loading = self._app.state.limiter, self._app.state.loading
        name = signal.Signals(sig).name
        if not loading.ended:  # the loading thread cannot be stopped, and there are no requests to finish
            sys.stderr.write(f"torchless: {name}; stopped while loading {', '.join(loading.missing)}.\n")
            sys.stderr.flush()
            os._exit(0)
        if limiter.closed:
            super().handle_exit(sig, frame)
        limiter.closed = True
        sys.stderr.write(f"torchless: {name}; new requests are refused.\n")

    def _start_serving(self) -> None:
        """Print the models and the address; or stop the server, if a model has failed."""
        if not self._app.state.loading.loaded:
            self.should_exit = True
            return
        # The models stay in memory: collections that scan them after every few requests would cost 3 % of the time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE_THRESHOLD)
        warnings.simplefilter("ignore")  # warnings from here on may quote a request, and Python keeps them
        print(f"torchless serves {', '.join(self._settings.models)} on {self._address}", flush=True)  # noqa: T201

    @property
    def _address(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self.servers[0].sockets[0].getsockname()[1]}"

"""The process: it listens, loads, says where it serves, and on a signal finishes what it took before it ends."""

import gc
import os
import signal
import sys
import warnings
from functools import partial
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from litestar import Litestar

from torchless.server.access_log import AccessLog
from torchless.server.app import create_app
from torchless.server.header_timeout import HeaderTimeoutProtocol
from torchless.server.loading import Loading
from torchless.server.settings import Settings

__all__ = ["serve"]

_GARBAGE = 10_000  # objects, until garbage is looked for; Python's own 700 are two requests'


def serve(settings: Settings) -> None:
    """Listen, load the models, and serve them until SIGTERM or SIGINT.

    Args:
        settings: What to serve, and how.

    Raises:
        TorchlessError: A model cannot be served.
    """
    app = create_app(settings)
    logged: Any = app if settings.log_format == "none" else AccessLog(app, settings.log_format, models=settings.models)
    config = uvicorn.Config(
        logged,
        http=partial(HeaderTimeoutProtocol, head_timeout_s=settings.request_timeout_s),  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        lifespan="on",
    )
    _Server(config, app, settings).run()
    loading: Loading = app.state.loading
    loading.check()


class _Server(uvicorn.Server):
    """Ends in two steps: a first signal refuses new requests, and once the others are answered it stops listening."""

    def __init__(self, config: uvicorn.Config, app: Litestar, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._settings = settings

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin to listen, and to load."""
        await super().startup(sockets)
        if self.started:
            names = ", ".join(self._settings.models)
            sys.stderr.write(f"torchless: loading {names}; {self._address}/ready says when it is done.\n")
            self._app.state.loading.begin(self._begin)

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop listening."""
        return await super().on_tick(counter) or self._app.state.limiter.drained

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse new requests; on a second signal, stop at once."""
        limiter, loading = self._app.state.limiter, self._app.state.loading
        if not loading.ended:  # a thread that loads cannot be stopped, and there is nothing to finish
            sys.stderr.write(f"torchless: {signal.Signals(sig).name}; {', '.join(loading.missing)} was not loaded.\n")
            sys.stderr.flush()
            os._exit(0)
        if limiter.closed:
            super().handle_exit(sig, frame)
        limiter.closed = True
        sys.stderr.write(f"torchless: {signal.Signals(sig).name}; no new requests are taken.\n")

    def _begin(self) -> None:
        """Say what is served, and where; or end, if something is not."""
        if not self._app.state.loading.loaded:
            self.should_exit = True
            return
        # The models, and all that serves them, stay: to look through them for garbage at every few requests costs 3 %.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        warnings.simplefilter("ignore")  # from here on they are of requests, which they may quote, and they are kept
        print(f"torchless serves {', '.join(self._settings.models)} on {self._address}", flush=True)  # noqa: T201

    @property
    def _address(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self.servers[0].sockets[0].getsockname()[1]}"

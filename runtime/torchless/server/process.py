"""The server process: it listens, loads the models, and after a signal finishes the accepted requests, and ends."""

import asyncio
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from socket import socket
from types import FrameType
from typing import NoReturn

import uvicorn
from litestar import Litestar

from torchless.errors import OptionError
from torchless.server.access_log import AccessLog
from torchless.server.allocator import return_large_blocks
from torchless.server.app import create_app
from torchless.server.http_protocol import HttpProtocol
from torchless.server.response_delivery import ResponseDelivery
from torchless.server.settings import Settings

__all__ = ["serve"]

_CLOSE_S = 1  # for connections that have no accepted request, or the last bytes of a response
_GRACE_S = 4  # for the end of the process, after the time of the last request
_KILLED = 128  # and the number of the signal: the exit status of a process that a signal has killed
_STANDARD_ERROR = 2
_GARBAGE_THRESHOLD = 10_000  # new objects before a collection; two requests make 700, which is Python's default


def serve(settings: Settings) -> None:
    """Listen, load the models, and serve them until SIGTERM, SIGINT or SIGHUP.

    Args:
        settings: The settings of the server.

    Raises:
        TorchlessError: The host is not a name, or a model cannot be served.
    """
    try:
        settings.host.encode("idna")
    except UnicodeError as error:
        raise OptionError(f"The host {settings.host!r} is not a name: {error}.", hint="Give an IP address.") from error
    return_large_blocks()
    app = create_app(settings)
    logged = app if settings.log_format == "none" else AccessLog(app, settings.log_format, models=settings.models)
    timeout_s = settings.request_timeout_s
    protocol = partial(HttpProtocol, head_timeout_s=timeout_s, read_timeout_s=timeout_s)
    config = uvicorn.Config(
        ResponseDelivery(logged),
        http=protocol,  # type: ignore[arg-type]
        ws="none",
        timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        lifespan="on",
    )
    _Server(config, app, settings).run()
    app.state.loading.check()


class _Server(uvicorn.Server):
    """Stops in two steps: after a signal it refuses new requests, and it stops when the other requests are answered.

    Whatever still runs, the process ends within the time of a request and some seconds after the signal.
    """

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

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the connections: first those that are idle, and after a second the others."""
        asyncio.get_running_loop().call_later(_CLOSE_S, self._abort_connections)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals of uvicorn, and the end of the terminal, unless `nohup` ignores it."""
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
            signal.signal(hangup, self.handle_exit)
        with super().capture_signals():
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Refuse new requests; on a second signal, end at once."""
        limiter, loading = self._app.state.limiter, self._app.state.loading
        name = signal.Signals(sig).name
        if not loading.ended:  # the loading thread cannot be stopped, and there are no requests to finish
            _end(0, f"{name}; stopped while loading {', '.join(loading.missing)}")
        if limiter.closed:
            _end(_KILLED + sig, f"{name} again; the server ends at once")
        limiter.closed = True
        _report(f"{name}; new requests are refused")
        timeout_s = self._settings.request_timeout_s + _GRACE_S
        timer = threading.Timer(timeout_s, self._end_late, [timeout_s])
        timer.daemon = True
        timer.start()

    def _end_late(self, waited_s: float) -> None:
        """End the process, though threads are at work that cannot be stopped."""
        requests = self._app.state.limiter.requests
        _end(1 if requests else 0, f"the server ends after {waited_s:g} s, with {requests} requests without an answer")

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

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


def _end(status: int, reason: str) -> NoReturn:
    """End the process at once: no thread is waited for."""
    _report(reason)
    os._exit(status)


def _report(message: str) -> None:
    """Write a line to standard error. A handler of signals may not use `sys.stderr`, which may be in use."""
    with suppress(OSError):
        os.write(_STANDARD_ERROR, f"torchless: {message}.\n".encode())

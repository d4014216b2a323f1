"""The errors that only the server raises; `STATUSES` in `errors.py` has their HTTP statuses."""

from torchless.errors import TorchlessError

__all__ = [
    "AccessError",
    "DeadlineError",
    "LimitError",
    "LoadingError",
    "MediaTypeError",
    "OverloadedError",
    "UnknownModelError",
    "request_timeout",
]


class AccessError(TorchlessError):
    """The key of a request is missing or wrong."""


class DeadlineError(TorchlessError):
    """A request took too long to arrive or to be answered."""


class LimitError(TorchlessError):
    """A request is larger than the server accepts."""


class LoadingError(TorchlessError):
    """The server has not loaded all models yet; it accepts the request later."""


class MediaTypeError(TorchlessError):
    """The body of a request is not JSON, or has an encoding that the server does not read."""


class OverloadedError(TorchlessError):
    """The server has as much work as it accepts; it accepts the request later."""


class UnknownModelError(TorchlessError):
    """No model of the server has this name, or no model is for this task."""


def request_timeout(seconds: float) -> DeadlineError:
    """Return the error of a request that exceeded the time limit, in seconds."""
    return DeadlineError(f"The request took longer than {seconds:g} s.", hint="Send less, or try again later.")

"""The errors that only the server raises; `errors.py` says which HTTP status each has."""

from torchless.errors import TorchlessError

__all__ = [
    "AccessError",
    "DeadlineError",
    "LimitError",
    "LoadingError",
    "OverloadedError",
    "UnknownModelError",
    "request_timeout",
]


class AccessError(TorchlessError):
    """A request does not have the key that it needs."""


class DeadlineError(TorchlessError):
    """A request took too long to arrive or to be answered."""


class LimitError(TorchlessError):
    """A request is larger than the server accepts."""


class LoadingError(TorchlessError):
    """The server has not loaded all its models yet; it accepts the request later."""


class OverloadedError(TorchlessError):
    """The server has as much work as it accepts; it accepts the request later."""


class UnknownModelError(TorchlessError):
    """No served model has this name, or none is for this task."""


def request_timeout(seconds: float) -> DeadlineError:
    """Return the error of a request that was not answered within the time limit.

    Args:
        seconds: The time limit.
    """
    return DeadlineError(f"The request took longer than {seconds:g} s.", hint="Ask for less, or ask again later.")

"""The error body and the statuses of text-embeddings-inference's interface."""

from torchless.errors import InputError, OptionError, TaskError
from torchless.server.errors import STATUSES, ErrorInfo, NamedError

__all__ = ["TEXT_EMBEDDINGS_STATUSES", "text_embeddings_error"]

# text-embeddings-inference answers 413 to a wrong input or option, and 424 if the model is for another task.
TEXT_EMBEDDINGS_STATUSES = {**STATUSES, InputError: 413, OptionError: 413, TaskError: 424}

_TYPES = {
    401: "unauthorized",
    413: "validation",
    422: "validation",
    424: "backend",
    429: "overloaded",
    503: "unhealthy",
}


def text_embeddings_error(info: ErrorInfo) -> NamedError:
    """Return the error body of text-embeddings-inference's interface."""
    fallback = "backend" if info.status >= 500 else "validation"
    return NamedError(error=info.text, error_type=_TYPES.get(info.status, fallback))

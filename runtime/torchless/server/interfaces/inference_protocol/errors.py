"""The error body and the statuses of the Open Inference Protocol."""

from msgspec import Struct

from torchless.errors import InputError, OptionError, TaskError
from torchless.server.errors import STATUSES, ErrorInfo

__all__ = ["INFERENCE_PROTOCOL_STATUSES", "InferenceProtocolError", "inference_protocol_error"]

INFERENCE_PROTOCOL_STATUSES = {**STATUSES, InputError: 400, OptionError: 400, TaskError: 400}


class InferenceProtocolError(Struct, kw_only=True):
    """The error body of the Open Inference Protocol.

    Attributes:
        error: What is wrong, and what to do about it.
    """

    error: str


def inference_protocol_error(info: ErrorInfo) -> InferenceProtocolError:
    """Return the error body of the Open Inference Protocol."""
    return InferenceProtocolError(error=info.text)

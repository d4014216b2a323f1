"""The Open Inference Protocol's errors: their body, and their statuses."""

from msgspec import Struct

from torchless.errors import InputError, OptionError, TaskError
from torchless.server.errors import STATUSES, ErrorInfo

__all__ = ["INFERENCE_PROTOCOL_STATUSES", "InferenceProtocolError", "inference_protocol_error"]

INFERENCE_PROTOCOL_STATUSES = {**STATUSES, InputError: 400, OptionError: 400, TaskError: 400}


class InferenceProtocolError(Struct, kw_only=True):
    """An error as clients of the Open Inference Protocol read it.

    Attributes:
        error: What is wrong, and what to do about it.
    """

    error: str


def inference_protocol_error(info: ErrorInfo) -> InferenceProtocolError:
    """Return the error body of the Open Inference Protocol."""
    return InferenceProtocolError(error=info.text)

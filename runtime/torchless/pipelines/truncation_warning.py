"""The warning about inputs that were cut."""

import warnings
from collections.abc import Sequence

from torchless.errors import TruncationWarning

__all__ = ["warn_of_truncation"]


def warn_of_truncation(cut_lengths: Sequence[int], inputs: int, *, stacklevel: int) -> None:
    """Warn of inputs that were cut, if there are any.

    Args:
        cut_lengths: The number of tokens of each input that was cut.
        inputs: The number of all inputs.
        stacklevel: As for `warnings.warn`.
    """
    if cut_lengths:
        warnings.warn(
            f"{len(cut_lengths)} of {inputs} inputs were cut to {max(cut_lengths)} tokens; the answers do not cover the "
            "rest. If the task has the option windows= or stride=, this option covers a whole text.",
            TruncationWarning,
            stacklevel=stacklevel,
        )

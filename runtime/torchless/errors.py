"""The errors and warnings of the library, and functions that check options and write hints."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = [
    "CheckpointError",
    "ClosingError",
    "ExportError",
    "ExportWarning",
    "InputError",
    "MissingExtraError",
    "OptionError",
    "ScoreError",
    "TaskError",
    "TorchlessError",
    "TruncationWarning",
    "check_whole_number",
    "nearest",
    "shortened",
]


_SHOWN_CHARACTERS = 100  # of an input


class TorchlessError(Exception):
    """The base class of the errors that this library raises.

    Args:
        problem: The problem, with the wrong value.
        hint: What the caller can do or type to solve it.
    """

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.problem, self.hint), dict(vars(self))

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.hint}"


class CheckpointError(TorchlessError):
    """An exported folder is incomplete or damaged, or does not fit the task."""


class TaskError(TorchlessError, ValueError):
    """A task that does not exist, or that cannot be inferred from the folder."""


class InputError(TorchlessError, ValueError):
    """An input that a tokenizer, model or pipeline cannot process."""

    def at(self, index: int) -> "InputError":
        """Return the same error, which also names the input by its index in the list of inputs."""
        return InputError(f"Index {index} of the inputs: {self.problem}", hint=self.hint)


class ScoreError(InputError):
    """A model answers an input with NaN or infinite values.

    Args:
        text: The input, if it is known.
        index: Its place in the list that it is from, if it is from one.
        row: Its place among the rows that ran.
    """

    def __init__(self, text: object = None, *, index: int | None = None, row: int = 0) -> None:
        shown = "" if text is None else f" {shortened(text)}"
        place = "" if index is None else f" (index {index} of the inputs)"
        super().__init__(
            f"The model answers{shown}{place} with NaN or infinite values.",
            hint="Try another variant of the model, for example dtype='fp32'; or export the checkpoint again.",
        )
        self.row = row


class OptionError(TorchlessError, ValueError):
    """An option that does not exist, or a value that is not possible."""


class ExportError(TorchlessError):
    """A checkpoint that cannot be exported, or an export that failed its verification."""


class MissingExtraError(TorchlessError, ImportError):
    """A feature whose optional dependencies are not installed.

    Args:
        feature: The feature, as the subject of a sentence.
        extra: The extra of this distribution that installs the dependencies.
    """

    def __init__(self, feature: str, *, extra: str) -> None:
        super().__init__(f"{feature} needs packages that are not installed.", hint=f"pip install 'torchless[{extra}]'")


class ClosingError(TorchlessError):
    """A queue or a server is about to stop: it finishes its work, and accepts no more."""


class ExportWarning(UserWarning):
    """An export does something dangerous or doubtful, because an option requests it."""


class TruncationWarning(UserWarning):
    """Texts were longer than the limit and were cut; the results do not cover the rest."""


def _restored(error_class: type[TorchlessError], problem: str, hint: str) -> TorchlessError:
    """Return an error that came out of a pickle: a worker process sends its errors so."""
    error = error_class.__new__(error_class)
    TorchlessError.__init__(error, problem, hint=hint)
    return error


def shortened(value: object) -> str:
    """Return the `repr` of an input, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return the hint of an error: the valid names, after the nearest name if there is a similar one.

    Args:
        name: The name that the caller wrote.
        valid: The valid names.
    """
    names = sorted(valid)
    close = get_close_matches(str(name)[:_SHOWN_CHARACTERS], names, n=1)
    listing = f"Valid: {', '.join(names)}." if names else "There are none."
    return f"Did you mean {close[0]!r}? {listing}" if close else listing


def check_whole_number(name: str, value: Any, *, at_least: int, hint: str) -> None:
    """Raise if the value of an option is neither None nor a whole number that is large enough.

    Args:
        name: The option.
        value: The value from the caller.
        at_least: The smallest possible number.
        hint: The hint of the error.

    Raises:
        OptionError: The value is not possible.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < at_least):
        raise OptionError(f"{name}={value!r} is not possible.", hint=hint)

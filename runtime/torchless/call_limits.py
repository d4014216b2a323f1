"""The limits of a call: a server limits what a call costs before it is spent, and stops a call that nobody waits for."""

from contextvars import ContextVar

__all__ = ["CURRENT_LIMITS", "CallLimits"]


class CallLimits:
    """Limits that a pipeline and its tokenizer consult before they spend time and memory. This class sets no limit.

    A method of a subclass raises an error if the call would exceed a limit, or if it must stop. Pipelines call them often
    enough that a call which must stop ends soon.
    """

    def admit_text(self, characters: int) -> None:
        """Count a text that will be tokenized, by its characters."""

    def admit_row(self, tokens: int) -> None:
        """Count a row by its tokens."""

    def expect_rows(self, rows: int, tokens: int) -> None:
        """Check rows before they are built and counted, by their number and the fewest tokens of all together."""

    def expect_width(self, tokens: int) -> None:
        """Check the number of tokens of a row before it is padded."""

    def admit_values(self, values: int) -> None:
        """Count the labels, spans, tokens and numbers of a result, or a bound of them, before they are computed."""

    def check(self) -> None:
        """Raise if the call must stop."""


CURRENT_LIMITS: ContextVar[CallLimits] = ContextVar("CURRENT_LIMITS", default=CallLimits())  # noqa: B039 - it has no state
"""The limits of the current call."""

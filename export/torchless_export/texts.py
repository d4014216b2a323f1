"""The texts that an export is verified on: the sample's, or the user's own."""

from pathlib import Path

from torchless.errors import ExportError
from torchless_export.sample import sample_texts

__all__ = ["VERIFICATION_TEXTS", "read_texts", "verification_texts"]

VERIFICATION_TEXTS = 250


def verification_texts(path: Path | None) -> list[str]:
    """Return the texts of a file, or else of the sample.

    Args:
        path: A text file, one input a line.

    Raises:
        ExportError: The file cannot be read, or holds no text.
    """
    return sample_texts(VERIFICATION_TEXTS) if path is None else read_texts(path, "--verify-with")


def read_texts(path: Path, option: str) -> list[str]:
    """Return the lines of a text file that are not blank.

    Args:
        path: The file, in UTF-8.
        option: The option that named it, for an error.

    Raises:
        ExportError: It cannot be read, or holds no text.
    """
    hint = f"Give {option} a text file in UTF-8, one input a line."
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ExportError(f"{path} is not text in UTF-8: {error}.", hint=hint) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror}.", hint=hint) from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ExportError(f"{path} holds no text.", hint=hint)
    return texts

"""The texts that an export is verified on, and those that it is calibrated on: the sample's, or the user's own."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torchless.errors import ExportError
from torchless_export.sample import sample_texts, texts_of_kinds

__all__ = ["CALIBRATION_TEXTS", "VERIFICATION_TEXTS", "calibration_texts", "digest", "read_texts", "verification_texts"]

VERIFICATION_TEXTS = 250
CALIBRATION_TEXTS = 128


def verification_texts(path: Path | None) -> list[str]:
    """Return the texts of a file, or else of the sample.

    Args:
        path: A text file, one input a line.

    Raises:
        ExportError: The file cannot be read, or holds no text.
    """
    return sample_texts(VERIFICATION_TEXTS) if path is None else read_texts(path, "--verify-with")


def calibration_texts(path: Path | None, held_out: Sequence[str]) -> list[str]:
    """Return the texts of a file, or else those of the sample that verification does not use.

    Args:
        path: A text file, one input a line.
        held_out: The texts that verification uses.

    Raises:
        ExportError: The file cannot be read, or holds no text.
    """
    if path is not None:
        return read_texts(path, "--calibrate-with")
    verified = set(held_out)
    texts = sample_texts()
    unseen = [text for text in texts if text not in verified]
    pool = unseen if len(unseen) >= CALIBRATION_TEXTS else texts
    chosen = pool[:: len(pool) // CALIBRATION_TEXTS][:CALIBRATION_TEXTS]
    return [*chosen, *(text for texts in texts_of_kinds("calibration").values() for text in texts)]


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


def digest(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the lines of texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()

"""The clean-up of decoded English: spaces before punctuation and contractions go, in a text or in a stream of pieces."""

__all__ = ["CleanUpStream", "clean_up"]

# In this order, each over what the one before left. Source: `clean_up_tokenization` in transformers 4.57.6,
# tokenization_utils_base.py.
_CLEAN_UPS = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def clean_up(text: str) -> str:
    """Return a text without the spaces that a tokenizer left before punctuation and contractions."""
    for artifact, clean in _CLEAN_UPS:
        text = text.replace(artifact, clean)
    return text


class CleanUpStream:
    """`clean_up` for a text that comes in pieces: the pieces that it gives back, joined, are the whole text cleaned."""

    def __init__(self) -> None:
        self._held = [""] * len(_CLEAN_UPS)

    def push(self, text: str) -> str:
        """Return what is clean of the text so far and was not returned yet.

        Held back is what might begin an artifact that the next piece completes, at most three characters a rule.
        """
        for index, (artifact, clean) in enumerate(_CLEAN_UPS):
            if not text:
                return ""
            *cleaned, rest = (self._held[index] + text).split(artifact)
            held = _unfinished(rest, artifact)
            self._held[index] = rest[len(rest) - held :]
            text = clean.join((*cleaned, rest[: len(rest) - held]))
        return text

    def finish(self) -> str:
        """Return what was held back, at the end of the text."""
        text = ""
        for index, (artifact, clean) in enumerate(_CLEAN_UPS):
            text = (self._held[index] + text).replace(artifact, clean)
            self._held[index] = ""
        return text


def _unfinished(text: str, artifact: str) -> int:
    """Return how many characters at the end of a text may be the beginning of an artifact."""
    lengths = range(min(len(artifact) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(artifact[:length])), 0)

"""The texts that exports are calibrated and verified on.

Most are movie snippets, held out from the example's training. A few are of other kinds, as prose, code and numbers.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Literal

__all__ = ["sample_texts", "texts_of_kinds"]


def sample_texts(count: int | None = None) -> list[str]:
    """Return texts of the sample, spread evenly over it.

    Args:
        count: How many; by default all 1,000.
    """
    _, *rows = files(__package__).joinpath("movie_snippets.tsv").read_text(encoding="utf-8").splitlines()
    texts = [row.partition("\t")[2] for row in rows]
    return texts if count is None else texts[:: max(1, len(texts) // count)][:count]


def texts_of_kinds(use: Literal["calibration", "verification"]) -> Mapping[str, Sequence[str]]:
    """Return the texts of other kinds than the movie snippets, by their kind.

    Args:
        use: What they are for. No text is for both.
    """
    kinds = tomllib.loads(files(__package__).joinpath("kinds.toml").read_text(encoding="utf-8"))
    return {kind: texts[use] for kind, texts in kinds.items()}

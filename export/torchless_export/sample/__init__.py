"""Real texts that exports are verified on: movie snippets, held out from the example's training."""

from importlib.resources import files

__all__ = ["sample_texts"]


def sample_texts(count: int | None = None) -> list[str]:
    """Return texts of the sample, spread evenly over it.

    Args:
        count: How many; by default all 1,000.
    """
    _, *rows = files(__package__).joinpath("movie_snippets.tsv").read_text(encoding="utf-8").splitlines()
    texts = [row.partition("\t")[2] for row in rows]
    return texts if count is None else texts[:: max(1, len(texts) // count)][:count]

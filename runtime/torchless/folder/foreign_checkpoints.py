"""Checkpoints of other libraries, which have no `config.json`: what to do with them."""

from collections.abc import Callable

__all__ = ["hint_without_config"]

_GLINER = "gliner_config.json"
_OLD_TRANSFORMER = "0_Transformer"


def hint_without_config(has: Callable[[str], bool], *, otherwise: str) -> str:
    """Return the hint for a folder or repository without a `config.json`.

    Args:
        has: Tells whether a file is there, by its path relative to the root.
        otherwise: The hint if no other library is known to write such files.
    """
    if has(_GLINER):
        return (
            f"{_GLINER} says that it is a checkpoint of GLiNER, which has no export here; the package gliner runs it."
        )
    if has(f"{_OLD_TRANSFORMER}/config.json"):
        return (
            f"An old sentence-transformers wrote it, with the model in {_OLD_TRANSFORMER}/: move the files of that folder to "
            "where modules.json is, then export it: torchless export MODEL OUT"
        )
    return otherwise

"""Sentence embeddings: how the hidden states of a text's tokens become one vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from torchless.checkpoint import Checkpoint
from torchless.errors import CheckpointError, OptionError, nearest

__all__ = ["Pooling", "PoolingMode"]

PoolingMode: TypeAlias = Literal["mean", "cls", "max", "last"]

_CONFIG = "1_Pooling/config.json"
_KEYS: Mapping[str, PoolingMode] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_KINDS = ("Transformer", "Pooling", "Normalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How hidden states become an embedding.

    Attributes:
        mode: `mean` of the tokens, the first (`cls`), the `max` of each dimension, or the `last` token.
        normalize: Scale to length 1.
        max_tokens: What texts are cut to, in tokens; None says nothing.
    """

    mode: PoolingMode
    normalize: bool = False
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(PoolingMode):
            raise OptionError(
                f"pooling={self.mode!r} is not possible.", hint=nearest(self.mode, {*get_args(PoolingMode), "auto"})
            )

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> Self:
        """Read what a sentence-transformers folder says.

        Raises:
            OptionError: The folder is none.
            CheckpointError: It asks for something that this class does not do.

        Source: `SentenceTransformer` of sentence-transformers 5.7.0: `modules.json`, `1_Pooling/config.json`,
            `sentence_bert_config.json`.
        """
        if not checkpoint.has(_CONFIG):
            raise OptionError(
                f"The folder {str(checkpoint.folder)!r} does not say how to pool: it has no {_CONFIG}.",
                hint="Name a pooling: " + ", ".join(f"pooling={mode!r}" for mode in get_args(PoolingMode)) + ".",
            )
        kinds = ["Transformer", "Pooling"]
        if checkpoint.has("modules.json"):
            kinds = [
                str(module.get("type", "")).rpartition(".")[2] for module in checkpoint.read_json_list("modules.json")
            ]
        settings = checkpoint.read_json(_CONFIG)
        chosen = [key for key, value in settings.items() if key.startswith("pooling_mode") and value is True]
        mode = settings.get("pooling_mode")
        modes: list[Any] = [mode] if isinstance(mode, str) else [_KEYS.get(key) for key in chosen]
        if len(modes) != 1 or modes[0] not in get_args(PoolingMode) or not set(kinds) <= set(_KINDS):
            raise CheckpointError(
                f"The folder {str(checkpoint.folder)!r} pools in a way that is not supported: "
                f"{', '.join(kinds)}; {', '.join(chosen) or mode}.",
                hint="Supported are one Pooling (mean, cls, max, lasttoken) and Normalize.",
            )
        limits = (
            checkpoint.read_json("sentence_bert_config.json") if checkpoint.has("sentence_bert_config.json") else {}
        )
        return cls(mode=modes[0], normalize="Normalize" in kinds, max_tokens=limits.get("max_seq_length"))

    def pooled(self, hidden: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the vector of a text.

        Args:
            hidden: (tokens, hidden), without padding.

        Returns:
            (hidden,).
        """
        if self.mode == "mean":
            return np.asarray(hidden.mean(axis=0))
        if self.mode == "max":
            return np.asarray(hidden.max(axis=0))
        return np.asarray(hidden[0] if self.mode == "cls" else hidden[-1])

    def normalized(self, embedding: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return an embedding of (hidden,), scaled to length 1 if that was asked for."""
        return np.asarray(embedding / max(float(np.linalg.norm(embedding)), 1e-12)) if self.normalize else embedding

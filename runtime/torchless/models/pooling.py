"""Sentence embeddings: how the hidden states of a text's tokens become one vector."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from torchless.errors import CheckpointError, OptionError, nearest
from torchless.folder.layout import LIMIT_FILES, POOLING_CONFIG
from torchless.folder.model_folder import ModelFolder
from torchless.models.model import Model

__all__ = ["HIDDEN_STATES", "SENTENCE_EMBEDDING", "Pooling", "PoolingMode", "declares_pooling"]

SENTENCE_EMBEDDING = "sentence_embedding"
"""The output of a graph that pools by itself, as `optimum` exports a sentence-transformers folder."""
HIDDEN_STATES = "last_hidden_state"
"""The output that other poolings read."""

PoolingMode: TypeAlias = Literal["mean", "cls", "max", "last"]

_MODES: Mapping[str, PoolingMode] = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
# Older versions write a flag for each mode instead.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_PACKAGE = "sentence_transformers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How hidden states become an embedding.

    Attributes:
        mode: `mean` of the tokens, the first (`cls`), the `max` of each dimension, or the `last` token; None where the
            graph pools by itself.
        normalize: Scale to length 1.
        max_tokens: What texts are cut to, in tokens; None says nothing.
    """

    mode: PoolingMode | None
    normalize: bool = False
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in (None, *get_args(PoolingMode)):
            raise OptionError(
                f"pooling={self.mode!r} is not possible.", hint=nearest(self.mode, {*get_args(PoolingMode), "auto"})
            )

    @classmethod
    def of(cls, model: Model) -> Self:
        """Read how a model makes embeddings: its graph by itself, or else as its folder says.

        Raises:
            OptionError: Neither the graph nor the folder says.
            CheckpointError: The folder asks for something that this class does not do.
        """
        return cls.read(model.folder, pooled=SENTENCE_EMBEDDING in model.outputs)

    @classmethod
    def read(cls, folder: ModelFolder, *, pooled: bool = False) -> Self:
        """Read what a sentence-transformers folder says.

        Args:
            folder: The folder.
            pooled: The graph pools by itself: then the folder need not say how.

        Raises:
            OptionError: The folder has no sentence-transformers files.
            CheckpointError: It asks for something that this class does not do.

        Source: `SentenceTransformer` of sentence-transformers 5.7.0: `modules.json`, `1_Pooling/config.json`,
            `sentence_bert_config.json`.
        """
        if not folder.has(POOLING_CONFIG) and not pooled:
            raise OptionError(
                f"The folder {folder.path.name!r} does not say how to pool: it has no {POOLING_CONFIG}.",
                hint="Name a pooling: " + ", ".join(f"pooling={mode!r}" for mode in get_args(PoolingMode)) + ".",
            )
        modules = _modules(folder)
        modes = [] if pooled else _modes(folder.read_json(POOLING_CONFIG))
        limits = next((folder.read_json(name) for name in LIMIT_FILES if folder.has(name)), {})
        unsupported = [
            *([] if modules in _MODULES or pooled else [f"the modules {', '.join(modules)}"]),
            *([] if (len(modes) == 1 and modes[0] in _MODES) or pooled else [f"the pooling {', '.join(modes)}"]),
            *_unsupported_settings(folder, limits),
        ]
        if unsupported:
            raise CheckpointError(
                f"The folder {folder.path.name!r} makes embeddings in a way that is not supported: "
                f"{'; '.join(unsupported)}.",
                hint="Supported are one Pooling (mean, cls, max, lasttoken) and Normalize after it. "
                "To pool by hand, name it: pooling='mean'.",
            )
        return cls(
            mode=None if pooled else _MODES[modes[0]],
            normalize="Normalize" in modules,
            max_tokens=limits.get("max_seq_length") or None,
        )

    def pooled(self, hidden: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the vector of a text.

        Args:
            hidden: (tokens, hidden), without padding; (hidden,) where the graph pools by itself.

        Returns:
            (hidden,).
        """
        if self.mode is None:
            return hidden
        if self.mode == "mean":
            return np.asarray(hidden.mean(axis=0))
        if self.mode == "max":
            return np.asarray(hidden.max(axis=0))
        return np.asarray(hidden[0] if self.mode == "cls" else hidden[-1])

    def normalized(self, embedding: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return an embedding of (hidden,), scaled to length 1 if `normalize` is set."""
        return np.asarray(embedding / max(float(np.linalg.norm(embedding)), 1e-12)) if self.normalize else embedding


def declares_pooling(model: Model) -> bool:
    """Whether a model's graph or its folder says how texts become embeddings."""
    return SENTENCE_EMBEDDING in model.outputs or model.folder.has(POOLING_CONFIG)


def _modules(folder: ModelFolder) -> list[str]:
    """Return the modules that texts pass through, by their class; those of other packages by their whole name."""
    if not folder.has("modules.json"):
        return list(_MODULES[0])
    names = [str(module.get("type")) for module in folder.read_json_list("modules.json")]
    return [name.rpartition(".")[2] if name.startswith(_PACKAGE) else name for name in names]


def _modes(settings: Mapping[str, Any]) -> list[str]:
    """Return the modes that a Pooling's configuration asks for, by the names of sentence-transformers."""
    mode = settings.get("pooling_mode")
    if mode is not None:
        return [str(item) for item in (mode if isinstance(mode, list) else [mode])]
    return [name for flag, name in _FLAGS.items() if settings.get(flag)] or ["mean"]


def _unsupported_settings(folder: ModelFolder, limits: Mapping[str, Any]) -> Iterator[str]:
    name = "config_sentence_transformers.json"
    settings = folder.read_optional_json(name)
    prompt = (settings.get("prompts") or {}).get(settings.get("default_prompt_name"))
    if prompt:
        yield f"the prompt {prompt!r} before each text"
    if settings.get("truncate_dim") is not None:
        yield f"embeddings cut to {settings['truncate_dim']} dimensions"
    tokenizer = folder.read_optional_json("tokenizer_config.json")
    if limits.get("do_lower_case") and not tokenizer.get("do_lower_case"):
        yield "texts in lower case (do_lower_case)"

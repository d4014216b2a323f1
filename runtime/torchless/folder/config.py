"""The model's `config.json`: its labels, and how many tokens it takes."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

__all__ = ["ModelConfig"]

# Families whose position embeddings are a table: a text longer than the table has no answer.
# Those of the second set count positions from the padding id, which costs them that many rows and one more.
# Source: `create_position_ids_from_input_ids` and `position_ids` of the models in transformers 4.57.6.
_COUNTED_FROM_ZERO = frozenset({
    "albert", "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt", "blenderbot",
    "blenderbot-small", "codegen", "convbert", "ctrl", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
    "flaubert", "fnet", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "layoutlm", "led", "marian", "mbart",
    "megatron-bert", "mobilebert", "mpt", "mvp", "nystromformer", "openai-gpt", "opt", "pegasus", "perceiver",
    "plbart", "qdqbert", "rembert", "roc_bert", "roformer", "splinter", "squeezebert", "visual_bert", "xglm", "xlm",
})  # fmt: skip
_COUNTED_FROM_PADDING = frozenset({
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
_COUNTED_FROM_TWO = frozenset({"mra", "nystromformer", "yoso"})
# Their tables of sinusoids have two more rows, and begin after the padding id. PyTorch makes the table longer for a longer
# text; a graph cannot.
_SINUSOIDS_FROM_PADDING = frozenset({"m2m_100", "nllb-moe"})
# What the families call the rows of the table, the encoder's first.
_POSITIONS = ("max_encoder_position_embeddings", "max_position_embeddings", "n_positions", "max_seq_len")
# The padding id that positions are counted from where config.json names none; MPNet asks for this one alone.
_PADDING_ID = 1

# Families that compute their past anew where their rotary frequencies change.
_RECOMPUTES = frozenset({"phi3", "phimoe"})


class ModelConfig:
    """The model's `config.json`, its keys as attributes, with the defaults that `transformers` gives to labels.

    Args:
        values: The values of `config.json`.
        max_tokens: The most tokens that the graphs are known to answer; by default as many as the positions allow.

    Attributes:
        id2label: What each logit stands for.
        label2id: The inverse of `id2label`.
    """

    def __init__(self, values: Mapping[str, Any], *, max_tokens: int | None = None) -> None:
        self._values = dict(values)
        self._max_tokens = max_tokens
        labels = values.get("id2label") or {index: f"LABEL_{index}" for index in range(values.get("num_labels", 2))}
        self.id2label: dict[int, str] = {int(index): label for index, label in labels.items()}
        self.label2id: dict[str, int] = values.get("label2id") or {
            label: index for index, label in self.id2label.items()
        }

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return len(self.id2label)

    @property
    def width(self) -> int:
        """The length of a token's hidden state; 0 where the configuration does not say."""
        return int(self.get("hidden_size") or self.get("dim") or self.get("d_model") or 0)

    @cached_property
    def max_tokens(self) -> int | None:
        """The longest input in tokens, special ones included, or None without a limit."""
        limits = (self._max_positions, self._max_tokens)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def context_length(self) -> int | None:
        """The tokens that the model was trained for, which rotary positions do not enforce; None if nothing says it."""
        if self.max_tokens is not None:
            return self.max_tokens
        positions, rope = self._positions, self.get("rope_scaling") or {}
        is_dynamic = (
            rope.get("rope_type", rope.get("type")) == "dynamic"
        )  # whose positions are those before the scaling
        return int(positions * (rope.get("factor") or 1)) if positions is not None and is_dynamic else positions

    @property
    def max_decoder_tokens(self) -> int | None:
        """The most tokens that the decoder of an encoder-decoder writes, the first one included; None without a limit."""
        positions = self.get("max_decoder_position_embeddings")
        return positions if isinstance(positions, int) else self.max_tokens

    @property
    def rotary_switch(self) -> int | None:
        """The tokens above which rotary frequencies change, those of the whole row; None of other models.

        Source: `dynamic_rope_update` in transformers 4.57.6, modeling_rope_utils.py.
        """
        rope = self.get("rope_scaling") or {}
        rope_type = str(rope.get("rope_type") or rope.get("type"))
        if "dynamic" not in rope_type and rope_type != "longrope":
            return None
        original = self.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings")
        tokens = original or self._positions
        return tokens if isinstance(tokens, int) else None

    @property
    def recompute_above(self) -> int | None:
        """The tokens above which Phi-3 computes its past anew, with other rotary frequencies; None of other models.

        Source: `Phi3ForCausalLM.prepare_inputs_for_generation` in transformers 4.57.6, modeling_phi3.py.
        """
        is_phi3 = self.get("model_type") in _RECOMPUTES and bool(self.get("rope_scaling"))
        return int(self.get("original_max_position_embeddings")) if is_phi3 else None

    @property
    def _positions(self) -> int | None:
        values = (self.get(name) for name in _POSITIONS)
        return next((value for value in values if isinstance(value, int)), None)

    @property
    def _max_positions(self) -> int | None:
        model_type, positions = self.get("model_type"), self._positions
        if positions is None or not self.get("position_biased_input", True):
            return None
        if self.get("position_embedding_type") in {"rotary", "alibi"}:
            return None
        if model_type in _COUNTED_FROM_ZERO | _COUNTED_FROM_TWO:  # the tables of the latter have two more rows
            return positions
        if model_type in _SINUSOIDS_FROM_PADDING:
            padding_id = self.get("pad_token_id")
            return positions + 1 - (_PADDING_ID if padding_id is None else int(padding_id))
        return None if self.counted_from is None else positions - self.counted_from - 1

    @cached_property
    def counted_from(self) -> int | None:
        """The padding id that positions are counted from: those of padding, and the first token has the next.

        None if they are counted from `first_position`.
        """
        if self.get("model_type") not in _COUNTED_FROM_PADDING:
            return None
        padding_id = None if self.get("model_type") == "mpnet" else self.get("pad_token_id")
        return _PADDING_ID if padding_id is None else int(padding_id)

    @property
    def first_position(self) -> int:
        """The position of a text's first token."""
        if self.counted_from is not None:
            return self.counted_from + 1
        return 2 if self.get("model_type") in _COUNTED_FROM_TWO else 0

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value of `config.json`, or a default."""
        return self._values.get(name, default)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}") from None

    def __repr__(self) -> str:
        return f"ModelConfig({self._values!r})"

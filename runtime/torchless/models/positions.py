"""The positions of tokens, for graphs that take them."""

import numpy as np
from numpy.typing import NDArray

from torchless.folder.config import ModelConfig

__all__ = ["position_ids"]


def position_ids(
    input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], config: ModelConfig
) -> NDArray[np.int64]:
    """Return the positions of tokens.

    Args:
        input_ids: (texts, tokens).
        attention_mask: 1 where a token counts and 0 where it is padding, of the same shape.
        config: It says where the model's family begins to count.

    Returns:
        They count the tokens that the mask lets count; padding has a position that nothing reads. Of the same shape.

    Source: `create_position_ids_from_input_ids` in transformers 4.57.6, models/roberta/modeling_roberta.py, for the
        families that count from padding: there the padding token takes no position within a text, either.
    """
    counts, padding = attention_mask == 1, config.counted_from
    if padding is not None:
        counts &= input_ids != padding
    positions = counts.cumsum(axis=-1) - 1 + config.first_position
    return np.where(counts, positions, 1 if padding is None else padding)

"""The interface between generation and a model."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Steps"]


class Steps(Protocol):
    """The steps of one generation through a decoder; the state is the cache. Only one thread may use it."""

    def begin(self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the prompts.

        Args:
            ids: Token ids, (rows, tokens), padded on the left; for an encoder-decoder, the decoder's first tokens.
            attention_mask: 1 for a token and 0 for padding, (rows, tokens).

        Returns:
            The logits of the next token, (rows, vocabulary). The caller may write to the array until the next call.
        """

    def advance(self, tokens: NDArray[np.int64], parents: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Run one more token for each row.

        Args:
            tokens: The tokens, (rows,).
            parents: The index of the earlier row that each row continues, (rows,): rows may be dropped, repeated or
                reordered. With None, each row continues itself, and nothing is copied.

        Returns:
            As `begin`.
        """

"""What generation needs of a model."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Steps"]


class Steps(Protocol):
    """One call's way through a decoder; its state is the cache. Used by one thread."""

    def begin(self, ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run the prompts.

        Args:
            ids: Token ids, (rows, tokens), padded on the left; of an encoder-decoder, the decoder's first tokens.
            attention_mask: 1 where a token counts and 0 where it is padding, (rows, tokens).

        Returns:
            The logits that follow, (rows, vocabulary). The array is the caller's to write to, until the next call.
        """

    def advance(self, tokens: NDArray[np.int64], parents: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Run one more token a row.

        Args:
            tokens: (rows,).
            parents: The earlier row that each continues, (rows,): rows may be dropped, repeated or reordered. None: each
                its own, in place, and nothing is copied.

        Returns:
            The logits that follow, (rows, vocabulary). The array is the caller's to write to, until the next call.
        """

"""One text at a time, by its length: how the suites about latency measure."""

from collections.abc import Sequence
from typing import Any

from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer
from benchmarks.texts import text_of, token_counter
from benchmarks.timing import summary

__all__ = ["by_length", "distilbert_by_length"]

ROUNDS = 15
CALLS = 10
WARM_UP_CALLS = 3


def by_length(contest: Contest, model: str, lengths: Sequence[int]) -> dict[str, Any]:
    """Time each peer on one text of each length, in turns.

    Args:
        contest: Where the peers are.
        model: The checkpoint whose tokenizer counts.
        lengths: In tokens.

    Returns:
        By length, in words, the figures of the peers.
    """
    count, found = token_counter(checkpoint(model)), {}
    for tokens in lengths:
        print(f"  {tokens} tokens: {ROUNDS} rounds of {CALLS} calls each", flush=True)
        text = text_of(tokens, count)
        rounds = contest.rounds([text], rounds=ROUNDS, repeats=CALLS, warm_up=[text] * WARM_UP_CALLS)
        found[str(tokens)] = summary(rounds)
    return found


def distilbert_by_length(peers: Sequence[Peer], lengths: Sequence[int]) -> dict[str, Any]:
    """Time peers of DistilBERT-base's shape on one text of each length, in turns.

    Args:
        peers: Who takes part.
        lengths: In tokens.

    Returns:
        A suite's figures.
    """
    with Contest(peers) as contest:
        return {
            "model": "DistilBERT-base's shape, random weights",
            "inputs": by_length(contest, "distilbert", lengths),
            "skipped": contest.skipped,
            "failed": contest.failed,
        }

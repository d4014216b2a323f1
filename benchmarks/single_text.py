"""The measurement of the latency suites: one text per call, for several lengths."""

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
        contest: The peers.
        model: The checkpoint whose tokenizer counts the tokens.
        lengths: The lengths in tokens.

    Returns:
        The figures of the peers, by length as a string.
    """
    count, found = token_counter(checkpoint(model)), {}
    for tokens in lengths:
        print(f"  {tokens} tokens: {ROUNDS} rounds of {CALLS} calls each", flush=True)
        text = text_of(tokens, count)
        rounds = contest.rounds([text], rounds=ROUNDS, repeats=CALLS, warm_up=[text] * WARM_UP_CALLS)
        found[str(tokens)] = summary(rounds)
    return found


def distilbert_by_length(peers: Sequence[Peer], lengths: Sequence[int]) -> dict[str, Any]:
    """Time peers with the shape of DistilBERT-base on one text of each length, in turns.

    Args:
        peers: The peers.
        lengths: The lengths in tokens.

    Returns:
        The figures of a suite.
    """
    with Contest(peers) as contest:
        return {
            "model": "DistilBERT-base's shape, random weights",
            "inputs": by_length(contest, "distilbert", lengths),
            "skipped": contest.skipped,
            "failed": contest.failed,
        }

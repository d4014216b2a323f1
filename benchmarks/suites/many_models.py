"""Several models in one process: how much the others slow the busy one."""

from typing import Any

from tokenizers import Tokenizer

from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer
from benchmarks.table import Table
from benchmarks.texts import text_of
from benchmarks.timing import summary

OTHERS = 5
TOKENS = (16, 128)
ROUNDS = 15
CALLS = 10
WARM_UP_CALLS = 3
DTYPES = ("fp32", "q8")

PEERS = tuple(
    Peer(
        name=f"torchless, {dtype}{suffix}",
        engine="torchless",
        model="distilbert-torchless",
        settings={"dtype": dtype, **settings},
    )
    for dtype in DTYPES
    for suffix, settings in (("", {}), (", five others called", {"others": OTHERS}))
)


def measure() -> dict[str, Any]:
    """Time a pipeline alone in its process, and one beside five others that are each called once before each of its calls."""
    tokenizer = Tokenizer.from_file(str(checkpoint("distilbert") / "tokenizer.json"))
    with Contest(PEERS) as contest:
        inputs = {}
        for tokens in TOKENS:
            print(f"  {tokens} tokens: {ROUNDS} rounds of {CALLS} calls each", flush=True)
            text = text_of(tokens, lambda text: len(tokenizer.encode(text).ids))
            rounds = contest.rounds([text], rounds=ROUNDS, repeats=CALLS, warm_up=[text] * WARM_UP_CALLS)
            inputs[str(tokens)] = summary(rounds)
        return {
            "model": "DistilBERT-base's shape, random weights",
            "inputs": inputs,
            "skipped": contest.skipped,
            "failed": contest.failed,
        }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the times alone and beside the others."""
    rows = []
    for dtype in DTYPES:
        for tokens, one in figures["inputs"].items():
            alone = f"torchless, {dtype}"
            beside = f"{alone}, five others called"
            if {alone, beside} <= one["ms"].keys():
                slower = one["times_faster"][alone][beside]
                times = (f"{one['ms'][name]['median']:.2f}" for name in (alone, beside))
                rows.append((f"{dtype}, {tokens} tokens", *times, f"{slower:.2f}×"))
    header = ("", "alone, ms", "beside five others, ms", "slower")
    return [Table(title="A busy model among others in one process", header=header, rows=rows)]

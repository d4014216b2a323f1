"""Serving over HTTP: the time that a request adds to a call of the pipeline, and the texts per second over many connections."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.batch_sizes import texts_per_second
from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer, torchless_peers
from benchmarks.table import Table
from benchmarks.texts import length_statistics, short_texts, text_of, token_counter
from benchmarks.timing import ratio, spread, summary

CONNECTIONS = 64
TOKENS = 16
CALL_ROUNDS = 15
CALLS = 20
WARM_UP_CALLS = 5
ROUNDS = 5
TEXTS = 2000
PYTORCH_ROUNDS = 3
PYTORCH_TEXTS = 256
WARM_UP_TEXTS = 128
COMPARED = 100
DTYPES = ("fp32", "q8")
TOLERANCE = 1e-5  # the largest change of a score by a batch

CALLED = torchless_peers("distilbert-torchless", DTYPES)
SERVED = tuple(
    Peer(
        name=f"torchless, {dtype}, served",
        engine="torchless_served",
        model="distilbert-torchless",
        settings={"dtype": dtype, "connections": CONNECTIONS},
    )
    for dtype in DTYPES
)
PYTORCH = (
    Peer(
        name="transformers.pipeline behind FastAPI",
        engine="fastapi_served",
        model="distilbert",
        settings={"connections": CONNECTIONS},
    ),
)


def measure() -> dict[str, Any]:
    """Compare the answers of the servers and the pipelines, then time both in turns. The client uses the same cores."""
    texts, count = short_texts(TEXTS), token_counter(checkpoint("distilbert"))
    with Contest((*CALLED, *SERVED, *PYTORCH)) as contest:
        _compare(contest, texts[:COMPARED])
        print(f"  one connection, {TOKENS} tokens: {CALL_ROUNDS} rounds of {CALLS} requests each", flush=True)
        text = text_of(TOKENS, count)
        names = [peer.name for peer in (*CALLED, *SERVED)]
        calls = contest.rounds([text], rounds=CALL_ROUNDS, repeats=CALLS, warm_up=[text] * WARM_UP_CALLS, names=names)
        print(f"  {CONNECTIONS} connections, {TEXTS} texts: {ROUNDS} rounds", flush=True)
        many = contest.rounds([texts], rounds=ROUNDS, warm_up=[texts[:WARM_UP_TEXTS]], names=names)
        print(f"  {CONNECTIONS} connections, {PYTORCH_TEXTS} texts: {PYTORCH_ROUNDS} rounds", flush=True)
        served = [peer.name for peer in (*SERVED, *PYTORCH)]
        few_texts = texts[:PYTORCH_TEXTS]
        few = contest.rounds([few_texts], rounds=PYTORCH_ROUNDS, warm_up=[texts[:WARM_UP_TEXTS]], names=served)
        return {
            "model": "DistilBERT-base's shape, random weights",
            "inputs": {
                "latency": {**summary(calls), "added_ms": added_ms(calls)},
                "throughput": {
                    **length_statistics(texts, count),
                    **summary(many),
                    "texts_per_second": texts_per_second(many, TEXTS),
                    "pipeline_share": pipeline_share(many),
                },
                "reference": {**summary(few), "texts_per_second": texts_per_second(few, PYTORCH_TEXTS)},
            },
            "skipped": contest.skipped,
            "failed": contest.failed,
        }


def added_ms(rounds: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, dict[str, Any]]:
    """Return the time that serving adds to a call, by dtype: the difference of the medians of each round.

    Args:
        rounds: By peer, the times of its calls in each round, in milliseconds.
    """
    return {
        called.name: spread(
            [median(a) - median(b) for a, b in zip(rounds[served.name], rounds[called.name], strict=True)]
        )
        for called, served in zip(CALLED, SERVED, strict=True)
        if {called.name, served.name} <= rounds.keys()
    }


def pipeline_share(rounds: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """Return the rate of the server as a share of the rate of the pipeline, by dtype. The pipeline gets all texts in one call.

    Args:
        rounds: By peer, the times of its calls in each round, in milliseconds.
    """
    return {
        called.name: ratio(rounds[called.name], rounds[served.name])
        for called, served in zip(CALLED, SERVED, strict=True)
        if {called.name, served.name} <= rounds.keys()
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the tables of the added time, and of texts per second."""
    item, many, few = (figures["inputs"][name] for name in ("latency", "throughput", "reference"))
    rows = []
    for called, served in zip(CALLED, SERVED, strict=True):
        if called.name in item["added_ms"]:
            times = [f"{item['ms'][peer.name]['median']:.2f}" for peer in (called, served)]
            added = item["added_ms"][called.name]
            rows.append((called.name, *times, "{:.2f} ({:.2f}–{:.2f})".format(added["median"], *added["quartiles"])))
    added_table = Table(
        title=f"One connection, one text of {TOKENS} tokens, milliseconds",
        header=("", "pipeline", "server", "added"),
        rows=rows,
    )
    shares = {f"{name}, served": share for name, share in many["pipeline_share"].items()}
    rows = [
        (name, _rate(rate), f"{100 * shares[name]:.0f} %" if name in shares else "–")
        for name, rate in many["texts_per_second"].items()
    ]
    title = f"{CONNECTIONS} connections, {many['texts']:,} texts, {many['mean_tokens']:.0f} tokens on average"
    many_table = Table(title=title, header=("", "texts per second", "relative to the pipeline"), rows=rows)
    rows = []
    for name, rate in few["texts_per_second"].items():
        times_faster = few["times_faster"][name].get(PYTORCH[0].name)
        rows.append((name, _rate(rate), "–" if times_faster is None else f"{times_faster:.2f}×"))
    title = f"{CONNECTIONS} connections, {PYTORCH_TEXTS} of the texts"
    return [added_table, many_table, Table(title=title, header=("", "texts per second", "times faster"), rows=rows)]


def _rate(rate: Mapping[str, Any]) -> str:
    return "{:.0f} ({:.0f}–{:.0f})".format(rate["median"], *rate["quartiles"])


def _compare(contest: Contest, texts: list[str]) -> None:
    """Exclude servers whose answers differ from those of the pipeline."""
    for called, served in zip(CALLED, SERVED, strict=True):
        expected, found = contest.answers(called.name, [texts]), contest.answers(served.name, [texts])
        if expected is None or found is None:
            continue
        for item, answer in zip(expected[0], found[0], strict=True):
            best = _first(answer)
            if best["label"] != item["label"] or abs(best["score"] - item["score"]) > TOLERANCE:
                contest.exclude(served.name, f"its answer is {best}, and that of the pipeline is {item}")
                break


def _first(answer: Any) -> dict[str, Any]:
    """Return the first label of an answer at any nesting depth."""
    while isinstance(answer, list):
        answer = answer[0]
    found: dict[str, Any] = answer
    return found

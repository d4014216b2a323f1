"""Throughput: short and long texts per second, by peer and batch size."""

from statistics import median
from typing import Any

from benchmarks.batch_sizes import BATCH_SIZES, best_batch_sizes, texts_per_second
from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer, torchless_peers
from benchmarks.table import Table
from benchmarks.texts import length_statistics, long_texts, short_texts, token_counter
from benchmarks.timing import summary

ROUNDS = 3
MAX_TOKENS = 512
WARM_UP_TEXTS = 32
SEARCH_TEXTS = {"short": 256, "long": 32}  # texts
POLICY_TEXTS = 512
POLICY_ROUNDS = 3

_TRUNCATION: dict[str, Any] = {"truncation": True, "max_length": MAX_TOKENS}

PYTORCH = (
    Peer(name="transformers.pipeline", engine="transformers_pipeline", model="distilbert", settings=_TRUNCATION),
    Peer(
        name="transformers.pipeline, bf16",
        engine="transformers_pipeline",
        model="distilbert",
        settings={"dtype": "bfloat16", **_TRUNCATION},
    ),
    Peer(name="PyTorch loop, sorted by length", engine="pytorch_loop", model="distilbert"),
    Peer(
        name="PyTorch loop, sorted by length, bf16",
        engine="pytorch_loop",
        model="distilbert",
        settings={"dtype": "bfloat16"},
    ),
)
OURS = torchless_peers("distilbert-torchless", **_TRUNCATION)
SINGLE_CORE = tuple(
    Peer(name=f"{peer.name}, one core", engine=peer.engine, model=peer.model, settings={**peer.settings, "cores": 1})
    for peer in OURS
)


def measure() -> dict[str, Any]:
    """Time each peer on all texts, in turns, PyTorch at its best batch size."""
    count = token_counter(checkpoint("distilbert"), max_tokens=MAX_TOKENS)
    samples = {"short": short_texts(), "long": long_texts()}
    inputs: dict[str, Any] = {}
    with Contest((*PYTORCH, *OURS)) as contest:
        for kind, texts in samples.items():
            sizes, searched = best_batch_sizes(contest, [peer.name for peer in PYTORCH], texts[: SEARCH_TEXTS[kind]])
            print(f"  {len(texts)} {kind} texts: {ROUNDS} rounds", flush=True)
            rounds = contest.rounds([texts], rounds=ROUNDS, warm_up=[texts[:WARM_UP_TEXTS]], batch_sizes=sizes)
            inputs[kind] = {
                **length_statistics(texts, count),
                **summary(rounds),
                "texts_per_second": texts_per_second(rounds, len(texts)),
                "batch_sizes": sizes,
                "searched": searched,
            }
        print("  batch policies", flush=True)
        policies = _policies(contest, samples["short"][:POLICY_TEXTS])
        skipped, failed = contest.skipped, contest.failed
    cores, cores_skipped, cores_failed = _cores(samples["short"][:POLICY_TEXTS])
    return {
        "model": "DistilBERT-base's shape, random weights",
        "inputs": inputs,
        "policies": policies,
        "cores": cores,
        "skipped": skipped | cores_skipped,
        "failed": failed | cores_failed,
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the tables of texts per second by kind, and of all cores compared with one."""
    kind_tables = [_kind_table(kind, item) for kind, item in figures["inputs"].items()]
    cores = figures["cores"]
    rows = []
    for peer in OURS:
        times = cores["times_faster"].get(peer.name, {}).get(f"{peer.name}, one core")
        rows.append((peer.name, "–" if times is None else f"{times:.2f}×"))
    return [
        *kind_tables,
        Table(title="All cores compared with one core, short texts", header=("", "times faster"), rows=rows),
    ]


def _policies(contest: Contest, texts: list[str]) -> dict[str, Any]:
    """Return the texts per second of torchless by batch size, and with its own planning by tokens: `planned`."""
    policies = {"planned": None, **{str(size): size for size in BATCH_SIZES}}
    names = [peer.name for peer in OURS if peer.name in contest]
    rates: dict[str, dict[str, list[float]]] = {name: {policy: [] for policy in policies} for name in names}
    for _ in range(POLICY_ROUNDS):
        for policy, size in policies.items():
            sizes = dict.fromkeys(names, size)
            rounds = contest.rounds([texts], rounds=1, warm_up=[texts[:WARM_UP_TEXTS]], names=names, batch_sizes=sizes)
            for name, rate in texts_per_second(rounds, len(texts)).items():
                rates[name][policy].append(rate["median"])
    return {
        name: {policy: median(policy_rates) for policy, policy_rates in peer_rates.items() if policy_rates}
        for name, peer_rates in rates.items()
    }


def _cores(texts: list[str]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    with Contest((*OURS, *SINGLE_CORE)) as contest:
        print(f"  {len(texts)} short texts on one core and on all: {ROUNDS} rounds", flush=True)
        rounds = contest.rounds([texts], rounds=ROUNDS, warm_up=[texts[:WARM_UP_TEXTS]])
        return summary(rounds), contest.skipped, contest.failed


def _kind_table(kind: str, figures: dict[str, Any]) -> Table:
    rows = []
    for name, rate in figures["texts_per_second"].items():
        times = figures["times_faster"][name].get(PYTORCH[0].name)
        size = figures["batch_sizes"].get(name)
        spread = "{:.1f} ({:.1f}–{:.1f})".format(rate["median"], *rate["quartiles"])
        rows.append((name, str(size or "automatic"), spread, "–" if times is None else f"{times:.2f}×"))
    title = f"{figures['texts']:,} {kind} texts, {figures['mean_tokens']:.0f} tokens on average"
    return Table(title=title, header=("", "batch size", "texts per second", "times faster"), rows=rows)

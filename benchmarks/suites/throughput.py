"""Many texts at once: how many a second, short and long, by who batches them and how."""

from statistics import median
from typing import Any

from benchmarks.batch_sizes import BATCH_SIZES, best, texts_a_second
from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer, ours
from benchmarks.table import Table
from benchmarks.texts import described, long_texts, short_texts, token_counter
from benchmarks.timing import summary

ROUNDS = 3
MAX_TOKENS = 512
WARM_UP_TEXTS = 32
SEARCHED_ON = {"short": 256, "long": 32}  # texts
POLICY_TEXTS = 512
POLICY_ROUNDS = 3

_CUT_THERE: dict[str, Any] = {"truncation": True, "max_length": MAX_TOKENS}

PYTORCH = (
    Peer(name="transformers.pipeline", engine="transformers_pipeline", model="distilbert", settings=_CUT_THERE),
    Peer(
        name="transformers.pipeline, bf16",
        engine="transformers_pipeline",
        model="distilbert",
        settings={"dtype": "bfloat16", **_CUT_THERE},
    ),
    Peer(name="PyTorch by hand, sorted", engine="pytorch_by_hand", model="distilbert"),
    Peer(
        name="PyTorch by hand, sorted, bf16",
        engine="pytorch_by_hand",
        model="distilbert",
        settings={"dtype": "bfloat16"},
    ),
)
OURS = ours("distilbert-torchless", **_CUT_THERE)
ONE_CORE = tuple(
    Peer(name=f"{peer.name}, one core", engine=peer.engine, model=peer.model, settings={**peer.settings, "cores": 1})
    for peer in OURS
)


def measure() -> dict[str, Any]:
    """Time each peer on all the texts, in turns, PyTorch at the batch size that serves it best."""
    count = token_counter(checkpoint("distilbert"), max_tokens=MAX_TOKENS)
    samples = {"short": short_texts(), "long": long_texts()}
    inputs: dict[str, Any] = {}
    with Contest((*PYTORCH, *OURS)) as contest:
        for kind, texts in samples.items():
            sizes, searched = best(contest, [peer.name for peer in PYTORCH], texts[: SEARCHED_ON[kind]])
            print(f"  {len(texts)} {kind} texts: {ROUNDS} rounds", flush=True)
            rounds = contest.rounds([texts], rounds=ROUNDS, warm_up=[texts[:WARM_UP_TEXTS]], batch_sizes=sizes)
            inputs[kind] = {
                **described(texts, count),
                **summary(rounds),
                "texts_a_second": texts_a_second(rounds, len(texts)),
                "batch_sizes": sizes,
                "searched": searched,
            }
        print("  batch policies", flush=True)
        policies = _policies(contest, samples["short"][:POLICY_TEXTS])
        skipped, failed = contest.skipped, contest.failed
    cores, skipped_too, failed_too = _cores(samples["short"][:POLICY_TEXTS])
    return {
        "model": "DistilBERT-base's shape, random weights",
        "inputs": inputs,
        "policies": policies,
        "cores": cores,
        "skipped": skipped | skipped_too,
        "failed": failed | failed_too,
    }


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return texts a second by kind, and one core beside two."""
    made = [_kind_table(kind, item) for kind, item in figures["inputs"].items()]
    cores = figures["cores"]
    rows = []
    for peer in OURS:
        times = cores["times_faster"].get(peer.name, {}).get(f"{peer.name}, one core")
        rows.append((peer.name, "–" if times is None else f"{times:.2f}×"))
    return [*made, Table(title="All cores against one, short texts", header=("", "times faster"), rows=rows)]


def _policies(contest: Contest, texts: list[str]) -> dict[str, Any]:
    """Return torchless's texts a second by batch size, and as it plans by itself: `own`."""
    policies = {"own": None, **{str(size): size for size in BATCH_SIZES}}
    names = [peer.name for peer in OURS if peer.name in contest]
    rates: dict[str, dict[str, list[float]]] = {name: {policy: [] for policy in policies} for name in names}
    for _ in range(POLICY_ROUNDS):
        for policy, size in policies.items():
            sizes = dict.fromkeys(names, size)
            rounds = contest.rounds([texts], rounds=1, warm_up=[texts[:WARM_UP_TEXTS]], names=names, batch_sizes=sizes)
            for name, rate in texts_a_second(rounds, len(texts)).items():
                rates[name][policy].append(rate["median"])
    return {
        name: {policy: median(each) for policy, each in by_policy.items() if each} for name, by_policy in rates.items()
    }


def _cores(texts: list[str]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    with Contest((*OURS, *ONE_CORE)) as contest:
        print(f"  {len(texts)} short texts on one core and on all: {ROUNDS} rounds", flush=True)
        rounds = contest.rounds([texts], rounds=ROUNDS, warm_up=[texts[:WARM_UP_TEXTS]])
        return summary(rounds), contest.skipped, contest.failed


def _kind_table(kind: str, figures: dict[str, Any]) -> Table:
    rows = []
    for name, rate in figures["texts_a_second"].items():
        times = figures["times_faster"][name].get(PYTORCH[0].name)
        size = figures["batch_sizes"].get(name)
        spread = "{:.1f} ({:.1f}–{:.1f})".format(rate["median"], *rate["quartiles"])
        rows.append((name, str(size or "its own"), spread, "–" if times is None else f"{times:.2f}×"))
    title = f"{figures['texts']:,} {kind} texts, {figures['mean_tokens']:.0f} tokens on average"
    return Table(title=title, header=("", "batch size", "texts a second", "times faster"), rows=rows)

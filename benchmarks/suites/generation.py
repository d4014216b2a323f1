"""Generative models: tokens per second by engine, for one text and for a batch of eight, greedy and with beam search."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.checkpoints import checkpoint
from benchmarks.contest import Contest
from benchmarks.peers import Peer
from benchmarks.table import Table
from benchmarks.texts import token_rows
from benchmarks.timing import spread, summary

DTYPES = ("fp32", "q8", "q4")
ROUNDS = 5
PROMPT_TOKENS, NEW_TOKENS = 32, 64
SOURCE_TOKENS, SUMMARY_TOKENS, BEAMS = 200, 48, 4
BATCH_PROMPTS = 8
COMPARED_TOKENS = 8  # after the first tokens, rounding may make another token the likeliest
SHORT_TOKENS = 4
SHORT_PROMPTS = (4, 8, 16, 32)  # tokens
CALLS, WARM_CALLS = 200, 50


def _peers(model: str, *, extra: Sequence[Peer] = (), **settings: Any) -> tuple[Peer, ...]:
    return (
        Peer(name="PyTorch", engine="pytorch_generator", model=model, settings=settings),
        *extra,
        Peer(name="CTranslate2, fp32", engine="ctranslate2_generator", model=f"{model}-ctranslate2", settings=settings),
        Peer(
            name="CTranslate2, int8",
            engine="ctranslate2_generator",
            model=f"{model}-ctranslate2",
            settings={"compute_type": "int8", **settings},
        ),
        *_torchless_peers("torchless_generator", model, **settings),
    )


def _torchless_peers(engine: str, model: str, **settings: Any) -> tuple[Peer, ...]:
    return tuple(
        Peer(
            name=f"torchless, {dtype}",
            engine=engine,
            model=f"{model}-torchless",
            settings={"dtype": dtype, **settings},
        )
        for dtype in DTYPES
    )


def _greedy(model: str, *, extra: Sequence[Peer] = ()) -> tuple[Peer, ...]:
    settings = {"new_tokens": NEW_TOKENS}
    more_peers = (
        Peer(name="PyTorch, bf16", engine="pytorch_generator", model=model, settings={"dtype": "bfloat16", **settings}),
        *extra,
        Peer(name="optimum, fp32", engine="optimum_generator", model=f"{model}-optimum", settings=settings),
    )
    return _peers(model, extra=more_peers, **settings)


COMPILED = Peer(
    name="PyTorch, torch.compile",
    engine="pytorch_generator",
    model="gpt2",
    settings={"compiled": True, "new_tokens": NEW_TOKENS},
)
GPT2, LLAMA = _greedy("gpt2", extra=[COMPILED]), _greedy("llama")
T5, BART = (_peers(model, new_tokens=SUMMARY_TOKENS, beams=BEAMS) for model in ("t5", "bart"))
BATCHED = _torchless_peers("torchless_generator", "gpt2", new_tokens=NEW_TOKENS)
PROFILED = _torchless_peers("torchless_profiled", "gpt2", new_tokens=NEW_TOKENS)
SHORT = _torchless_peers("torchless_profiled", "gpt2", new_tokens=SHORT_TOKENS)
FLOAT32 = ("PyTorch", "PyTorch, torch.compile", "optimum, fp32", "CTranslate2, fp32", "torchless, fp32")
TITLES = {
    "gpt2": "GPT-2 small's shape, greedy",
    "llama": "a llama's shape with grouped queries, greedy",
    "t5": f"T5-small's shape, {BEAMS} beams",
    "bart": f"BART-base's shape, {BEAMS} beams",
}


def measure() -> dict[str, Any]:
    """Time each peer on one text, in turns, by shape. Then time torchless on a batch of eight texts, and profile its calls."""
    found: dict[str, Any] = {"inputs": {}, "skipped": {}, "failed": {}}
    for model, peers in {"gpt2": GPT2, "llama": LLAMA, "t5": T5, "bart": BART}.items():
        with_beams = model in {"t5", "bart"}
        tokens, new = (SOURCE_TOKENS, SUMMARY_TOKENS) if with_beams else (PROMPT_TOKENS, NEW_TOKENS)
        print(f"  {TITLES[model]}: {ROUNDS} rounds", flush=True)
        with Contest(peers) as contest:
            prompts = token_rows(checkpoint(model), 1, tokens)
            _exclude_deviating(contest, prompts)
            rounds = contest.rounds([prompts], rounds=ROUNDS)
            found["inputs"][model] = {
                "tokens": tokens, "new_tokens": new, **summary(rounds), "tokens_per_second": _rates(rounds, new)
            }  # fmt: skip
            _record_absences(found, contest, TITLES[model])
    found["batched"] = _batched(found)
    found["outside"], found["growth"] = _profile(found)
    return {"model": "Random weights", **found}


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the tables of tokens per second by shape, of a batch, and of the profile of a call."""
    shape_tables = [_shape_table(model, item) for model, item in figures["inputs"].items()]
    rows = [
        (
            name,
            f"{item['tokens_per_second']['1']:.0f}",
            f"{item['tokens_per_second'][str(BATCH_PROMPTS)]:.0f}",
            f"{item['times']:.2f}×",
        )
        for name, item in figures["batched"].items()
    ]
    header = ("", "one text", f"batch of {BATCH_PROMPTS}", "ratio")
    shape_tables.append(Table(title="Tokens per second, GPT-2 small's shape, greedy", header=header, rows=rows))
    names = [name for name in figures["outside"] if name in figures["growth"]]
    costs = [(name, f"{figures['outside'][name]:.1%}", f"{figures['growth'][name] - 1:+.2%}") for name in names]
    columns = ("", "time outside of ONNX Runtime", f"memory growth from call {WARM_CALLS} to {CALLS}")
    return [*shape_tables, Table(title="Profile of a call, GPT-2 small's shape", header=columns, rows=costs)]


def _exclude_deviating(contest: Contest, prompts: list[list[int]]) -> None:
    """Exclude peers that compute in float32 and whose first tokens differ from those of PyTorch."""
    first: dict[str, list[int]] = {}
    for name in FLOAT32:
        answers = contest.answers(name, [prompts])
        if answers is not None:
            first[name] = answers[0][0][:COMPARED_TOKENS]
    expected = first.get("PyTorch")
    for name, tokens in first.items():
        if expected is not None and tokens != expected:
            contest.exclude(name, f"its first tokens are {tokens}, and those of PyTorch are {expected}")


def _rates(rounds: dict[str, list[list[float]]], tokens: int) -> dict[str, Any]:
    """Return the tokens per second by peer: the median and the quartiles of all calls."""
    return {
        name: spread([1000 * tokens / ms for times in peer_rounds for ms in times])
        for name, peer_rounds in rounds.items()
    }


def _batched(found: dict[str, Any]) -> dict[str, Any]:
    """Return the tokens per second of torchless for one text and for a batch, measured in the same rounds."""
    print(f"  a batch of {BATCH_PROMPTS} texts: {ROUNDS} rounds", flush=True)
    rows = token_rows(checkpoint("gpt2"), BATCH_PROMPTS, PROMPT_TOKENS)
    with Contest(BATCHED) as contest:
        rounds = contest.rounds([rows[:1], rows], rounds=ROUNDS)
        _record_absences(found, contest, "batch")
    return {
        name: {
            "tokens_per_second": {
                "1": median(1000 * NEW_TOKENS / single_ms for single_ms, _ in times),
                str(BATCH_PROMPTS): median(1000 * NEW_TOKENS * BATCH_PROMPTS / batch_ms for _, batch_ms in times),
            },
            "times": median(BATCH_PROMPTS * single_ms / batch_ms for single_ms, batch_ms in times),
        }
        for name, times in rounds.items()
    }


def _profile(found: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the share of time outside of ONNX Runtime and the growth of memory over many short calls, by peer."""
    print(f"  {CALLS} short calls", flush=True)
    outside: dict[str, float] = {}
    growth: dict[str, float] = {}
    prompts = token_rows(checkpoint("gpt2"), 1, PROMPT_TOKENS)
    with Contest(PROFILED) as contest:
        for name in tuple(contest):
            answers = contest.answers(name, [prompts] * (ROUNDS + 1))
            if answers is not None:
                outside[name] = median(item["outside"] for item in answers[1:])
        _record_absences(found, contest, "profile")
    short = [[prompts[0][: SHORT_PROMPTS[index % len(SHORT_PROMPTS)]]] for index in range(CALLS)]
    with Contest(SHORT) as contest:
        for name in tuple(contest):
            answers = contest.answers(name, short)
            if answers is not None:
                growth[name] = answers[CALLS - 1]["resident_bytes"] / answers[WARM_CALLS - 1]["resident_bytes"]
        _record_absences(found, contest, "short calls")
    return outside, growth


def _record_absences(found: dict[str, Any], contest: Contest, part: str) -> None:
    """Record the peers that were absent or failed in a part of the suite."""
    found["skipped"] |= contest.skipped
    found["failed"] |= {f"{name}, {part}": reason for name, reason in contest.failed.items()}


def _shape_table(model: str, figures: dict[str, Any]) -> Table:
    rows = []
    for name, rate in figures["tokens_per_second"].items():
        faster = figures["times_faster"][name]
        times = (faster.get(peer) for peer in ("PyTorch", "CTranslate2, fp32", "CTranslate2, int8"))
        rows.append(
            (
                name,
                "{:.0f} ({:.0f}–{:.0f})".format(rate["median"], *rate["quartiles"]),
                *("–" if item is None else f"{item:.2f}×" for item in times),
            )
        )
    title = f"{TITLES[model]}: {figures['new_tokens']} new tokens after {figures['tokens']}"
    header = ("", "tokens per second", "times faster than PyTorch", "than CTranslate2, fp32", "than CTranslate2, int8")
    return Table(title=title[0].upper() + title[1:], header=header, rows=rows)

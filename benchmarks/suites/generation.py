"""Models that write: tokens a second by who runs them, one text and eight at once, greedy and with beams."""

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
READ_TOKENS, SUMMARY_TOKENS, BEAMS = 200, 48, 4
TOGETHER = 8
ALIKE_TOKENS = 8  # beyond the first few, rounding may make another token the likeliest
SHORT_TOKENS = 4
SHORT_PROMPTS = (4, 8, 16, 32)  # tokens
CALLS, CALLS_BEFORE = 200, 50


def _peers(model: str, *, extra: Sequence[Peer] = (), **settings: Any) -> tuple[Peer, ...]:
    return (
        Peer(name="PyTorch", engine="pytorch_writer", model=model, settings=settings),
        *extra,
        Peer(name="CTranslate2, fp32", engine="ctranslate2_writer", model=f"{model}-ctranslate2", settings=settings),
        Peer(
            name="CTranslate2, int8",
            engine="ctranslate2_writer",
            model=f"{model}-ctranslate2",
            settings={"compute_type": "int8", **settings},
        ),
        *_ours("torchless_writer", model, **settings),
    )


def _ours(engine: str, model: str, **settings: Any) -> tuple[Peer, ...]:
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
    other = (
        Peer(name="PyTorch, bf16", engine="pytorch_writer", model=model, settings={"dtype": "bfloat16", **settings}),
        *extra,
        Peer(name="optimum, fp32", engine="optimum_writer", model=f"{model}-optimum", settings=settings),
    )
    return _peers(model, extra=other, **settings)


COMPILED = Peer(
    name="PyTorch, torch.compile",
    engine="pytorch_writer",
    model="gpt2",
    settings={"compiled": True, "new_tokens": NEW_TOKENS},
)
GPT2, LLAMA = _greedy("gpt2", extra=[COMPILED]), _greedy("llama")
T5, BART = (_peers(model, new_tokens=SUMMARY_TOKENS, beams=BEAMS) for model in ("t5", "bart"))
TOGETHERS = _ours("torchless_writer", "gpt2", new_tokens=NEW_TOKENS)
WATCHED = _ours("torchless_watched", "gpt2", new_tokens=NEW_TOKENS)
SHORT = _ours("torchless_watched", "gpt2", new_tokens=SHORT_TOKENS)
FLOAT32 = ("PyTorch", "PyTorch, torch.compile", "optimum, fp32", "CTranslate2, fp32", "torchless, fp32")
TITLES = {
    "gpt2": "GPT-2 small's shape, greedy",
    "llama": "a llama's shape with grouped queries, greedy",
    "t5": f"T5-small's shape, {BEAMS} beams",
    "bart": f"BART-base's shape, {BEAMS} beams",
}


def measure() -> dict[str, Any]:
    """Time each peer on one text, in turns, by shape; then ours on eight texts at once, and what a call costs besides."""
    found: dict[str, Any] = {"inputs": {}, "skipped": {}, "failed": {}}
    for model, peers in {"gpt2": GPT2, "llama": LLAMA, "t5": T5, "bart": BART}.items():
        with_beams = model in {"t5", "bart"}
        tokens, new = (READ_TOKENS, SUMMARY_TOKENS) if with_beams else (PROMPT_TOKENS, NEW_TOKENS)
        print(f"  {TITLES[model]}: {ROUNDS} rounds", flush=True)
        with Contest(peers) as contest:
            prompts = token_rows(checkpoint(model), 1, tokens)
            _check_alike(contest, prompts)
            rounds = contest.rounds([prompts], rounds=ROUNDS)
            found["inputs"][model] = {
                "tokens": tokens, "new_tokens": new, **summary(rounds), "tokens_a_second": _rates(rounds, new)
            }  # fmt: skip
            _note(found, contest, TITLES[model])
    found["together"] = _together(found)
    found["outside"], found["growth"] = _cost(found)
    return {"model": "Random weights", **found}


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return tokens a second by shape, those of many texts at once, and what a call costs besides."""
    made = [_shape_table(model, item) for model, item in figures["inputs"].items()]
    rows = [
        (
            name,
            f"{item['tokens_a_second']['1']:.0f}",
            f"{item['tokens_a_second'][str(TOGETHER)]:.0f}",
            f"{item['times']:.2f}×",
        )
        for name, item in figures["together"].items()
    ]
    header = ("", "one text", f"{TOGETHER} at once", "times as many")
    made.append(Table(title="Tokens a second, GPT-2 small's shape, greedy", header=header, rows=rows))
    names = [name for name in figures["outside"] if name in figures["growth"]]
    costs = [(name, f"{figures['outside'][name]:.1%}", f"{figures['growth'][name] - 1:+.2%}") for name in names]
    columns = ("", "time outside of ONNX Runtime", f"memory after {CALLS} calls, beyond that after {CALLS_BEFORE}")
    return [*made, Table(title="What a call costs besides, GPT-2 small's shape", header=columns, rows=costs)]


def _check_alike(contest: Contest, prompts: list[list[int]]) -> None:
    """Let those who compute in float32 take part only if their first tokens are PyTorch's."""
    first: dict[str, list[int]] = {}
    for name in FLOAT32:
        answers = contest.answers(name, [prompts])
        if answers is not None:
            first[name] = answers[0][0][:ALIKE_TOKENS]
    expected = first.get("PyTorch")
    for name, tokens in first.items():
        if expected is not None and tokens != expected:
            contest.exclude(name, f"writes {tokens}, where PyTorch writes {expected}")


def _rates(rounds: dict[str, list[list[float]]], tokens: int) -> dict[str, Any]:
    """Return by peer its tokens a second, the median and quartiles of all its calls."""
    return {name: spread([1000 * tokens / ms for times in each for ms in times]) for name, each in rounds.items()}


def _together(found: dict[str, Any]) -> dict[str, Any]:
    """Return how many tokens a second we write for one text and for several at once, in the same rounds."""
    print(f"  {TOGETHER} texts at once: {ROUNDS} rounds", flush=True)
    rows = token_rows(checkpoint("gpt2"), TOGETHER, PROMPT_TOKENS)
    with Contest(TOGETHERS) as contest:
        rounds = contest.rounds([rows[:1], rows], rounds=ROUNDS)
        _note(found, contest, "at once")
    return {
        name: {
            "tokens_a_second": {
                "1": median(1000 * NEW_TOKENS / alone for alone, _ in times),
                str(TOGETHER): median(1000 * NEW_TOKENS * TOGETHER / at_once for _, at_once in times),
            },
            "times": median(TOGETHER * alone / at_once for alone, at_once in times),
        }
        for name, times in rounds.items()
    }


def _cost(found: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Return, by peer, the share of time outside of ONNX Runtime, and how memory grows over many short calls."""
    print(f"  {CALLS} short calls", flush=True)
    outside: dict[str, float] = {}
    growth: dict[str, float] = {}
    prompts = token_rows(checkpoint("gpt2"), 1, PROMPT_TOKENS)
    with Contest(WATCHED) as contest:
        for name in tuple(contest):
            answers = contest.answers(name, [prompts] * (ROUNDS + 1))
            if answers is not None:
                outside[name] = median(item["outside"] for item in answers[1:])
        _note(found, contest, "watched")
    short = [[prompts[0][: SHORT_PROMPTS[index % len(SHORT_PROMPTS)]]] for index in range(CALLS)]
    with Contest(SHORT) as contest:
        for name in tuple(contest):
            answers = contest.answers(name, short)
            if answers is not None:
                growth[name] = answers[CALLS - 1]["resident_bytes"] / answers[CALLS_BEFORE - 1]["resident_bytes"]
        _note(found, contest, "short calls")
    return outside, growth


def _note(found: dict[str, Any], contest: Contest, of: str) -> None:
    """Write down who was absent or failed, and in what."""
    found["skipped"] |= contest.skipped
    found["failed"] |= {f"{name}, {of}": reason for name, reason in contest.failed.items()}


def _shape_table(model: str, figures: dict[str, Any]) -> Table:
    rows = []
    for name, rate in figures["tokens_a_second"].items():
        faster = figures["times_faster"][name]
        times = (faster.get(other) for other in ("PyTorch", "CTranslate2, fp32", "CTranslate2, int8"))
        rows.append(
            (
                name,
                "{:.0f} ({:.0f}–{:.0f})".format(rate["median"], *rate["quartiles"]),
                *("–" if item is None else f"{item:.2f}×" for item in times),
            )
        )
    title = f"{TITLES[model]}: {figures['new_tokens']} new tokens after {figures['tokens']}"
    header = ("", "tokens a second", "times PyTorch's", "times CTranslate2's fp32", "times its int8")
    return Table(title=title[0].upper() + title[1:], header=header, rows=rows)

"""What PyTorch and an export both answer: texts of several kinds, pairs, and the lengths at which a model may change its way."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

from torchless.errors import ExportError
from torchless.folder.config import ModelConfig
from torchless.tasks import Task
from torchless.tokenization.padding import NO_LIMIT_ABOVE
from torchless_export.sample import sample_texts, texts_of_kinds
from torchless_export.source.loading import LoadedModel
from torchless_export.verification.cases import CASES

__all__ = ["Sample", "batches", "cut_to", "make_samples", "max_tokens_of", "regime_lengths", "short"]

_SHOWN_CHARS = 120
_SHORTEST = 4
# A window must hold the question, and some of the text.
_SHORTEST_WINDOW = 64
# Without a switch that is named, longer texts are computed as this one is; the logits of each would take gigabytes.
_LONGEST = 1024
_PAIRS = 4
# So many texts of a decoder are answered alone; their times count.
_ALONE = 16
# The logits of a batch take up to 1 MB for each token.
_MAX_BATCH_TOKENS = 256
# Keys of configurations whose value is the size of a block, a window or a group of tokens.
_WINDOWS = (
    "attention_window", "block_size", "global_block_size", "local_attention", "num_landmarks",
    "relative_attention_max_distance", "sliding_window", "window_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """An input that PyTorch and an export answer.

    Attributes:
        inputs: A single input of the task.
        max_tokens: What both tokenizers cut it to; None cuts nothing.
        length: The length in tokens that it was made for; None of a text.
        kind: A kind of `texts_of_kinds`; None of all others.
        batch: The number of the batch that a decoder answers it in; None if it is answered alone.
    """

    inputs: Any
    max_tokens: int | None
    length: int | None = None
    kind: str | None = None
    batch: int | None = None

    def __str__(self) -> str:
        """The first characters of its texts, for messages."""
        inputs = self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs  # the decoder's ids come second
        values = inputs.values() if isinstance(inputs, Mapping) else [inputs]
        texts = ", ".join(repr(text) for value in values for text in ([value] if isinstance(value, str) else value))
        return short(texts) if self.length is None else f"{short(texts)} ({self.length} tokens)"


class _Cutter(Protocol):
    model_max_length: int


def short(text: str) -> str:
    """Return the first characters of a text."""
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


@contextmanager
def cut_to(tokenizer: _Cutter, max_tokens: int | None) -> Iterator[None]:
    """Within the context, a tokenizer cuts to so many tokens, or to fewer where it declares that.

    Args:
        tokenizer: The tokenizer, of transformers or of torchless.
        max_tokens: The most tokens; None leaves what the tokenizer declares.
    """
    declared = tokenizer.model_max_length
    tokenizer.model_max_length = declared if max_tokens is None else min(declared, max_tokens)
    try:
        yield
    finally:
        tokenizer.model_max_length = declared


def max_tokens_of(loaded: LoadedModel, max_tokens: int | None = None) -> int | None:
    """Return the most tokens that a model, its tokenizer and the caller allow; None without a limit.

    Args:
        loaded: The model and its tokenizer.
        max_tokens: The caller's limit.
    """
    declared = int(loaded.tokenizer.model_max_length)
    positions = ModelConfig(loaded.model.config.to_dict()).max_tokens
    limits = (positions, max_tokens, None if declared > NO_LIMIT_ABOVE else declared)
    return min((limit for limit in limits if limit is not None), default=None)


def make_samples(loaded: LoadedModel, task: Task, texts: Sequence[str], *, max_tokens: int | None) -> list[Sample]:
    """Return what an export is verified on.

    Args:
        loaded: The model and its tokenizer.
        task: The task.
        texts: The texts of the user or of the sample.
        max_tokens: The most tokens that the export shall answer.

    Raises:
        ExportError: The task needs a mask, and the tokenizer has none.
    """
    if task.graph == "fill-mask" and loaded.tokenizer.mask_token is None:
        raise ExportError(
            "The tokenizer has no mask token, and fill-mask needs one.",
            hint='Name it in tokenizer_config.json, "mask_token": "[MASK]", or choose another --task.',
        )
    case, mask = CASES[task.graph], loaded.tokenizer.mask_token or ""
    limit = max_tokens_of(loaded, max_tokens)
    samples = [Sample(case.make_input(text, mask), limit) for text in texts]
    if task.graph == "text-classification" and _makes_pairs(loaded.tokenizer):
        pairs = zip(texts[:_PAIRS], reversed(texts[-_PAIRS:]), strict=True)
        samples += [Sample({"text": first, "text_pair": second}, limit) for first, second in pairs]
    context = ModelConfig(loaded.model.config.to_dict()).context_length
    within_context = min((tokens for tokens in (limit, context) if tokens is not None), default=None)
    samples += [
        Sample(case.make_input(text, mask), within_context, kind=kind)
        for kind, texts_of_kind in texts_of_kinds("verification").items()
        for text in texts_of_kind
        if loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    ]
    if case.in_batches:
        samples = _in_batches(samples, loaded)
    # A mask in the middle could be cut off.
    begin = f"{mask} " if task.graph == "fill-mask" else ""
    return [
        *samples,
        *(
            Sample(case.make_input(begin + _text_of(length, loaded.tokenizer), mask), length, length)
            for length in regime_lengths(loaded.model.config.to_dict(), limit)
            if length >= (_SHORTEST_WINDOW if case.length_option else _SHORTEST)
        ),
    ]


def batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Yield the samples in their order: those of a batch together, and each other by itself."""
    for _, group in groupby(
        enumerate(samples), key=lambda item: (item[1].batch, item[0] if item[1].batch is None else 0)
    ):
        yield [sample for _, sample in group]


def _in_batches(samples: Sequence[Sample], loaded: LoadedModel) -> list[Sample]:
    """Return samples in batches by their length, which saves most of the time; some stay alone."""
    # A text beyond it would change how the others of its batch are computed.
    switch = ModelConfig(loaded.model.config.to_dict()).rotary_switch
    lengths = [len(loaded.tokenizer(sample.inputs, verbose=False)["input_ids"]) for sample in samples]
    order = sorted(range(_ALONE, len(samples)), key=lambda index: lengths[index])
    result, batch, rows = list(samples[:_ALONE]), 0, 0
    for index in order:
        sample = samples[index]
        limits = (switch, sample.max_tokens, _MAX_BATCH_TOKENS // 2)
        if any(limit is not None and lengths[index] > limit for limit in limits):
            result.append(sample)
            continue
        rows += 1
        if rows * lengths[index] > _MAX_BATCH_TOKENS:
            batch, rows = batch + 1, 1
        result.append(replace(sample, batch=batch))
    return result


def regime_lengths(config: Mapping[str, Any], max_tokens: int | None) -> list[int]:
    """Return the lengths in tokens on both sides of which a model may compute in another way, the shortest first.

    They are the shortest and the longest text, those around each block or window that the configuration names, and those
    beyond each length at which it changes its rotary frequencies or its attention.

    Args:
        config: The values of `config.json`.
        max_tokens: The most tokens that the model takes; None without a limit.
    """
    windows = {size for name in _WINDOWS for size in _numbers(config.get(name))}
    if "local_radius" in config:  # LongT5's blocks
        windows |= {config["local_radius"] + 1, 3 * (config["local_radius"] + 1)}
    switches = set(_switches(config))
    context = ModelConfig(config).context_length or _LONGEST
    max_length = min(limit for limit in (max_tokens, context, _LONGEST) if limit is not None)
    lengths = {_SHORTEST, max_length}
    lengths |= {length for size in windows for length in (size - 1, size, size + 1)}
    lengths |= {length for size in switches for length in (size, size + 1, size + size // 4)}
    return sorted(length for length in lengths if length >= _SHORTEST and (max_tokens is None or length <= max_tokens))


def _switches(config: Mapping[str, Any]) -> Iterator[int]:
    """Yield the lengths above which a model computes all of a text in another way."""
    rotary = ModelConfig(config).rotary_switch
    if rotary is not None:
        yield rotary
    if "num_random_blocks" in config:  # BigBird: above it attention is sparse
        yield (5 + 2 * config["num_random_blocks"]) * config["block_size"]


def _numbers(value: Any) -> set[int]:
    return {
        number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int) and number > 0
    }


def _makes_pairs(tokenizer: Any) -> bool:
    """Return whether a tokenizer puts tokens of its own between two texts."""
    return bool(tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False))


def _text_of(tokens: int, tokenizer: Any) -> str:
    """Return a text of a few tokens more than `tokens`, for a tokenizer to cut."""
    words = " ".join(sample_texts()).split()
    words *= 1 + tokens // len(words)
    enough = tokens + min(8, tokens // 4)
    low, high = 1, min(len(words), enough)  # a word has a token or more
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer(" ".join(words[:middle]), verbose=False)["input_ids"]) < enough:
            low = middle + 1
        else:
            high = middle
    return " ".join(words[:low])

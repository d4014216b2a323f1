"""How each task is verified: its inputs, the two pipelines, and when two answers are the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

import torchless
from torchless.models.generative import GenerativeModel
from torchless.tasks import Task
from torchless.tokenization.tokenizer import Tokenizer
from torchless_export.source.loading import LoadedModel
from torchless_export.verification.teacher_forcing import (
    greedy_logits,
    steps_with_past,
    stepwise_logits,
    teacher_forced_logits,
)

__all__ = [
    "CASES",
    "FP32_TOLERANCE",
    "Answerer",
    "Case",
    "Decode",
    "Difference",
    "exported_pipeline",
    "reference_pipeline",
]

Decode: TypeAlias = Callable[[Sequence[int]], str]
"""Turns token ids into text."""

FP32_TOLERANCE = 1e-4
"""How far an fp32 score may be from PyTorch's; for hidden states and logits, relative to their scale."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two answers compared.

    Attributes:
        agreement: The share of the text's final answers that are the same, 0 to 1.
        values: The differences of the values that both have; NaN if a value is not a number.
        similarity: 1 for the same answer: the cosine of mean hidden states, the share of tokens with the same next token,
            or else 1 minus the largest difference of a score.
    """

    agreement: float
    values: NDArray[np.floating]
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How a task is verified.

    Attributes:
        compare: Compares (PyTorch's answer, torchless's answer).
        options: The options of each call.
        length_option: The option that limits a row's tokens, where the tokenizer's limit does not.
        in_batches: Whether both pipelines take a list of inputs, and return a list of answers.
        make_input: Makes an input from a text and the tokenizer's mask token.
        force: Makes the exported model's input from the same input and PyTorch's answer.
        describe: Returns both answers in words, from (PyTorch's answer, torchless's answer, the decoding of token ids).
    """

    compare: Callable[[Any, Any], Difference]
    options: Mapping[str, Any] = field(default_factory=dict)
    length_option: str | None = None
    in_batches: bool = False
    make_input: Callable[[str, str], Any] = lambda text, _mask: text
    force: Callable[[Any, Any], Any] = lambda question, _answer: question
    describe: Callable[[Any, Any, Decode], tuple[str, str]]


class Answerer(Protocol):
    """A pipeline or model of torchless."""

    model: Any
    tokenizer: Any

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Answer one input."""


def reference_pipeline(loaded: LoadedModel, task: Task) -> Callable[..., Any]:
    """Return the pipeline of transformers for a task, or the bare model if there is none."""
    import transformers

    if task.name == "multiple-choice":
        return lambda question, **_: _choose(loaded, question)
    if task.name == "text-generation":
        return lambda texts: _continue(loaded, texts)
    if task.encoder_decoder:
        return lambda text: _reply(loaded, text)
    pipe: Callable[..., Any] = transformers.pipeline(
        task.graph, model=loaded.model, tokenizer=loaded.tokenizer, device="cpu"
    )
    if task.name == "question-answering":  # which wants its fields by name
        return lambda question, **options: pipe(**question, **options)
    return pipe


def exported_pipeline(folder: Path, task: Task, dtype: str) -> Answerer:
    """Return the pipeline of torchless for a task, or the bare model of a generative task.

    Args:
        folder: The exported folder.
        task: The task.
        dtype: The variant.
    """
    if task.encoder_decoder:
        answerer: Any = _TeacherForced(
            torchless.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype),
            torchless.AutoTokenizer.from_pretrained(folder),
        )
    elif task.cached:
        answerer = _Continuation(
            torchless.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype),
            torchless.AutoTokenizer.from_pretrained(folder),
        )
    else:
        answerer = torchless.pipeline(task.graph, folder, dtype=dtype)
    pipe: Answerer = answerer
    return pipe


@dataclass(frozen=True, slots=True)
class _TeacherForced:
    """Gives the next tokens of an encoder-decoder, after each token of PyTorch's answer."""

    model: GenerativeModel
    tokenizer: Tokenizer

    def __call__(self, inputs: str | tuple[str, Sequence[int]], **_: Any) -> "_NextTokens":
        text, decoder_input_ids = (inputs, ()) if isinstance(inputs, str) else inputs
        return _next_tokens(teacher_forced_logits(self.model, self.tokenizer, text, decoder_input_ids))


@dataclass(frozen=True, slots=True)
class _Continuation:
    """Gives the next token after each token of the texts of a batch, whose last tokens are run with a past."""

    model: GenerativeModel
    tokenizer: Tokenizer

    def __call__(self, inputs: list[str], **_: Any) -> "list[_NextTokens]":
        token_ids = self.tokenizer(inputs, truncation=True)["input_ids"]
        return list(map(_next_tokens, stepwise_logits(self.model, token_ids), token_ids))


def _choose(loaded: LoadedModel, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    import torch

    prompts = [question["prompt"]] * len(question["choices"])
    inputs = loaded.tokenizer(prompts, question["choices"], padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        scores = loaded.model(**{name: tensor[None] for name, tensor in inputs.items()}).logits[0].softmax(-1)
    choices = [{"index": index, "score": score} for index, score in enumerate(scores.tolist())]
    return sorted(choices, key=lambda item: -item["score"])


@dataclass(frozen=True, slots=True)
class _NextTokens:
    """What comes after each token of a text.

    Attributes:
        best: The two likeliest tokens, the first before the second, (tokens, 2).
        margins: By how much the logit of the first is the greater, (tokens,).
        logits: Those of about a thousand tokens, spread over the vocabulary, (tokens, some); every text's whole
            vocabulary would fill the memory.
        decoder_input_ids: For an encoder-decoder, the decoder's input ids.
        negative_log_likelihood: For a decoder alone, the sum over the text's tokens but the first.
        scored_tokens: How many tokens that sum has.
    """

    best: NDArray[np.intp]
    margins: NDArray[np.floating]
    logits: NDArray[np.floating]
    decoder_input_ids: Sequence[int] = ()
    negative_log_likelihood: float = 0.0
    scored_tokens: int = 0


def _next_tokens(logits: NDArray[np.floating], token_ids: Sequence[int] = ()) -> _NextTokens:
    """Keep of logits what is compared.

    Args:
        logits: (tokens, vocabulary).
        token_ids: The text's, if its likelihood counts.
    """
    best = logits.argpartition(-2)[:, -2:]
    scores = np.take_along_axis(logits, best, axis=-1)
    order = (-scores).argsort()
    spread = logits[:, :: max(1, logits.shape[-1] // 1000)].copy()
    following = np.asarray(token_ids[1:], dtype=np.intp)
    likelihoods = [row[token_id] - _log_sum_exp(row) for row, token_id in zip(logits, following, strict=False)]
    return _NextTokens(
        np.take_along_axis(best, order, axis=-1),
        np.ptp(scores, axis=-1),
        spread,
        negative_log_likelihood=-float(sum(likelihoods)),
        scored_tokens=len(following),
    )


def _log_sum_exp(logits: NDArray[np.floating]) -> float:
    """Return the logarithm of the sum of exponentials, without overflow."""
    greatest = logits.max()
    return float(greatest + np.log(np.exp(logits - greatest).sum()))


def _continue(loaded: LoadedModel, inputs: list[str]) -> list[_NextTokens]:
    """Answer a text with its last tokens one at a time, or the texts of a batch in a single run."""
    import torch

    token_ids = loaded.tokenizer(inputs, truncation=True)["input_ids"]
    lengths = [len(ids) for ids in token_ids]
    with torch.inference_mode():
        if len(inputs) == 1:
            past, logits, begun = None, [], lengths[0] - steps_with_past(lengths)
            for step in (token_ids[0][:begun], *([token_id] for token_id in token_ids[0][begun:])):
                output = loaded.model(input_ids=torch.tensor([step]), past_key_values=past, use_cache=True)
                past = output.past_key_values
                logits.append(output.logits[0].numpy())
            return [_next_tokens(np.concatenate(logits), token_ids[0])]
        # No token sees those after it, so padding on the right changes nothing.
        padded = torch.tensor([ids + [0] * (max(lengths) - len(ids)) for ids in token_ids])
        answers = loaded.model(input_ids=padded, use_cache=False).logits.numpy()
    return [_next_tokens(row[: len(ids)], ids) for row, ids in zip(answers, token_ids, strict=True)]


def _reply(loaded: LoadedModel, text: str) -> _NextTokens:
    decoder_input_ids, logits = greedy_logits(loaded, text)
    return replace(_next_tokens(logits), decoder_input_ids=decoder_input_ids)


def _compare_next_tokens(expected: _NextTokens, got: _NextTokens) -> Difference:
    """Compare the likeliest token at each position; two that PyTorch scores alike are a tie, and either will do."""
    scale = np.abs(expected.logits).max()
    tied = (got.best[:, 0] == expected.best[:, 1]) & (expected.margins <= FP32_TOLERANCE * scale)
    same = (got.best[:, 0] == expected.best[:, 0]) | tied  # (tokens,)
    agreement = float(same.mean())
    return Difference(agreement, np.abs(got.logits - expected.logits) / scale, agreement)


def _describe_next_tokens(expected: _NextTokens, got: _NextTokens, decode: Decode) -> tuple[str, str]:
    """Return the likeliest token of both where they first differ, or else after the last token."""
    differing = np.flatnonzero(got.best[:, 0] != expected.best[:, 0])
    index = int(differing[0]) if differing.size else len(expected.best) - 1
    first, second = (repr(decode([int(answer.best[index, 0])])) for answer in (expected, got))
    return f"continues token {index + 1} with {first}", f"with {second}"


def _describe_hidden_states(expected: Any, got: Any, _decode: Decode) -> tuple[str, str]:
    """Return the lengths of both hidden states where they point in the most different directions."""
    reference, exported = np.asarray(expected[0]), np.asarray(got[0])  # (tokens, hidden)
    cosines = _cosines(exported, reference)
    index = int(cosines.argmin())
    first, second = (f"{np.linalg.norm(hidden[index]):.4g}" for hidden in (reference, exported))
    return f"has token {index + 1} at length {first}", f"at length {second}, cosine {cosines[index]:.4f}"


def _describe_best(
    expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]], _decode: Decode
) -> tuple[str, str]:
    """Return the best of both lists, with its score."""
    first, second = (_scored(items[0]) for items in (expected, got))
    return first, second


def _describe_entities(
    expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]], _decode: Decode
) -> tuple[str, str]:
    """Return the label of the token whose labels or scores differ most."""
    if len(expected) != len(got) or not expected:
        return f"labels {len(expected)} tokens", f"labels {len(got)} tokens"
    differences = [
        (item["entity"] != other["entity"], abs(item["score"] - other["score"]))
        for item, other in zip(expected, got, strict=True)
    ]
    index = differences.index(max(differences))
    return f"labels token {index + 1} {_scored(expected[index])}", _scored(got[index])


def _describe_answer(expected: Mapping[str, Any], got: Mapping[str, Any], _decode: Decode) -> tuple[str, str]:
    """Return both answers, with their scores."""
    return _scored(expected), _scored(got)


def _scored(item: Mapping[str, Any]) -> str:
    """Return what an item names, with its score."""
    name = next(item[key] for key in ("label", "entity", "token_str", "answer", "index") if key in item)
    return f"{name!r} at {item['score']:.4f}"


def _compare_by(name: str) -> Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], Difference]:
    """Compare lists of scored things, the best first, each known by one of its keys."""

    def compare(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> Difference:
        scores = {item[name]: item["score"] for item in got}
        values = [abs(item["score"] - scores[item[name]]) for item in expected if item[name] in scores]
        return _difference_of_scores(float(expected[0][name] == got[0][name]), values)

    return compare


def _compare_hidden_states(expected: Any, got: Any) -> Difference:
    """Compare the hidden state of each token: two are the same if their cosine is 0.99 or more."""
    exported, reference = np.asarray(got[0]), np.asarray(expected[0])  # (tokens, hidden)
    return Difference(
        float((_cosines(exported, reference) >= 0.99).mean()),
        np.abs(exported - reference) / np.abs(reference).max(),
        float(_cosines(exported.mean(axis=0), reference.mean(axis=0))),
    )


def _cosines(exported: NDArray[np.floating], reference: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the cosines along the last axis, (tokens,) for the hidden states of tokens."""
    norms = np.linalg.norm(exported, axis=-1) * np.linalg.norm(reference, axis=-1)
    return np.asarray((exported * reference).sum(-1) / norms)


def _compare_entities(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> Difference:
    """Compare the label of each token: nothing is ignored, so both name every token, in order."""
    named = [[(item["entity"], item["start"], item["end"]) for item in entities] for entities in (expected, got)]
    if len(expected) != len(got):
        return Difference(0.0, np.zeros(0), 0.0)
    same = [item == other for item, other in zip(*named, strict=True)]
    values = [abs(item["score"] - other["score"]) for item, other in zip(expected, got, strict=True)]
    return _difference_of_scores(float(np.mean(same)) if same else 1.0, values)


def _compare_answers(expected: Mapping[str, Any], got: Mapping[str, Any]) -> Difference:
    same = (expected["start"], expected["end"]) == (got["start"], got["end"])
    return _difference_of_scores(float(same), [abs(expected["score"] - got["score"])])


def _difference_of_scores(agreement: float, values: Sequence[float]) -> Difference:
    differences = np.array(values, dtype=float)
    return Difference(agreement, differences, 1 - float(differences.max(initial=0)))


def _mask_middle_word(text: str, mask: str) -> str:
    """Put a mask in the place of the word in the middle, unless the text has one."""
    if mask in text:
        return text
    words = text.split()
    words[len(words) // 2] = mask
    return " ".join(words)


def _make_choice(text: str, _mask: str) -> dict[str, Any]:
    words = text.split()
    middle = max(1, len(words) // 2)
    rest = " ".join(words[middle:] or words)
    return {"prompt": " ".join(words[:middle]), "choices": [rest, "Yes, it is.", "Nobody has ever been there."]}


CASES: Mapping[str, Case] = {
    "feature-extraction": Case(
        compare=_compare_hidden_states, options={"truncation": True}, describe=_describe_hidden_states
    ),
    "fill-mask": Case(
        compare=_compare_by("token"),
        describe=_describe_best,
        options={"tokenizer_kwargs": {"truncation": True}},
        make_input=_mask_middle_word,
    ),
    "multiple-choice": Case(
        compare=_compare_by("index"), describe=_describe_best, options={"truncation": True}, make_input=_make_choice
    ),
    "question-answering": Case(
        compare=_compare_answers,
        describe=_describe_answer,
        length_option="max_seq_len",
        make_input=lambda text, _mask: {"question": "What is said of the film?", "context": text},
    ),
    "text-classification": Case(
        compare=_compare_by("label"), describe=_describe_best, options={"truncation": True, "top_k": None}
    ),
    "text-generation": Case(compare=_compare_next_tokens, describe=_describe_next_tokens, in_batches=True),
    "text2text-generation": Case(
        compare=_compare_next_tokens,
        force=lambda text, answer: (text, answer.decoder_input_ids),
        describe=_describe_next_tokens,
    ),
    "token-classification": Case(compare=_compare_entities, describe=_describe_entities, options={"ignore_labels": []}),
}
"""By the task of the graph."""

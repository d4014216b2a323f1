"""How each task is verified: what it is asked, by whom, and when two answers are the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.tasks import Task
from torchless_export.source import LoadedModel

__all__ = ["CASES", "Case", "Difference", "reference_pipeline"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two answers compared: whether the final answer is the same, and how far apart each value is."""

    same: bool
    values: NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How a task is verified.

    Attributes:
        compare: Compares (PyTorch's answer, ours).
        options: The options of each call.
        ask: Makes an input of a text; `mask` is the tokenizer's mask token.
    """

    compare: Callable[[Any, Any], Difference]
    options: Mapping[str, Any] = field(default_factory=dict)
    ask: Callable[[str, str], Any] = lambda text, _mask: text


def reference_pipeline(loaded: LoadedModel, task: Task) -> Callable[..., Any]:
    """Return what answers a task with PyTorch: the reference's pipeline, or the bare model where there is none."""
    import transformers

    if task.name == "multiple-choice":
        return lambda question, **_: _choose(loaded, question)
    pipe: Callable[..., Any] = transformers.pipeline(
        task.graph, model=loaded.model, tokenizer=loaded.tokenizer, device="cpu"
    )
    if task.name == "question-answering":  # which wants its fields by name
        return lambda question, **options: pipe(**question, **options)
    return pipe


def _choose(loaded: LoadedModel, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    import torch

    prompts = [question["prompt"]] * len(question["choices"])
    inputs = loaded.tokenizer(prompts, question["choices"], padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        scores = loaded.model(**{name: tensor[None] for name, tensor in inputs.items()}).logits[0].softmax(-1)
    every = [{"index": index, "score": score} for index, score in enumerate(scores.tolist())]
    return sorted(every, key=lambda one: -one["score"])


def _compare_by(name: str) -> Callable[[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]], Difference]:
    """Compare lists of scored things, the best first, each known by one of its keys."""

    def compare(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> Difference:
        scores = {one[name]: one["score"] for one in got}
        values = [abs(one["score"] - scores[one[name]]) for one in expected if one[name] in scores]
        return Difference(expected[0][name] == got[0][name], np.array(values or [np.inf]))

    return compare


def _compare_hidden_states(expected: Any, got: Any) -> Difference:
    ours, theirs = np.asarray(got[0]), np.asarray(expected[0])  # (tokens, hidden)
    cosines = (ours * theirs).sum(-1) / (np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1))  # (tokens,)
    return Difference(bool(cosines.min() >= 0.99), np.abs(ours - theirs) / np.abs(theirs).max())


def _compare_entities(expected: Sequence[Mapping[str, Any]], got: Sequence[Mapping[str, Any]]) -> Difference:
    named = [[(one["entity"], one["start"], one["end"]) for one in entities] for entities in (expected, got)]
    if len(expected) != len(got):
        return Difference(False, np.array([np.inf]))  # noqa: FBT003
    values = [abs(one["score"] - other["score"]) for one, other in zip(expected, got, strict=True)]
    return Difference(named[0] == named[1], np.array(values or [0.0]))


def _compare_answers(expected: Mapping[str, Any], got: Mapping[str, Any]) -> Difference:
    same = (expected["start"], expected["end"]) == (got["start"], got["end"])
    return Difference(same, np.array([abs(expected["score"] - got["score"])]))


def _ask_mask(text: str, mask: str) -> str:
    """Put a mask in the place of the word in the middle."""
    words = text.split()
    words[len(words) // 2] = mask
    return " ".join(words)


def _ask_choice(text: str, _mask: str) -> dict[str, Any]:
    words = text.split()
    middle = len(words) // 2
    rest = " ".join(words[middle:])
    return {"prompt": " ".join(words[:middle]), "choices": [rest, "Yes, it is.", "Nobody has ever been there."]}


CASES: Mapping[str, Case] = {
    "feature-extraction": Case(compare=_compare_hidden_states, options={"truncation": True}),
    "fill-mask": Case(compare=_compare_by("token"), options={"tokenizer_kwargs": {"truncation": True}}, ask=_ask_mask),
    "multiple-choice": Case(compare=_compare_by("index"), options={"truncation": True}, ask=_ask_choice),
    "question-answering": Case(
        compare=_compare_answers,
        ask=lambda text, _mask: {"question": "What is said of the film?", "context": text},
    ),
    "text-classification": Case(compare=_compare_by("label"), options={"truncation": True, "top_k": None}),
    "token-classification": Case(compare=_compare_entities, options={"ignore_labels": []}),
}
"""By the task of the graph."""

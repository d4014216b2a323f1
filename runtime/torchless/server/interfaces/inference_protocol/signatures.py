"""What each task takes and gives as tensors: texts in; the results of its pipeline as columns, or arrays, out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import InputError, OptionError, nearest
from torchless.models.pooling import declares_pooling
from torchless.pipelines.base import Pipeline
from torchless.server.interfaces.inference_protocol.tensors import Tensors

__all__ = ["Answer", "Signature", "TensorSpec", "signature_of"]

Texts: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """What a tensor is.

    Attributes:
        name: Its name.
        datatype: `BYTES` for texts, `FP32` or `INT64`.
        shape: Its shape; -1 is any length.
        optional: Whether a request may leave it out, or has to ask for it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Outputs that one call of the pipeline gives.

    Attributes:
        outputs: What they are.
        options: The options that give them, above those of the request.
        defaults: The options that give them, below those of the request.
        without: Options of the request that say nothing about them.
        arrays: Turns the pipeline's results into them.
    """

    outputs: tuple[TensorSpec, ...]
    arrays: Callable[[Sequence[Any]], Tensors]
    options: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()

    def options_of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the call, from those of the request."""
        kept = {name: value for name, value in given.items() if name not in self.without}
        return {**self.defaults, **kept, **self.options}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        inputs: The tensors it takes.
        answers: The calls that give its outputs; the first is made where a request asks for none by name.
        shared: Inputs that every call shares, as the names of the pipeline's options for them.
        whole: Inputs that together are one input of the pipeline, however many texts they have.
    """

    inputs: tuple[TensorSpec, ...]
    answers: tuple[Answer, ...]
    shared: frozenset[str] = frozenset()
    whole: bool = False

    def asked(self, names: Sequence[str] | None) -> list[Answer]:
        """Return the calls that give some outputs.

        Args:
            names: Of the outputs; None for those that are given by default.

        Raises:
            InputError: There is no such output.
        """
        if names is None:
            return [self.answers[0]]
        valid = {output.name for answer in self.answers for output in answer.outputs}
        for name in names:
            if name not in valid:
                raise InputError(f"The model has no output {name!r}.", hint=nearest(name, valid))
        return [answer for answer in self.answers if any(output.name in names for output in answer.outputs)]

    def inputs_of(self, texts: Texts) -> tuple[list[Any], dict[str, Any]]:
        """Return the pipeline's inputs, and the options that the tensors bring.

        Args:
            texts: Of each tensor.

        Raises:
            InputError: A tensor is missing, unknown or empty, or tensors differ in length.
        """
        valid = {tensor.name for tensor in self.inputs}
        for name in texts:
            if name not in valid:
                raise InputError(f"The model has no input {name!r}.", hint=nearest(name, valid))
        for tensor in self.inputs:
            if not tensor.optional and not texts.get(tensor.name):
                raise InputError(f"The input {tensor.name!r} is missing or empty.", hint="Give a text at least.")
        options = {name: list(texts[name]) for name in self.shared if name in texts}
        columns = {name: texts[name] for name in texts if name not in self.shared}
        if self.whole:
            item, many = (tensor.name for tensor in self.inputs)
            if len(texts[item]) > 1:
                raise InputError(
                    f"The input {item!r} has {len(texts[item])} texts.", hint="Give one, with all of its own."
                )
            return [{item: texts[item][0], many: list(texts[many])}], options
        if len(columns) == 1:
            return list(*columns.values()), options
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(
                "The inputs differ in length: "
                + ", ".join(f"{count} of {name}" for name, count in lengths.items())
                + ".",
                hint="Give as many of each.",
            )
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], options


def signature_of(pipeline: Pipeline[Any]) -> Signature:
    """Return what a pipeline takes and gives as tensors."""
    task = pipeline.task.name
    if task == "feature-extraction":
        pooled, tokens = _embeddings(pipeline), _hidden_states(pipeline)
        declared = declares_pooling(pipeline.model)
        return Signature(inputs=_texts("text"), answers=(pooled, tokens) if declared else (tokens, pooled))
    rows = Answer(
        outputs=(*_COLUMNS[task], TensorSpec(name="input", datatype="INT64")),
        arrays=_Columns(_COLUMNS[task]),
    )
    if task == "text-classification":
        pair = TensorSpec(name="text_pair", datatype="BYTES", optional=True)
        return Signature(inputs=(*_texts("text"), pair), answers=(rows, _logits(pipeline)))
    if task == "zero-shot-classification":
        shared = "candidate_labels"
        return Signature(inputs=_texts("text", shared), answers=(rows,), shared=frozenset({shared}))
    if task in _OF_RECORDS:
        names, whole = _OF_RECORDS[task]
        return Signature(inputs=_texts(*names), answers=(rows,), whole=whole)
    return Signature(inputs=_texts("text"), answers=(rows,))


def _texts(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, datatype="BYTES") for name in names)


def _columns(datatypes: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, datatype=datatype) for name, datatype in datatypes.items())


# A result's keys as columns, one row a dict; the column `input` says which input a row is of.
_COLUMNS: Mapping[str, tuple[TensorSpec, ...]] = {
    "fill-mask": _columns({"token_str": "BYTES", "token": "INT64", "score": "FP32", "sequence": "BYTES"}),
    "multiple-choice": _columns({"choice": "BYTES", "index": "INT64", "score": "FP32"}),
    "question-answering": _columns({"answer": "BYTES", "score": "FP32", "start": "INT64", "end": "INT64"}),
    "summarization": _columns({"summary_text": "BYTES"}),
    "text-classification": _columns({"label": "BYTES", "score": "FP32"}),
    "text-generation": _columns({"generated_text": "BYTES"}),
    "text-ranking": _columns({"text": "BYTES", "index": "INT64", "score": "FP32"}),
    "text2text-generation": _columns({"generated_text": "BYTES"}),
    "token-classification": _columns(
        {"entity": "BYTES", "score": "FP32", "word": "BYTES", "start": "INT64", "end": "INT64"}
    ),
    "translation": _columns({"translation_text": "BYTES"}),
    "zero-shot-classification": _columns({"label": "BYTES", "score": "FP32"}),
}

# The inputs of tasks that take several texts together, and whether all of a request's are one such input.
_OF_RECORDS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "multiple-choice": (("prompt", "choices"), True),
    "question-answering": (("question", "context"), False),
    "text-ranking": (("query", "documents"), True),
}

_DTYPES: Mapping[str, Any] = {"BYTES": object, "FP32": np.float32, "INT64": np.int64}
# Groups of tokens name their label so.
_OTHER_KEYS = {"entity": "entity_group"}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Turns results into columns.

    Attributes:
        columns: What they are.
    """

    columns: tuple[TensorSpec, ...]

    def __call__(self, results: Sequence[Any]) -> Tensors:
        rows = [(index, row) for index, result in enumerate(results) for row in _rows(result)]
        tensors: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            values = np.empty(len(rows), dtype=_DTYPES[column.datatype])  # (rows,)
            values[:] = [_value(row, column.name) for _, row in rows]
            tensors[column.name] = values
        return {**tensors, "input": np.array([index for index, _ in rows], dtype=np.int64)}


def _value(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name, row.get(_OTHER_KEYS.get(name, name)))
    if value is None:
        raise OptionError(
            f"With these parameters, the results have no {name!r}.", hint="Leave out what changes their form."
        )
    return value


def _rows(result: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the dicts that a result is made of, however deep they are."""
    if isinstance(result, list):
        for inner in result:
            yield from _rows(inner)
    elif "labels" in result:
        for label, score in zip(result["labels"], result["scores"], strict=True):
            yield {"label": label, "score": score}
    else:
        yield result


def _logits(pipeline: Pipeline[Any]) -> Answer:
    """The scores of all labels, in the model's order, before any function."""
    labels = len(pipeline.model.config.id2label)

    def arrays(results: Sequence[Any]) -> Tensors:
        return {"logits": np.array([[item["score"] for item in result] for result in results], dtype=np.float32)}

    return Answer(
        outputs=(TensorSpec(name="logits", datatype="FP32", shape=(-1, labels), optional=True),),
        arrays=arrays,
        options={"function_to_apply": "none", "return_all_scores": True},
        without=frozenset({"top_k"}),
    )


def _embeddings(pipeline: Pipeline[Any]) -> Answer:
    """One embedding a text."""
    width = pipeline.model.config.width

    def arrays(results: Sequence[Any]) -> Tensors:
        if any(result.ndim > 1 for result in results):
            raise OptionError("pooling=None makes no embedding.", hint="Leave it out, or ask for last_hidden_state.")
        return {"embedding": np.stack(results).astype(np.float32, copy=False)}  # (texts, hidden)

    return Answer(
        outputs=(TensorSpec(name="embedding", datatype="FP32", shape=(-1, width)),),
        arrays=arrays,
        defaults={"pooling": "auto"},
        options={"return_tensors": True},
    )


def _hidden_states(pipeline: Pipeline[Any]) -> Answer:
    """The hidden states of all tokens, zeros after a text's end, and how many tokens each text has."""
    width = pipeline.model.config.width

    def arrays(results: Sequence[Any]) -> Tensors:
        counts = [result.shape[1] for result in results]
        padded = np.zeros((len(results), max(counts), width), dtype=np.float32)  # (texts, tokens, hidden)
        for row, result in zip(padded, results, strict=True):
            row[: result.shape[1]] = result[0]
        return {"last_hidden_state": padded, "tokens": np.array(counts, dtype=np.int64)}

    return Answer(
        outputs=(
            TensorSpec(name="last_hidden_state", datatype="FP32", shape=(-1, -1, width)),
            TensorSpec(name="tokens", datatype="INT64"),
        ),
        arrays=arrays,
        options={"return_tensors": True, "pooling": None},
        without=frozenset({"normalize", "windows"}),
    )

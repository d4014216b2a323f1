"""The signature of each task: its inputs as tensors of texts, and its outputs as columns or arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, OptionError, nearest
from torchless.models.pooling import declares_pooling
from torchless.pipelines.base import Pipeline
from torchless.server.interfaces.inference_protocol.tensors import Tensors

__all__ = ["PipelineCall", "Signature", "TensorSpec", "signature_of"]

Texts: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """The description of a tensor.

    Attributes:
        name: The name.
        datatype: `BYTES` for texts, `FP32` or `INT64`.
        shape: The shape; -1 is any length.
        optional: Whether a request may leave out the input, or must request the output by name.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCall:
    """A call of the pipeline, and the outputs that it gives.

    Attributes:
        outputs: The outputs.
        arrays: Turns the results of the pipeline into the outputs.
        options: Options of the call that override those of the request.
        defaults: Options of the call that those of the request override.
        ignored: The names of options of the request that have no meaning for the outputs.
    """

    outputs: tuple[TensorSpec, ...]
    arrays: Callable[[Sequence[Any]], Tensors]
    options: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def merge_options(self, request_options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the call for those of a request."""
        kept = {name: value for name, value in request_options.items() if name not in self.ignored}
        return {**self.defaults, **kept, **self.options}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The inputs and the outputs of a model.

    Attributes:
        inputs: The input tensors.
        calls: The pipeline calls for the outputs. A request without names of outputs makes the first call.
        shared: The names of input tensors that are an option of the pipeline, shared by all its inputs.
        is_whole: Whether all the tensors together are a single input of the pipeline.
    """

    inputs: tuple[TensorSpec, ...]
    calls: tuple[PipelineCall, ...]
    shared: frozenset[str] = frozenset()
    is_whole: bool = False

    def calls_for(self, names: Sequence[str] | None) -> list[PipelineCall]:
        """Return the pipeline calls for some outputs.

        Args:
            names: The names of the outputs; None for the default outputs.

        Raises:
            InputError: There is no such output.
        """
        if names is None:
            return [self.calls[0]]
        valid = {output.name for call in self.calls for output in call.outputs}
        for name in names:
            if name not in valid:
                raise InputError(f"The model has no output {name!r}.", hint=nearest(name, valid))
        return [call for call in self.calls if any(output.name in names for output in call.outputs)]

    def inputs_of(self, texts: Texts) -> tuple[list[Any], dict[str, Any]]:
        """Return the inputs of the pipeline, and the options that come as tensors.

        Args:
            texts: The texts of each tensor.

        Raises:
            InputError: A tensor is missing, unknown or empty, or the tensors differ in length.
        """
        valid = {tensor.name for tensor in self.inputs}
        for name in texts:
            if name not in valid:
                raise InputError(f"The model has no input {name!r}.", hint=nearest(name, valid))
        for tensor in self.inputs:
            if not tensor.optional and not texts.get(tensor.name):
                raise InputError(f"The input {tensor.name!r} is missing or empty.", hint="Give at least one text.")
        options = {name: list(texts[name]) for name in self.shared if name in texts}
        columns = {name: texts[name] for name in texts if name not in self.shared}
        if self.is_whole:
            item, many = (tensor.name for tensor in self.inputs)
            if len(texts[item]) > 1:
                raise InputError(
                    f"The input {item!r} has {len(texts[item])} texts.", hint=f"Send one {item} with its {many}."
                )
            return [{item: texts[item][0], many: list(texts[many])}], options
        if len(columns) == 1:
            return list(*columns.values()), options
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{count} of {name}" for name, count in lengths.items())
            raise InputError(f"The inputs differ in length: {counts}.", hint="Give the same number of texts in each.")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], options


def signature_of(pipeline: Pipeline[Any]) -> Signature:
    """Return the signature of a pipeline."""
    task = pipeline.task.name
    if task == "feature-extraction":
        pooled, tokens = _embeddings(pipeline), _hidden_states(pipeline)
        declared = declares_pooling(pipeline.model)
        return Signature(inputs=_texts("text"), calls=(pooled, tokens) if declared else (tokens, pooled))
    rows = PipelineCall(
        outputs=(*_COLUMNS[task], TensorSpec(name="input", datatype="INT64")),
        arrays=_Columns(_COLUMNS[task]),
    )
    if task == "text-classification":
        pair = TensorSpec(name="text_pair", datatype="BYTES", optional=True)
        return Signature(inputs=(*_texts("text"), pair), calls=(rows, _logits(pipeline)))
    if task == "zero-shot-classification":
        shared = "candidate_labels"
        return Signature(inputs=_texts("text", shared), calls=(rows,), shared=frozenset({shared}))
    names, is_whole = _RECORDS.get(task, (("text",), False))
    return Signature(inputs=_texts(*names), calls=(rows,), is_whole=is_whole)


def _texts(*names: str) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, datatype="BYTES") for name in names)


def _columns(datatypes: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, datatype=datatype) for name, datatype in datatypes.items())


# The keys of a result become columns, and each dict becomes a row. The column `input` has the index of a row's input.
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

# The tensors of tasks whose input has several texts, and whether all tensors of a request are a single input.
_RECORDS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "multiple-choice": (("prompt", "choices"), True),
    "question-answering": (("question", "context"), False),
    "text-ranking": (("query", "documents"), True),
}

_DTYPES: Mapping[str, Any] = {"BYTES": object, "FP32": np.float32, "INT64": np.int64}
# The key of the label in the result for a group of tokens.
_OTHER_KEYS = {"entity": "entity_group"}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Turns results into columns.

    Attributes:
        columns: The columns.
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
            f"With these parameters, the results have no {name!r}.",
            hint="Leave out the parameters that change the form of the results.",
        )
    return value


def _rows(result: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the dicts in a result, at any depth."""
    if isinstance(result, list):
        for inner in result:
            yield from _rows(inner)
    elif "labels" in result:
        for label, score in zip(result["labels"], result["scores"], strict=True):
            yield {"label": label, "score": score}
    else:
        yield result


def _logits(pipeline: Pipeline[Any]) -> PipelineCall:
    """Return the call for the logits of all labels, in the order of the model."""
    labels = len(pipeline.model.config.id2label)

    def arrays(results: Sequence[Any]) -> Tensors:
        return {"logits": np.array([[item["score"] for item in result] for result in results], dtype=np.float32)}

    return PipelineCall(
        outputs=(TensorSpec(name="logits", datatype="FP32", shape=(-1, labels), optional=True),),
        arrays=arrays,
        options={"function_to_apply": "none", "return_all_scores": True},
        ignored=frozenset({"top_k"}),
    )


def _embeddings(pipeline: Pipeline[Any]) -> PipelineCall:
    """Return the call for an embedding of each text."""
    width = pipeline.model.config.width

    def arrays(results: Sequence[Any]) -> Tensors:
        if any(result.ndim > 1 for result in results):
            raise OptionError(
                "pooling=None makes no embedding.", hint="Leave pooling out, or request the output last_hidden_state."
            )
        return {"embedding": np.stack(results).astype(np.float32, copy=False)}  # (texts, hidden)

    return PipelineCall(
        outputs=(TensorSpec(name="embedding", datatype="FP32", shape=(-1, width)),),
        arrays=arrays,
        defaults={"pooling": "auto"},
        options={"return_tensors": True},
    )


def _hidden_states(pipeline: Pipeline[Any]) -> PipelineCall:
    """Return the call for the hidden states of all tokens, padded with zeros, and the number of tokens of each text."""
    width = pipeline.model.config.width

    def arrays(results: Sequence[Any]) -> Tensors:
        counts = [result.shape[1] for result in results]
        CURRENT_LIMITS.get().admit_values(len(results) * max(counts) * width)
        padded = np.zeros((len(results), max(counts), width), dtype=np.float32)  # (texts, tokens, hidden)
        for row, result in zip(padded, results, strict=True):
            row[: result.shape[1]] = result[0]
        return {"last_hidden_state": padded, "tokens": np.array(counts, dtype=np.int64)}

    return PipelineCall(
        outputs=(
            TensorSpec(name="last_hidden_state", datatype="FP32", shape=(-1, -1, width)),
            TensorSpec(name="tokens", datatype="INT64"),
        ),
        arrays=arrays,
        options={"return_tensors": True, "pooling": None},
        ignored=frozenset({"normalize", "windows"}),
    )

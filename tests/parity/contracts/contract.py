"""The columns of the table of tasks: how to make a task's two pipelines, and the calls that have an answer or raise an error."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from fixtures.checkpoints import TinyModels
from fixtures.comparison import assert_same

import torchless

CUT = "ignore::torchless.TruncationWarning"


class Model(NamedTuple):
    """A tiny model: its architecture and its configuration."""

    architecture: str
    config: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.architecture} {self.config}" if self.config else self.architecture


class Generated(list[Any]):
    """Items that each pipeline gets as a generator."""

    def __repr__(self) -> str:
        return f"generator of {super().__repr__()}"


class Call(NamedTuple):
    """The arguments of a call."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        return ", ".join([*map(repr, self.inputs), *(f"{name}={value!r}" for name, value in self.options.items())])

    def on(self, pipeline: Callable[..., Any], options: Mapping[str, Any]) -> Any:
        """Return what a pipeline answers with more options. It gets a copy of them: transformers writes into some."""
        inputs = ((item for item in value) if isinstance(value, Generated) else value for value in self.inputs)
        return pipeline(*inputs, **deepcopy({**self.options, **options}))


def call(*inputs: Any, **options: Any) -> Call:
    return Call(inputs, options)


def shapes(*items: Any) -> list[Call]:
    """The calls that most tasks take: an input, a list and a generator of one input, a list and a generator of several."""
    first, several = items[:1], items
    return [call(*first), call(list(first)), call(Generated(first)), call(list(several)), call(Generated(several))]


class Options(NamedTuple):
    """Options of the constructor and of the call.

    Attributes:
        built: The options of the constructor.
        called: The options of the call.
        effective: The options that a reference without a constructor is called with.
        calls: More calls than those of the task.
    """

    built: dict[str, Any]
    called: dict[str, Any]
    effective: dict[str, Any] | None = None
    calls: Sequence[Call] = ()

    def __str__(self) -> str:
        return f"{self.built} {self.called}"


class Steps(NamedTuple):
    """Inputs for the three steps, their options, and the number of rows that each input has."""

    inputs: Sequence[Any]
    options: dict[str, Any]
    rows: Sequence[int]


class RecordReference(NamedTuple):
    """A reference that answers a single record, called with the shapes of inputs that a pipeline takes."""

    answer: Callable[..., Any]
    fields: tuple[str, str]

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        values = [options.pop(name) for name in self.fields if name in options]
        if values and isinstance(values[0], str):
            inputs = dict(zip(self.fields, values, strict=True))
        elif values:
            inputs = [dict(zip(self.fields, record, strict=True)) for record in zip(*values, strict=True)]
        if isinstance(inputs, dict):
            return self.answer(inputs, **options)
        return [self.answer(record, **options) for record in inputs]


def transformers_pipeline(task: str, checkpoint: Path, **options: Any) -> Any:
    return transformers.pipeline(task, model=str(checkpoint), device="cpu", **options)


def _same(answer: Any) -> Any:
    return answer


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A row of the table of tasks.

    Attributes:
        task: The task.
        example: An input of the task.
        reference: Makes the reference from the name of the task, a checkpoint, and the options of the constructor.
        threads: The threads of our pipeline; where many pipelines stay loaded, idle threads take the cores of others.
        compare: Fails where two results differ by more than a tolerance.
        listed: Makes the item that a list's answer has for an input, from the answer of the input alone.
        options: The options of all calls that have an answer; `option_calls` and the steps have only theirs.
        ignored_warnings: Filters of the warnings that all contracts expect.
        model: The model of all contracts for which the row has no list of models.
        batch_models: The models that are tested with batches of all sizes.
        batch_inputs: The inputs of those batches, or a function that makes them for a pipeline.
        batch_options: The options of those batches.
        batch_warnings: Filters of the warnings that those batches expect.
        shape_models: The models that are tested with all shapes of inputs; by default `model`.
        shapes: Calls with all shapes of inputs that the task takes.
        shape_options: The options of those calls.
        empty_options: The options of calls without inputs.
        option_models: The models that are tested with options of the constructor and of the call; by default `model`.
        option_cases: Options of the constructor and of the call.
        option_calls: The calls that are made with them.
        option_warnings: Filters of the warnings that those calls expect.
        wrong_inputs: Calls that raise InputError, and the message.
        wrong_options: Options that raise OptionError in the constructor and in a call, also without inputs, and the message.
        wrong_call_options: Options that raise OptionError only in a call with an input, and the message.
        cut: A call that cuts the first or the second of its two inputs, and the message of the warning.
        steps: Inputs for the three steps.
    """

    task: str
    example: Any
    reference: Callable[..., Any] = transformers_pipeline
    threads: int | None = None
    compare: Callable[..., None] = assert_same
    listed: Callable[[Any], Any] = _same
    options: Mapping[str, Any] = field(default_factory=dict)
    ignored_warnings: Sequence[str] = ()
    model: Model
    batch_models: Sequence[Model]
    batch_inputs: list[Any] | Callable[[Any], list[Any]]
    batch_options: Sequence[dict[str, Any]] = ({},)
    batch_warnings: Sequence[str] = ()
    shape_models: Sequence[Model] = ()
    shapes: Sequence[Call]
    shape_options: Sequence[dict[str, Any]] = ({},)
    empty_options: Sequence[dict[str, Any]] = ({},)
    option_models: Sequence[Model] = ()
    option_cases: Sequence[Options]
    option_calls: Sequence[Call]
    option_warnings: Sequence[str] = ()
    wrong_inputs: Sequence[tuple[Call, str]]
    wrong_options: Sequence[tuple[dict[str, Any], str]]
    wrong_call_options: Sequence[tuple[dict[str, Any], str]] = ()
    cut: tuple[Call, str] | None = None
    steps: Steps | None = None

    @property
    def graph(self) -> str:
        return torchless.tasks.find_task(self.task).graph

    def make_reference(self, tiny: TinyModels, model: Model, options: Mapping[str, Any] | None = None) -> Any:
        checkpoint = tiny.checkpoint(model.architecture, self.graph, **model.config)
        return self.reference(self.task, checkpoint, **deepcopy(dict(options or {})))

    def make_ours(self, tiny: TinyModels, model: Model, options: Mapping[str, Any] | None = None) -> Any:
        folder = tiny.export(model.architecture, self.graph, **model.config)
        return torchless.pipeline(self.task, folder, threads=self.threads, **deepcopy(dict(options or {})))

    def assert_same_answers(self, expected: Any, got: Any) -> None:
        """Fail where two results differ; those of an iterator are compared as lists."""
        if isinstance(got, Iterator):
            expected, got = list(expected), list(got)
        self.compare(expected, got)

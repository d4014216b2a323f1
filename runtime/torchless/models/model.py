"""A graph with its configuration, called with arrays: the lower-level API."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torchless.errors import CheckpointError, InputError
from torchless.folder.hub import open_folder
from torchless.folder.model_folder import ModelFolder
from torchless.models.batch_dependence import LONG, padding_changes_answers
from torchless.models.positions import position_ids
from torchless.models.signature import check_inputs, checked_outputs, output_names
from torchless.models.static_axes import StaticAxes
from torchless.ort.session import Session
from torchless.tasks import Task

__all__ = ["GRAPH_INPUTS", "Model", "ModelOutput"]

# Token ids below this one are in any vocabulary, where the configuration does not say its size.
_FEW_TOKENS = 64
GRAPH_INPUTS = frozenset({"attention_mask", "input_ids", "position_ids", "token_type_ids"})


class ModelOutput(Mapping[str, NDArray[Any]]):
    """What a model answered: `output.logits`, `output["logits"]` and `output[0]` are the same array.

    Args:
        arrays: The outputs by name, in the graph's order.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __getitem__(self, key: str | int) -> NDArray[Any]:
        if isinstance(key, int):
            return list(self._arrays.values())[key]
        return self._arrays[key]

    def __getattr__(self, name: str) -> NDArray[Any]:
        arrays: dict[str, NDArray[Any]] = self.__dict__.get("_arrays", {})  # an object from a pickle has none at first
        if name not in arrays:
            raise AttributeError(f"no output {name!r}; there are: {', '.join(arrays)}")
        return arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={array.shape}" for name, array in self._arrays.items())
        return f"ModelOutput({shapes})"


class Model:
    """A graph with its configuration, called with arrays. Any number of threads may call it at once.

    Args:
        folder: The folder.
        session: Its graph, loaded.

    Attributes:
        task: The row of the table that this class serves.
        config: The model's configuration.
        outputs: The outputs of the task that the graph has, by the task's names, each with the names of its axes.

    Raises:
        CheckpointError: The graph's outputs do not fit the task or the labels, or it takes what nothing fills.
    """

    task: ClassVar[Task]

    _load_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, folder: ModelFolder, session: Session) -> None:
        check_inputs(session, fills=self._fills)
        self._names = output_names(self.task, session)
        self.outputs = checked_outputs(self.task, folder, session, self._names, class_name=type(self).__name__)
        self.folder = folder
        self.config = folder.config
        self.session = session
        # Those of which only a run shows how many labels they have.
        declared = {self._names.get(name, name): tensor.shape for name, tensor in session.outputs.items()}
        self._of_unknown_length = [
            name for name, axes in self.outputs.items() if axes[-1] == "labels" and declared[name][-1:] in {(), (None,)}
        ]
        self._static_axes = StaticAxes.of(session.inputs, self.task.input_axes)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All its graphs, loaded."""
        return (self.session,)

    @cached_property
    def batch_dependent(self) -> bool:
        """Whether an answer depends on the rows that share its batch.

        The manifest or the graph's operators say; otherwise two short runs show it, the first time that rows share a batch.
        """
        known = self.folder.batch_dependent(self.session.graph, holds=self.session.holds)
        if known is not None:
            return known
        decoder = self.task.cached and not self.task.encoder_decoder
        # A decoder's positions are those of each row; without them, the longest row sets the rotary frequencies of all.
        switch = None if decoder else self.config.rotary_switch
        return any(
            padding_changes_answers(
                self._answer_row,
                vocab_size=self.config.get("vocab_size") or _FEW_TOKENS,
                pad_token_id=self.config.get("pad_token_id") or 0,
                padding_side="left" if decoder else "right",
                max_tokens=self.max_tokens,
                long=long,
            )
            for long in (LONG, *(() if switch is None else (max(LONG, switch + switch // 4),)))
        )

    def _answer_row(self, ids: NDArray[np.int64], mask: NDArray[np.int64], tokens: int) -> Sequence[NDArray[Any]]:
        """Run rows, and return the first one's answers, cut to its tokens."""
        model_inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        if "choices" in self.task.input_axes:
            model_inputs = {name: array[:, None] for name, array in model_inputs.items()}
        output = self.run(model_inputs)
        return [
            output[name][0, :tokens] if "tokens" in axes else output[name][0] for name, axes in self.outputs.items()
        ]

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike[str],
        *,
        dtype: str = "fp32",
        revision: str | None = None,
        file_name: str | None = None,
        threads: int | None = None,
        providers: str | Sequence[str] | None = None,
    ) -> Self:
        """Load the model of an exported folder, or of a name on the Hub.

        Args:
            source: What `torchless export` wrote, or `user/model`; a folder comes first.
            dtype: The variant: fp32, fp16, q8, …
            revision: A branch, tag or commit on the Hub.
            file_name: The graph's own name, instead of a dtype: `onnx/model_O2.onnx`.
            threads: How many threads a run may use; by default what the machine grants.
            providers: ONNX Runtime's execution providers, by default the CPU.

        Raises:
            CheckpointError: The folder lacks a file, its graph is damaged or does not fit, or the name cannot be found.
            OptionError: There is no such dtype or provider.
        """
        folder = open_folder(source, revision=revision, dtype=dtype, file_name=file_name)
        return cls.from_folder(folder, dtype=dtype, file_name=file_name, threads=threads, providers=providers)

    @classmethod
    def from_folder(
        cls,
        folder: ModelFolder,
        *,
        dtype: str = "fp32",
        file_name: str | None = None,
        threads: int | None = None,
        providers: str | Sequence[str] | None = None,
    ) -> Self:
        """Load the model of an open folder; see `from_pretrained`.

        Raises:
            CheckpointError: The folder lacks a file, or its graph is damaged or does not fit.
            OptionError: There is no such dtype or provider.
        """
        sessions = (
            # A cache is longer at every step, so no plan of the memory for some shapes would be used twice.
            Session(graph, threads=threads, providers=providers, plan_memory=not cls.task.cached)
            for graph in cls._graphs(folder, dtype, file_name)
        )
        model = cls(folder, *sessions)
        model._load_options = {"dtype": dtype, "file_name": file_name, "threads": threads, "providers": providers}
        return model

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (type(self), *self.folder.location, self._load_options)

    @staticmethod
    def _graphs(folder: ModelFolder, dtype: str, file_name: str | None) -> tuple[Path, ...]:
        """Return the graphs that the class is made of, in the order that it takes them in."""
        return (folder.graph(dtype, file_name=file_name),)

    def __call__(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
    ) -> ModelOutput:
        """Run the model once.

        Args:
            input_ids: Integers, (texts, tokens); for multiple choice (texts, choices, tokens).
            attention_mask: 1 where a token counts and 0 where it is padding; by default all count.
            token_type_ids: 0 for the text and 1 for its pair; by default 0.

        Returns:
            The graph's outputs; their first axis is the texts. Where a graph takes positions, they count the tokens that
            the mask lets count, from where the model's family begins: padding on either side changes nothing.

        Raises:
            InputError: The shapes do not fit each other, or the texts are longer than the model takes.
        """
        ids = self._as_ids("input_ids", input_ids)
        model_inputs = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids)
            if attention_mask is None
            else self._as_ids("attention_mask", attention_mask, like=ids),
            "token_type_ids": np.zeros_like(ids)
            if token_type_ids is None
            else self._as_ids("token_type_ids", token_type_ids, like=ids),
        }
        self.check_length(ids.shape[-1])
        return self.run(model_inputs)

    def run(self, model_inputs: Mapping[str, NDArray[np.int64]]) -> ModelOutput:
        """Run the model once, on arrays that are known to fit.

        Args:
            model_inputs: `input_ids`, `attention_mask` and, if the graph takes them, `token_type_ids`: of one shape.

        Returns:
            As of a call.

        Raises:
            InputError: The graph takes no `token_type_ids`, and they are not all 0.
        """
        if "token_type_ids" in model_inputs and "token_type_ids" not in self.session.inputs:
            ignored = self.config.get("type_vocab_size") == 0
            if not ignored and model_inputs["token_type_ids"].any():
                raise InputError(
                    "This model takes no token_type_ids, and they are not all 0.", hint="Leave token_type_ids out."
                )
        feeds: dict[str, NDArray[Any]] = {
            name: model_inputs[name] for name in model_inputs.keys() & self.session.inputs.keys()
        }
        if "position_ids" in self.session.inputs:
            feeds["position_ids"] = position_ids(model_inputs["input_ids"], model_inputs["attention_mask"], self.config)
        output = self._answered(feeds)
        for name in self._of_unknown_length:
            if output[name].shape[-1:] != (self.config.num_labels,):
                raise CheckpointError(
                    f"{name} has the shape {output[name].shape}, and id2label in config.json has {self.config.num_labels}.",
                    hint="The folder mixes files of two models; export the checkpoint again.",
                )
        return output

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a row, special ones included: what positions or the graph's shape allow; None without a limit."""
        limits = (self.config.max_tokens, self.static_tokens)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def static_tokens(self) -> int | None:
        """How many tokens the graph's shape says that each row has, padding included; None if it may be any number."""
        return self._static_axes.tokens

    def max_batch_rows(self, max_batch_tokens: int) -> int | None:
        """Return the most rows that share a batch: 1 if an answer depends on them, else what the graph's shape says.

        Args:
            max_batch_tokens: The most tokens that a batch may cost, padding included.

        Returns:
            None where the rows' lengths say how many share a batch.
        """
        if self.batch_dependent:
            return 1
        if self._static_axes.batch is not None:
            return self._static_axes.batch * (self._static_axes.choices or 1)
        return None if self.static_tokens is None else max(1, max_batch_tokens // self.static_tokens)

    @staticmethod
    def _fills(name: str) -> bool:
        """Return whether the model fills an input of the graph, by its name."""
        return name in GRAPH_INPUTS

    def _answered(self, feeds: dict[str, NDArray[Any]]) -> ModelOutput:
        names = [self._names.get(name, name) for name in self.session.outputs]
        if not self._static_axes:
            return ModelOutput(dict(zip(names, self.session.run(feeds), strict=True)))
        shape = feeds["input_ids"].shape
        if not shape[0]:
            raise InputError("input_ids has no texts.", hint="Give at least one.")
        if "attention_mask" not in feeds and self.static_tokens not in (None, shape[-1]):
            raise InputError(
                f"The text has {shape[-1]} tokens, and {self.session.graph.name} takes exactly {self.static_tokens}: "
                "it has no attention_mask, so padding would count.",
                hint="Export the graph with an attention_mask, or with axes of any length: torchless export MODEL OUT",
            )
        runs = self._static_axes.runs(feeds, pad_id=self.config.get("pad_token_id") or 0)
        outputs = zip(*map(self.session.run, runs), strict=True)  # the arrays of all runs, output by output
        return ModelOutput(
            {
                name: self._static_axes.joined(arrays, self.outputs.get(name, ("batch",)), shape)
                for name, arrays in zip(names, outputs, strict=True)
            }
        )

    def check_length(self, tokens: int, *, hint: str = "Cut it with truncation=True, max_length={limit}.") -> None:
        """Raise if a row of this many tokens is longer than the model's positions, or than its graph's shape.

        Args:
            tokens: A row's length, special tokens included.
            hint: What to do about it; `{limit}` stands for what the model takes.

        Raises:
            InputError: It is.
        """
        limit = self.max_tokens
        if limit is not None and tokens > limit:
            model = "the graph of this model" if limit == self.static_tokens else "this model"
            raise InputError(f"The text has {tokens} tokens, and {model} takes {limit}.", hint=hint.format(limit=limit))

    def _as_ids(self, name: str, values: ArrayLike, *, like: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        axes = ", ".join(self.task.input_axes).replace("batch", "texts")
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise InputError(f"{name} is not an array: {error}.", hint="Give padding=True to the tokenizer.") from error
        if array.ndim != len(self.task.input_axes) or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"{name} has the shape {array.shape} and the dtype {array.dtype}.",
                hint=f"Give integers of ({axes}), as the tokenizer returns them with return_tensors='np'.",
            )
        if like is not None and array.shape != like.shape:
            raise InputError(
                f"{name} has the shape {array.shape}, input_ids has {like.shape}.", hint="Give both the same shape."
            )
        return array.astype(np.int64, copy=False)


def _loaded(model_class: type[Model], source: str, revision: str | None, load_options: Mapping[str, Any]) -> Model:
    return model_class.from_pretrained(source, revision=revision, **load_options)

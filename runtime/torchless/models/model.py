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
from torchless.models.batch_dependence import padding_changes_answers
from torchless.models.positions import position_ids
from torchless.ort.session import Session
from torchless.tasks import Task

__all__ = ["Model", "ModelOutput"]

# Token ids below this one are in any vocabulary, where the configuration does not say its size.
_FEW_TOKENS = 64


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
        try:
            return self.__dict__["_arrays"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"no output {name!r}; there are: {', '.join(self.__dict__['_arrays'])}") from None

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

    Raises:
        CheckpointError: The graph's outputs do not fit the task or the labels.
    """

    task: ClassVar[Task]

    _load_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, folder: ModelFolder, session: Session) -> None:
        _check_outputs(self.task, folder, session, type(self).__name__)
        self.folder = folder
        self.config = folder.config
        self.session = session

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All its graphs, loaded."""
        return (self.session,)

    @cached_property
    def batch_dependent(self) -> bool:
        """Whether an answer depends on the rows that share its batch.

        The manifest or the graph's operators say; otherwise two short runs show it, the first time that rows share a batch.
        """
        known = self.folder.batch_dependent(self.session.graph)
        if known is not None:
            return known
        return padding_changes_answers(
            self._answer_row,
            vocab_size=self.config.get("vocab_size") or _FEW_TOKENS,
            pad_token_id=self.config.get("pad_token_id") or 0,
            padding_side="left" if self.task.cached and not self.task.encoder_decoder else "right",
            max_tokens=self.config.max_tokens,
        )

    def _answer_row(self, ids: NDArray[np.int64], mask: NDArray[np.int64], tokens: int) -> Sequence[NDArray[Any]]:
        """Run rows, and return the first one's answers, cut to its tokens."""
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        if "choices" in self.task.input_axes:
            given = {name: array[:, None] for name, array in given.items()}
        output = self.run(given)
        return [
            output[name][0, :tokens] if "tokens" in axes else output[name][0]
            for name, axes in self.task.outputs.items()
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
            CheckpointError: The folder lacks a file, its graph is damaged or does not fit, or the name is not to be had.
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
        """Load the model of a checkpoint that is open already; see `from_pretrained`.

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
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids)
            if attention_mask is None
            else self._as_ids("attention_mask", attention_mask, like=ids),
            "token_type_ids": np.zeros_like(ids)
            if token_type_ids is None
            else self._as_ids("token_type_ids", token_type_ids, like=ids),
        }
        self.check_length(ids.shape[-1])
        return self.run(given)

    def run(self, given: Mapping[str, NDArray[np.int64]]) -> ModelOutput:
        """Run the model once, on arrays that are known to fit.

        Args:
            given: `input_ids`, `attention_mask` and, if the graph takes them, `token_type_ids`: of one shape.

        Returns:
            As of a call.

        Raises:
            InputError: The graph takes no `token_type_ids`, and they are not all 0.
        """
        if "token_type_ids" in given and "token_type_ids" not in self.session.inputs:
            ignored = self.config.get("type_vocab_size") == 0
            if not ignored and given["token_type_ids"].any():
                raise InputError(
                    "This model takes no token_type_ids, and they are not all 0.", hint="Leave token_type_ids out."
                )
        feeds: dict[str, NDArray[Any]] = {name: given[name] for name in given.keys() & self.session.inputs.keys()}
        if "position_ids" in self.session.inputs:
            feeds["position_ids"] = position_ids(given["input_ids"], given["attention_mask"], self.config)
        return self._answered(feeds)

    def _answered(self, feeds: dict[str, NDArray[Any]]) -> ModelOutput:
        return ModelOutput(dict(zip(self.session.outputs, self.session.run(feeds), strict=True)))

    def check_length(self, tokens: int, *, hint: str = "Cut it with truncation=True, max_length={limit}.") -> None:
        """Raise if a row of this many tokens is longer than the model's positions.

        Args:
            tokens: A row's length, special tokens included.
            hint: What to do about it; `{limit}` stands for what the model takes.

        Raises:
            InputError: It is.
        """
        limit = self.config.max_tokens
        if limit is not None and tokens > limit:
            raise InputError(
                f"The text has {tokens} tokens, and this model takes {limit}.", hint=hint.format(limit=limit)
            )

    def _as_ids(self, name: str, values: ArrayLike, *, like: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        axes = ", ".join(self.task.input_axes).replace("batch", "texts")
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise InputError(f"{name} is no array: {error}.", hint="Give padding=True to the tokenizer.") from error
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


def _check_outputs(task: Task, folder: ModelFolder, session: Session, asked_by: str) -> None:
    present = ", ".join(session.outputs)
    for name, axes in task.outputs.items():
        tensor = session.outputs.get(name)
        if tensor is None:
            folder_task = folder.task()
            use = (
                f"Load it with {folder_task.auto_class}, or e"
                if folder_task.outputs.keys() <= session.outputs.keys()
                else "E"
            )
            raise CheckpointError(
                f"{asked_by} needs the output {name!r}, and {session.graph} has: {present}.",
                hint=f"{use}xport the graph that has it: torchless export MODEL OUT --task {task.name}",
            )
        if tensor.shape and len(tensor.shape) != len(axes):
            raise CheckpointError(
                f"The output {name!r} of {session.graph} has {len(tensor.shape)} axes; {task.name} needs {len(axes)}.",
                hint=f"Export the checkpoint for its task: torchless export MODEL OUT --task {task.name}",
            )
        if axes[-1] == "labels" and tensor.shape and tensor.shape[-1] not in {None, folder.config.num_labels}:
            raise CheckpointError(
                f"The output {name!r} of {session.graph} has {tensor.shape[-1]} labels, and id2label in config.json "
                f"has {folder.config.num_labels}.",
                hint="The folder mixes files of two models; export the checkpoint again.",
            )

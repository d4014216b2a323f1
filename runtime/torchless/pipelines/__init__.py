"""`pipeline()`: from a task and a folder to a pipeline that answers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import torchless.auto
from torchless.auto import Model
from torchless.checkpoint import Checkpoint
from torchless.errors import OptionError, TaskError
from torchless.pipelines.base import Pipeline
from torchless.session import Session
from torchless.tasks import Task, find_task
from torchless.tokenizer import Tokenizer

if TYPE_CHECKING:  # a process loads the one that it uses
    from torchless.pipelines.feature_extraction import FeatureExtractionPipeline
    from torchless.pipelines.fill_mask import FillMaskPipeline
    from torchless.pipelines.multiple_choice import MultipleChoicePipeline
    from torchless.pipelines.question_answering import QuestionAnsweringPipeline
    from torchless.pipelines.text_classification import TextClassificationPipeline
    from torchless.pipelines.text_ranking import TextRankingPipeline
    from torchless.pipelines.token_classification import TokenClassificationPipeline
    from torchless.pipelines.zero_shot_classification import ZeroShotClassificationPipeline

__all__ = ["Pipeline", "pipeline"]


Loadable: TypeAlias = "str | PathLike[str] | Model"


@overload
def pipeline(task: Literal["feature-extraction"], model: Loadable, **settings: Any) -> FeatureExtractionPipeline: ...
@overload
def pipeline(task: Literal["fill-mask"], model: Loadable, **settings: Any) -> FillMaskPipeline: ...
@overload
def pipeline(task: Literal["multiple-choice"], model: Loadable, **settings: Any) -> MultipleChoicePipeline: ...
@overload
def pipeline(task: Literal["question-answering"], model: Loadable, **settings: Any) -> QuestionAnsweringPipeline: ...
@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"], model: Loadable, **settings: Any
) -> TextClassificationPipeline: ...
@overload
def pipeline(task: Literal["text-ranking"], model: Loadable, **settings: Any) -> TextRankingPipeline: ...
@overload
def pipeline(
    task: Literal["token-classification", "ner"], model: Loadable, **settings: Any
) -> TokenClassificationPipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"], model: Loadable, **settings: Any
) -> ZeroShotClassificationPipeline: ...
@overload
def pipeline(task: str | None = None, model: Loadable | None = None, **settings: Any) -> Pipeline[Any]: ...
def pipeline(
    task: str | None = None,
    model: str | PathLike[str] | Model | None = None,
    *,
    tokenizer: str | PathLike[str] | Tokenizer | None = None,
    dtype: str = "fp32",
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    **options: Any,
) -> Pipeline[Any]:
    """Load an exported folder as a pipeline that answers like `transformers.pipeline`.

    Args:
        task: For example `text-classification`; by default what the folder was exported for.
        model: The folder, or a model that is loaded already.
        tokenizer: Another folder's tokenizer, or one that is loaded already; by default the model's own.
        dtype: The variant of the graph: fp32, fp16, q8, …
        threads: How many threads one run may use; by default what the machine grants this process.
        providers: ONNX Runtime's execution providers, the preferred first; by default the CPU.
        options: The task's options and `batch_size`, which each call may change for itself.

    Returns:
        The pipeline of the task.

    Raises:
        TaskError: There is no such task, or the model serves another.
        CheckpointError: The folder lacks a file, or its graph is damaged or does not fit the task.
        OptionError: There is no such option, dtype or provider.
    """
    chosen = None if task is None else find_task(task)
    if model is None:
        raise OptionError(
            "There is no model to load.", hint='Give the folder: pipeline(task, model="models/sentiment")'
        )
    if not isinstance(model, Model):
        checkpoint = Checkpoint(model)
        chosen = chosen or checkpoint.task()
        pipeline_class = _pipeline_class(chosen, model)
        model_class: type[Model] = getattr(torchless.auto, chosen.auto_class)
        model = model_class(checkpoint, Session(checkpoint.graph(dtype), threads=threads, providers=providers))
    elif chosen is not None and chosen.auto_class != type(model).__name__:
        raise TaskError(
            f"The model is of {type(model).__name__}, which does not serve {chosen.name}.",
            hint=f"Load it with {chosen.auto_class}.from_pretrained, or give its folder.",
        )
    else:
        pipeline_class = _pipeline_class(chosen or model.task, model.checkpoint.folder)
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.from_checkpoint(model.checkpoint if tokenizer is None else Checkpoint(tokenizer))
    return pipeline_class(model, tokenizer, **options)


def _pipeline_class(task: Task, folder: str | PathLike[str]) -> type[Pipeline[Any]]:
    if task.pipeline is None:
        raise TaskError(
            f"This version has no pipeline for {task.name}.",
            hint=f'Run the model by hand: {task.auto_class}.from_pretrained("{folder}")',
        )
    module, _, name = task.pipeline.partition(":")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]

"""`pipeline()`, which loads a task and a model folder as a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import torchless.models.auto
from torchless.errors import OptionError, TaskError
from torchless.folder.hub import open_folder
from torchless.models.auto import Model
from torchless.pipelines.base import Pipeline
from torchless.tasks import Task, find_task
from torchless.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:  # a process imports only the pipeline that it uses
    from torchless.pipelines.feature_extraction import FeatureExtractionPipeline
    from torchless.pipelines.fill_mask import FillMaskPipeline
    from torchless.pipelines.multiple_choice import MultipleChoicePipeline
    from torchless.pipelines.question_answering import QuestionAnsweringPipeline
    from torchless.pipelines.text2text_generation import (
        SummarizationPipeline,
        Text2TextGenerationPipeline,
        TranslationPipeline,
    )
    from torchless.pipelines.text_classification import TextClassificationPipeline
    from torchless.pipelines.text_generation import TextGenerationPipeline
    from torchless.pipelines.text_ranking import TextRankingPipeline
    from torchless.pipelines.token_classification import TokenClassificationPipeline
    from torchless.pipelines.zero_shot_classification import ZeroShotClassificationPipeline

__all__ = ["Pipeline", "pipeline"]

_LOGGER = logging.getLogger(__name__)

Loadable: TypeAlias = "str | PathLike[str] | Model | None"


@overload
def pipeline(
    task: Literal["feature-extraction"], model: Loadable = None, **settings: Any
) -> FeatureExtractionPipeline: ...
@overload
def pipeline(task: Literal["fill-mask"], model: Loadable = None, **settings: Any) -> FillMaskPipeline: ...
@overload
def pipeline(task: Literal["multiple-choice"], model: Loadable = None, **settings: Any) -> MultipleChoicePipeline: ...
@overload
def pipeline(
    task: Literal["question-answering"], model: Loadable = None, **settings: Any
) -> QuestionAnsweringPipeline: ...
@overload
def pipeline(task: Literal["summarization"], model: Loadable = None, **settings: Any) -> SummarizationPipeline: ...
@overload
def pipeline(
    task: Literal["text2text-generation"], model: Loadable = None, **settings: Any
) -> Text2TextGenerationPipeline: ...
@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"], model: Loadable = None, **settings: Any
) -> TextClassificationPipeline: ...
@overload
def pipeline(task: Literal["text-generation"], model: Loadable = None, **settings: Any) -> TextGenerationPipeline: ...
@overload
def pipeline(task: Literal["text-ranking"], model: Loadable = None, **settings: Any) -> TextRankingPipeline: ...
@overload
def pipeline(
    task: Literal["token-classification", "ner"], model: Loadable = None, **settings: Any
) -> TokenClassificationPipeline: ...
@overload
def pipeline(task: Literal["translation"], model: Loadable = None, **settings: Any) -> TranslationPipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"], model: Loadable = None, **settings: Any
) -> ZeroShotClassificationPipeline: ...
@overload
def pipeline(task: str | None = None, model: Loadable = None, **settings: Any) -> Pipeline[Any]: ...
def pipeline(
    task: str | None = None,
    model: Loadable = None,
    *,
    tokenizer: str | PathLike[str] | Tokenizer | None = None,
    dtype: str = "fp32",
    revision: str | None = None,
    file_name: str | None = None,
    threads: int | None = None,
    providers: str | Sequence[str] | None = None,
    **options: Any,
) -> Pipeline[Any]:
    """Load an exported folder, or a model from the Hub, as a pipeline with the results of `transformers.pipeline`.

    Args:
        task: For example `text-classification`; by default the task that the folder was exported for.
        model: The folder, a name on the Hub, or a loaded model; by default the task's default model on the Hub.
        tokenizer: The folder or name of a tokenizer, or a loaded tokenizer; by default the tokenizer of the model.
        dtype: The variant of the graph: fp32, fp16, q8, …
        revision: A branch, tag or commit of the model on the Hub.
        file_name: The file name of the graph, instead of a dtype: `onnx/model_O2.onnx`.
        threads: The number of threads of a run; by default the number of cores that this process may use.
        providers: The execution provider of ONNX Runtime, built in or installed as a plug-in: `cuda`, `openvino`, …; or
            several providers, the preferred first. By default the CPU.
        options: The task's options and `batch_size`; each call may change them for itself.

    Returns:
        The pipeline of the task.

    Raises:
        TaskError: There is no such task, or the model does not serve it.
        CheckpointError: A file of the folder is missing, the graph is damaged or does not fit the task, or the name cannot
            be loaded from the Hub.
        OptionError: There is no such option, dtype or provider, or there is no model to load.
    """
    chosen = None if task is None else find_task(task)
    if model is None:
        model = _default_model(chosen)
    source = model
    if not isinstance(model, Model):
        folder = open_folder(model, revision=revision, dtype=dtype, file_name=file_name)
        chosen = chosen or folder.task()
        model_class: type[Model] = getattr(torchless.models.auto, chosen.auto_class)
        model = model_class.from_folder(folder, dtype=dtype, file_name=file_name, threads=threads, providers=providers)
    elif revision is not None or file_name is not None:
        raise OptionError(
            f"revision={revision!r} and file_name={file_name!r} have no effect: the model is loaded already.",
            hint="Leave them out, or give the model's folder or name.",
        )
    elif chosen is not None and chosen.auto_class != type(model).__name__:
        raise TaskError(
            f"The model has the class {type(model).__name__}, which does not serve {chosen.name}.",
            hint=f"Load it with {chosen.auto_class}.from_pretrained, or give its folder.",
        )
    module, _, name = (chosen or model.task).pipeline.partition(":")
    pipeline_class: type[Pipeline[Any]] = getattr(import_module(module), name)
    if not isinstance(tokenizer, Tokenizer):
        if tokenizer is None or tokenizer == source:
            tokenizer = Tokenizer.from_folder(model.folder)
        else:
            tokenizer = Tokenizer.from_pretrained(tokenizer)
        if model.static_tokens is not None:  # truncation=True then cuts to what the graph takes
            tokenizer.model_max_length = min(tokenizer.model_max_length, model.static_tokens)
    if model.max_tokens is not None:  # a tokenizer from elsewhere may not know it
        tokenizer.max_positions = min(tokenizer.max_positions or model.max_tokens, model.max_tokens)
    return pipeline_class(model, tokenizer, task_name=task, **options)


def _default_model(task: Task | None) -> str:
    """Return the name on the Hub of a task's default model, and warn that it is used."""
    if task is None:
        raise OptionError(
            "There is no model to load.", hint='Give the folder: pipeline(task, model="models/sentiment")'
        )
    if task.default_model is None:
        raise OptionError(
            f"There is no model to load, and {task.name} has no default model.",
            hint=f'Give a folder or a name on the Hub: pipeline("{task.name}", model="models/mine")',
        )
    _LOGGER.warning(
        "No model was given, so %s uses %s from the Hub, in its latest revision. In production, name a model and a revision.",
        task.name,
        task.default_model,
    )
    return task.default_model

"""The table of tasks: the names of each task, the outputs of its graph, and the classes that serve it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torchless.errors import TaskError, nearest

__all__ = ["TASKS", "Task", "find_task", "task_of_architectures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A row of the table of tasks.

    Attributes:
        name: The canonical name: the name in `transformers.pipeline`, if that has the task.
        auto_class: The class of the lower-level API, in `torchless.models.auto`; `transformers` has a class of this name.
        outputs: The required outputs of the ONNX graph, each with the names of its axes. After a batch, the axis `tokens`
            is cut to the length of the row. The axis `labels` is as long as `config.id2label`.
        further_outputs: The outputs that the graph may have in addition, or instead, each with the names of its axes.
        pipeline: The pipeline class, as `module:class`.
        cached: Whether the graph takes and returns the keys and values of past tokens.
        encoder_decoder: Whether there are two graphs, an encoder and a decoder; the outputs are those of the decoder.
        heads: Further endings of the class names of models for this task; the first ending comes from `auto_class`.
        examples: Inputs to try a model with; `{mask}` is replaced by the tokenizer's mask token.
        options: Options to try a model with.
        aliases: Other names of the task.
        graph_of: The task whose graph serves this task, if it is a different task.
        input_axes: The axes of the graph's inputs.
        default_model: The name on the Hub of the model that is used if the caller names none, or None. It is the ONNX
            version of the default checkpoint of `transformers.pipeline`, or else the default model of transformers.js.
    """

    name: str
    auto_class: str
    outputs: Mapping[str, tuple[str, ...]]
    pipeline: str
    examples: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    further_outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cached: bool = False
    encoder_decoder: bool = False
    heads: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    graph_of: str | None = None
    input_axes: tuple[str, ...] = ("batch", "tokens")
    default_model: str | None = None

    @property
    def graph(self) -> str:
        """The name of the task whose graph serves this task; `optimum` exports by this name."""
        return self.graph_of or self.name


_COURSE = ("I've been waiting for a HuggingFace course my whole life.", "I hate this so much!")

_ENCODER_DECODER: Mapping[str, Any] = {
    "auto_class": "AutoModelForSeq2SeqLM",
    "outputs": {"logits": ("batch", "tokens", "vocabulary")},
    "cached": True,
    "encoder_decoder": True,
}

TASKS: tuple[Task, ...] = (
    Task(
        name="feature-extraction",
        auto_class="AutoModel",
        outputs={"last_hidden_state": ("batch", "tokens", "hidden")},
        further_outputs={"sentence_embedding": ("batch", "hidden")},
        default_model="Xenova/all-MiniLM-L6-v2",
        pipeline="torchless.pipelines.feature_extraction:FeatureExtractionPipeline",
        examples=("This is a simple test.",),
    ),
    Task(
        name="fill-mask",
        auto_class="AutoModelForMaskedLM",
        outputs={"logits": ("batch", "tokens", "vocabulary")},
        default_model="Xenova/distilroberta-base",
        pipeline="torchless.pipelines.fill_mask:FillMaskPipeline",
        examples=("The capital of France is {mask}.",),
    ),
    Task(
        name="multiple-choice",
        auto_class="AutoModelForMultipleChoice",
        input_axes=("batch", "choices", "tokens"),
        outputs={"logits": ("batch", "choices")},
        pipeline="torchless.pipelines.multiple_choice:MultipleChoicePipeline",
        examples=({"prompt": "It rains. What do you take?", "choices": ["An umbrella.", "A spoon."]},),
    ),
    Task(
        name="question-answering",
        auto_class="AutoModelForQuestionAnswering",
        outputs={"start_logits": ("batch", "tokens"), "end_logits": ("batch", "tokens")},
        default_model="Xenova/distilbert-base-cased-distilled-squad",
        pipeline="torchless.pipelines.question_answering:QuestionAnsweringPipeline",
        examples=({"question": "Where do I live?", "context": "My name is Wolfgang and I live in Berlin."},),
    ),
    Task(
        name="summarization",
        **_ENCODER_DECODER,
        graph_of="text2text-generation",
        default_model="Xenova/distilbart-cnn-6-6",
        pipeline="torchless.pipelines.text2text_generation:SummarizationPipeline",
        examples=(
            "The tower is 324 metres tall, as tall as a building of 81 storeys, and was the tallest structure for 41 years.",
        ),
    ),
    Task(
        name="text-classification",
        aliases=("sentiment-analysis",),
        auto_class="AutoModelForSequenceClassification",
        outputs={"logits": ("batch", "labels")},
        default_model="Xenova/distilbert-base-uncased-finetuned-sst-2-english",
        pipeline="torchless.pipelines.text_classification:TextClassificationPipeline",
        examples=_COURSE,
    ),
    Task(
        name="text-generation",
        auto_class="AutoModelForCausalLM",
        heads=("LMHeadModel",),
        outputs={"logits": ("batch", "tokens", "vocabulary")},
        cached=True,
        default_model="onnx-community/Qwen3-0.6B-ONNX",
        pipeline="torchless.pipelines.text_generation:TextGenerationPipeline",
        examples=("Hello, I'm a language model,",),
    ),
    Task(
        name="text2text-generation",
        **_ENCODER_DECODER,
        heads=("ForConditionalGeneration", "MTModel"),
        default_model="Xenova/flan-t5-small",
        pipeline="torchless.pipelines.text2text_generation:Text2TextGenerationPipeline",
        examples=("translate English to German: Where do you live?",),
    ),
    Task(
        name="text-ranking",
        auto_class="AutoModelForSequenceClassification",
        outputs={"logits": ("batch", "labels")},
        graph_of="text-classification",
        default_model="Xenova/ms-marco-MiniLM-L-6-v2",
        pipeline="torchless.pipelines.text_ranking:TextRankingPipeline",
        examples=({"query": "Who lives in Berlin?", "documents": ["Wolfgang does.", "It rains in Paris."]},),
    ),
    Task(
        name="token-classification",
        aliases=("ner",),
        auto_class="AutoModelForTokenClassification",
        outputs={"logits": ("batch", "tokens", "labels")},
        default_model="Xenova/bert-base-multilingual-cased-ner-hrl",
        pipeline="torchless.pipelines.token_classification:TokenClassificationPipeline",
        examples=("My name is Sarah and I live in London.",),
    ),
    Task(
        name="translation",
        **_ENCODER_DECODER,
        graph_of="text2text-generation",
        default_model="Xenova/t5-small",
        pipeline="torchless.pipelines.text2text_generation:TranslationPipeline",
        examples=("Where do you live?",),
    ),
    Task(
        name="zero-shot-classification",
        auto_class="AutoModelForSequenceClassification",
        outputs={"logits": ("batch", "labels")},
        graph_of="text-classification",
        default_model="Xenova/bart-large-mnli",
        pipeline="torchless.pipelines.zero_shot_classification:ZeroShotClassificationPipeline",
        examples=_COURSE,
        options={"candidate_labels": ["education", "politics", "business"]},
    ),
)

_LANGUAGES = re.compile(r"translation_[^_]+_to_[^_]+")
_BY_NAME = {name: task for task in TASKS for name in (task.name, *task.aliases)}


def find_task(name: str) -> Task:
    """Return the row of a task.

    Args:
        name: A name or an alias. `translation_xx_to_yy` finds `translation`.

    Raises:
        TaskError: There is no such task; the hint lists the valid names.
    """
    try:
        return _BY_NAME["translation" if _LANGUAGES.fullmatch(name) else name]
    except (KeyError, TypeError):
        raise TaskError(f"There is no task {name!r}.", hint=nearest(name, _BY_NAME)) from None


def task_of_architectures(architectures: Iterable[str]) -> Task | None:
    """Return the task of a model's class; None if no task has such a head.

    Args:
        architectures: The class names in `config.json`, for example `BertForSequenceClassification`.
    """
    for task in (task for task in TASKS if task.graph == task.name):
        heads = tuple(filter(None, (task.auto_class.removeprefix("AutoModel"), *task.heads)))
        if any(architecture.endswith(heads) for architecture in architectures):
            return task
    return None

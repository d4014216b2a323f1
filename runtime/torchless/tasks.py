"""The one table of tasks: what each is called, what its graph answers, which classes serve it. Data only."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torchless.errors import TaskError, nearest

__all__ = ["TASKS", "Task", "find_task", "task_of_architectures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, as a row of the table.

    Attributes:
        name: The canonical name, as `transformers.pipeline` spells it where it has the task.
        auto_class: The class of the lower-level API, in `torchless.models.auto`; `transformers` has one of the same name.
        outputs: The ONNX outputs that the graph must have, each with the names of its axes. The axis `tokens` is
            cut back to a row's own length after a batch; the axis `labels` is as long as `config.id2label`.
        further_outputs: The outputs that the graph may have too, or instead, each with the names of its axes.
        pipeline: The pipeline class, as `module:class`.
        cached: Whether the graph takes the keys and values of past tokens, and answers with all so far.
        encoder_decoder: Whether there are two graphs, an encoder's and a decoder's; the outputs are the decoder's.
        heads: How the classes of models end that have its head, beside what `auto_class` says.
        examples: Inputs to try a model with; `{mask}` stands for the tokenizer's mask.
        options: The options to try it with.
        aliases: Other names for it.
        graph_of: The task whose graph serves this one, if it is another.
        input_axes: The axes of the graph's inputs.
        default_model: What serves the task unless the caller names another: a name on the Hub, or None. It is the ONNX
            form of the checkpoint that `transformers.pipeline` uses; where none is known, what transformers.js uses.
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
        """The task whose graph serves this one: what `optimum` exports."""
        return self.graph_of or self.name


_COURSE = ("I've been waiting for a HuggingFace course my whole life.", "I hate this so much!")

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
        auto_class="AutoModelForSeq2SeqLM",
        outputs={"logits": ("batch", "tokens", "vocabulary")},
        graph_of="text2text-generation",
        cached=True,
        encoder_decoder=True,
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
        auto_class="AutoModelForSeq2SeqLM",
        heads=("ForConditionalGeneration", "MTModel"),
        outputs={"logits": ("batch", "tokens", "vocabulary")},
        cached=True,
        encoder_decoder=True,
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
        auto_class="AutoModelForSeq2SeqLM",
        outputs={"logits": ("batch", "tokens", "vocabulary")},
        graph_of="text2text-generation",
        cached=True,
        encoder_decoder=True,
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
    """Return the row of a task, by its name or an alias.

    Args:
        name: For example `sentiment-analysis`; `translation_en_to_de` is a translation.

    Raises:
        TaskError: No task has that name; the hint lists those that exist.
    """
    try:
        return _BY_NAME["translation" if _LANGUAGES.fullmatch(name) else name]
    except (KeyError, TypeError):
        raise TaskError(f"There is no task {name!r}.", hint=nearest(name, _BY_NAME)) from None


def task_of_architectures(architectures: Iterable[str]) -> Task | None:
    """Return the task of a model's class, for example `BertForSequenceClassification`; None if no head is known.

    Args:
        architectures: The class names in `config.json`.
    """
    for task in (task for task in TASKS if task.graph == task.name):
        heads = tuple(filter(None, (task.auto_class.removeprefix("AutoModel"), *task.heads)))
        if any(architecture.endswith(heads) for architecture in architectures):
            return task
    return None

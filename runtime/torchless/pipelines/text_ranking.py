"""Text ranking: documents in the order of the scores that a cross-encoder gives them for a query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np

from torchless.batching.rows import Row, RowOutput
from torchless.errors import CheckpointError, OptionError, check_whole_number, nearest
from torchless.folder.layout import SENTENCE_CONFIG
from torchless.folder.model_folder import ModelFolder
from torchless.models.auto import Model
from torchless.numerics import sigmoid
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import as_records, expect_pairs, text_pairs
from torchless.pipelines.options import TokenizerOptions
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["RankedText", "RankingInput", "TextRankingOptions", "TextRankingPipeline"]

FunctionToApply: TypeAlias = Literal["sigmoid", "none"]

_ACTIVATIONS: Mapping[str, FunctionToApply] = {"Sigmoid": "sigmoid", "Identity": "none"}


class RankingInput(TypedDict):
    """A query with the documents to rank."""

    query: str
    documents: list[str]


class RankedText(TypedDict):
    """A document, its index among the documents, and its score."""

    index: int
    score: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRankingOptions(TokenizerOptions):
    """The options of `text-ranking`.

    Attributes:
        function_to_apply: `sigmoid` gives scores from 0 to 1, `none` the logits of the model; by default the folder's
            setting, or else `sigmoid`.
        top_k: The number of documents to return; None returns all.
        prompt: The text before each query; by default the folder's default prompt.
        prompt_name: The name of one of the folder's prompts.
    """

    function_to_apply: FunctionToApply | None = None
    top_k: int | None = None
    prompt: str | None = None
    prompt_name: str | None = None

    def __post_init__(self) -> None:
        if self.function_to_apply not in (None, *get_args(FunctionToApply)):
            raise OptionError(
                f"function_to_apply={self.function_to_apply!r} is not a function.",
                hint=nearest(self.function_to_apply, get_args(FunctionToApply)),
            )
        check_whole_number("top_k", self.top_k, at_least=1, hint="Give a number of documents, or None for all.")
        if self.prompt is not None and not isinstance(self.prompt, str):
            raise OptionError(f"prompt={self.prompt!r} is not a string.", hint='Give a text: prompt="query: "')


class TextRankingPipeline(Pipeline[TextRankingOptions]):
    """The documents of a query, the best first.

    Source: the reference has no such pipeline. Scores and order are those of `CrossEncoder.rank` in
        sentence-transformers 5.7.0, for a model with one label.
    """

    task = find_task("text-ranking")
    options_class = TextRankingOptions

    def __init__(self, model: Model, tokenizer: Tokenizer, **options: Any) -> None:
        self._prompts, self._default_prompt = _declared_prompts(model.folder)
        super().__init__(model, tokenizer, **options)
        if model.config.num_labels != 1:
            raise CheckpointError(
                f"The model in {str(model.folder.path)!r} has {model.config.num_labels} labels; a cross-encoder "
                "for ranking has one label.",
                hint="Use a model that was trained to rank, or text-classification with pairs.",
            )
        self._function = self.options.function_to_apply or _declared_function(model.folder)

    def __call__(
        self,
        inputs: Any = None,
        *,
        query: str | list[str] | None = None,
        documents: list[Any] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        """Rank the documents of one query, a list of queries, or an iterator over queries.

        Args:
            inputs: Dicts `{"query": …, "documents": […]}`.
            query: Instead of `inputs`: a query, or a list of queries.
            documents: With `query`: its documents; with a list of queries, a list of documents for each.
            batch_size: The most rows in a batch; a query has a row for each document.
            options: See `TextRankingOptions`.

        Returns:
            For each query a list of `RankedText`, the best first.

        Raises:
            InputError: A query or its documents are missing, empty, not strings, or longer than the model takes.
            OptionError: There is no such option, or its value is not possible.
        """
        records = as_records(inputs, {"query": query, "documents": documents}, many="query")
        return super().__call__(records, batch_size=batch_size, **options)

    def _preprocess(self, text: RankingInput, options: TextRankingOptions) -> list[Row]:
        """Turn a query into a row for each document."""
        pairs = text_pairs(text, "query", "document")
        truncation = options.read_truncation(self.tokenizer)
        prompt = self._prompt(options)
        expect_pairs(len(pairs), self.tokenizer)
        return [
            self.encode((prompt + query, document), truncation, add_special_tokens=options.add_special_tokens)
            for query, document in pairs
        ]

    def _prompt(self, options: TextRankingOptions) -> str:
        """Return the text before a query.

        Source: `_resolve_prompt` in sentence-transformers 5.7.0, base/model.py.
        """
        if options.prompt is not None:
            return options.prompt
        name = options.prompt_name or self._default_prompt
        if name is None:
            return ""
        if name not in self._prompts:
            raise OptionError(f"This model has no prompt {name!r}.", hint=nearest(name, self._prompts))
        return self._prompts[name]

    def _postprocess(
        self, text: RankingInput, rows: Sequence[Row], outputs: Sequence[RowOutput], options: TextRankingOptions
    ) -> list[RankedText]:
        """Turn the logits of the documents into their scores, the best first."""
        apply = sigmoid if (options.function_to_apply or self._function) == "sigmoid" else np.asarray
        ranked: list[RankedText] = [
            {"index": index, "score": apply(logits).item(), "text": text["documents"][index]}
            for index, (logits,) in enumerate(outputs)
        ]
        return sorted(ranked, key=itemgetter("score"), reverse=True)[: options.top_k]


def _declared_prompts(folder: ModelFolder) -> tuple[dict[str, str], str | None]:
    """Return the prompts that a folder has by name, and the name of the default one."""
    settings = folder.read_optional_json(SENTENCE_CONFIG)
    prompts = {name: prompt or "" for name, prompt in (settings.get("prompts") or {}).items()}
    name = settings.get("default_prompt_name")
    if name is not None and name not in prompts:
        raise CheckpointError(
            f"{SENTENCE_CONFIG} in {str(folder.path)!r} has the default prompt {name!r}, and no prompt of that name.",
            hint=nearest(name, prompts),
        )
    return prompts, name


def _declared_function(folder: ModelFolder) -> FunctionToApply:
    """Return the function of a folder's sentence-transformers files that turns logits into scores; by default a sigmoid.

    Source: `get_default_activation_fn` and `_parse_model_config` of `CrossEncoder` in sentence-transformers 5.7.0.
    """
    config = folder.config
    places = [folder.read_optional_json(SENTENCE_CONFIG), config.get("sentence_transformers") or {}]
    declared = [place.get("activation_fn") for place in places] + [config.get("sbert_ce_default_activation_function")]
    path = next((path for path in declared if path), "torch.nn.Sigmoid")
    function = _ACTIVATIONS.get(path.rpartition(".")[2])
    if function is None:
        raise CheckpointError(
            f"The folder {str(folder.path)!r} turns logits into scores by {path!r}, which is not supported.",
            hint="Choose a function: function_to_apply='sigmoid' or function_to_apply='none'.",
        )
    return function

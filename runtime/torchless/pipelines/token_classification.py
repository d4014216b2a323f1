"""Token classification: the labels of the tokens of a text, or the entities of the text."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, OptionError, check_whole_number, nearest, shortened
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline, Prepared
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import without_none
from torchless.tasks import find_task
from torchless.tokenization.truncation import Truncation

__all__ = ["AggregationStrategy", "Entity", "TokenClassificationOptions", "TokenClassificationPipeline"]

AggregationStrategy: TypeAlias = Literal["none", "simple", "first", "average", "max"]


class Entity(TypedDict):
    """A token (`entity`, `index`) or a group of tokens (`entity_group`), with its start and end in characters."""

    entity: NotRequired[str]
    entity_group: NotRequired[str]
    score: float
    index: NotRequired[int]
    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClassificationOptions:
    """The options of `token-classification`.

    Attributes:
        aggregation_strategy: `none` returns tokens. `simple` groups tokens of the same entity. `first`, `average` and
            `max` first give each word a single entity: by its first token, by the mean of its tokens' scores, or by the
            token with the highest score.
        ignore_labels: Labels that are left out of the result.
        stride: Cover the whole of a long text with windows that share this number of tokens. By default the text is cut.
        is_split_into_words: The inputs are lists of words. Only a call sets this option, not the constructor.
        delimiter: The text between words, for the positions `start` and `end`. Only a call sets this option.
    """

    aggregation_strategy: AggregationStrategy | None = None
    ignore_labels: Collection[str] = ("O",)
    stride: int | None = None
    is_split_into_words: bool = False
    delimiter: str = " "

    def __post_init__(self) -> None:
        strategy = str(self.strategy)
        if strategy not in get_args(AggregationStrategy):
            raise OptionError(
                f"There is no aggregation_strategy {self.aggregation_strategy!r}.",
                hint=nearest(strategy, get_args(AggregationStrategy)),
            )
        check_whole_number("stride", self.stride, at_least=0, hint="Give a number of tokens.")
        labels: Any = self.ignore_labels
        if (
            not isinstance(labels, Collection)
            or isinstance(labels, str)
            or not all(isinstance(item, str) for item in labels)
        ):
            raise OptionError(
                f"ignore_labels={labels!r} is not possible.", hint="Give a list of labels, such as ['O']."
            )
        if not isinstance(self.delimiter, str):
            raise OptionError(f"delimiter={self.delimiter!r} is not possible.", hint="Give a string, such as ' '.")

    @property
    def strategy(self) -> str:
        """The aggregation strategy in lower case, `none` by default."""
        return "none" if self.aggregation_strategy is None else str(self.aggregation_strategy).lower()


@dataclass(frozen=True, slots=True)
class _Token:
    """A token of the text; its `scores` are probabilities, (labels,)."""

    word: str
    scores: NDArray[np.floating]
    start: int
    end: int
    index: int
    is_subword: bool


class TokenClassificationPipeline(Pipeline[TokenClassificationOptions]):
    """The entities of texts, token by token or grouped.

    Source: `TokenClassificationPipeline` of transformers 4.57.6, pipelines/token_classification.py.
    """

    task = find_task("token-classification")
    options_class = TokenClassificationOptions

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Classify the tokens of one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings; with `is_split_into_words`, lists of words.
            batch_size: The most rows in a batch.
            options: See `TokenClassificationOptions`.

        Returns:
            For each text a list of `Entity`. A single list of words counts as a list of one text.

        Raises:
            InputError: An input is not a string or, with `is_split_into_words`, not a list of words.
            OptionError: There is no such option, or its value is not possible.
        """
        options = _call_options(options)
        words = options["is_split_into_words"]
        if words and isinstance(inputs, list) and not all(isinstance(text, list) for text in inputs):
            inputs = [inputs]
        return super().__call__(inputs, batch_size=batch_size, **options)

    def prepare(self, inputs: Sequence[Any], /, **options: Any) -> Prepared:
        """Do the steps of a call except `forward`."""
        return super().prepare(inputs, **_call_options(options))

    def _preprocess(self, text: str | list[str], options: TokenClassificationOptions) -> list[Row]:
        """Turn a text into its row, or with a stride into its windows."""
        words = options.is_split_into_words
        _check_input(text, words=words)
        if words:  # the delimiters are part of the sentence that `_postprocess` makes
            CURRENT_LIMITS.get().admit_text(len(options.delimiter) * len(text))
        truncation = self._truncation(options.stride)
        if options.stride is None:
            return [self.encode(text, truncation, is_split_into_words=words)]
        return self.encode_windows(text, truncation, is_split_into_words=words)

    def _postprocess(
        self,
        text: str | list[str],
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: TokenClassificationOptions,
    ) -> list[Entity]:
        """Turn the logits of a text's rows into its entities."""
        if isinstance(text, str):
            sentence, word_starts = text, None
        else:
            sentence = options.delimiter.join(text)
            steps = (len(word) + len(options.delimiter) for word in text)
            word_starts = list(accumulate(steps, initial=0))
        if options.strategy in {"first", "average", "max"} and self.tokenizer.continuing_subword_prefix is None:
            warnings.warn(
                "This tokenizer does not mark the tokens that continue a word; words are separated at spaces instead.",
                UserWarning,
                stacklevel=2,
            )
        ignored = frozenset(options.ignore_labels)
        entities = [
            entity
            for row, (logits,) in zip(rows, outputs, strict=True)
            for entity in self._aggregated(self._tokens(sentence, word_starts, row, softmax(logits)), options.strategy)
            if ignored.isdisjoint((entity.get("entity"), entity.get("entity_group")))
        ]
        return _best_of_overlapping(entities) if len(rows) > 1 else entities

    def _count_values(self, rows: Sequence[Row], options: TokenClassificationOptions) -> int:
        return sum(map(len, rows))

    def with_options(
        self, options: TokenClassificationOptions, changes: Mapping[str, Any]
    ) -> TokenClassificationOptions:
        """Return options with some of them changed; None does not change an option."""
        changes = _with_new_name(without_none(changes))
        if "stride" in changes and str(changes.get("aggregation_strategy", "")).lower() == "none":
            raise OptionError(
                f"stride={changes['stride']!r} needs entities, which aggregation_strategy='none' does not make.",
                hint="Give aggregation_strategy='simple'.",
            )
        return super().with_options(options, changes)

    def _truncation(self, stride: int | None) -> Truncation | None:
        length = self.max_tokens
        if length is None:
            return None
        room = length - self.tokenizer.num_special_tokens(pair=False)
        if stride is not None and stride > room:
            raise OptionError(
                f"stride={stride} is not smaller than the window, which has room for {room} tokens of the text.",
                hint=f"Give a stride below {room}.",
            )
        return Truncation(length, stride=stride or 0)

    def _tokens(
        self, sentence: str, word_starts: list[int] | None, row: Row, scores: NDArray[np.floating]
    ) -> list[_Token]:
        """Return the tokens of a row without special tokens; `scores` are probabilities, (tokens, labels)."""
        encoding = row.encoding
        marked = self.tokenizer.continuing_subword_prefix is not None
        columns = zip(encoding.special_tokens_mask, encoding.ids, encoding.offsets, encoding.word_ids, strict=True)
        tokens = []
        for index, (special, token_id, (begin, stop), word_id) in enumerate(columns):
            if special:
                continue
            word = self.tokenizer.convert_ids_to_tokens(token_id)
            shift = 0 if word_starts is None or word_id is None else word_starts[word_id]
            start, end = begin + shift, stop + shift
            surface = sentence[start:end]
            after_a_letter = start > 0 and " " not in sentence[start - 1 : start + 1]
            is_subword = len(word) != len(surface) if marked else after_a_letter
            if token_id == self.tokenizer.unk_token_id:
                word, is_subword = surface, False
            tokens.append(_Token(word, scores[index], start, end, index, is_subword))
        return tokens

    def _aggregated(self, tokens: Sequence[_Token], strategy: str) -> list[Entity]:
        if strategy == "none":
            return [self._entity_of_token(token) for token in tokens]
        if strategy == "simple":
            return self._grouped([self._entity_of_token(token) for token in tokens])
        words: list[list[_Token]] = []
        for token in tokens:
            if words and token.is_subword:
                words[-1].append(token)
            else:
                words.append([token])
        return self._grouped([self._entity_of_word(word, strategy) for word in words])

    def _entity_of_token(self, token: _Token) -> Entity:
        best = int(token.scores.argmax())
        return {
            "entity": self.model.config.id2label[best],
            "score": token.scores[best].item(),
            "index": token.index,
            "word": token.word,
            "start": token.start,
            "end": token.end,
        }

    def _entity_of_word(self, word: Sequence[_Token], strategy: str) -> Entity:
        scores = _WORD_SCORES[strategy]([token.scores for token in word])  # (labels,)
        best = int(scores.argmax())
        return {
            "entity": self.model.config.id2label[best],
            "score": scores[best].item(),
            "word": self.tokenizer.convert_tokens_to_string([token.word for token in word]),
            "start": word[0].start,
            "end": word[-1].end,
        }

    def _grouped(self, entities: Sequence[Entity]) -> list[Entity]:
        """Join neighbours of the same tag, unless the later neighbour begins an entity."""
        groups: list[list[Entity]] = []
        for entity in entities:
            begins, tag = _begins_and_tag(entity["entity"])
            if groups and not begins and tag == _begins_and_tag(groups[-1][-1]["entity"])[1]:
                groups[-1].append(entity)
            else:
                groups.append([entity])
        return [
            {
                "entity_group": group[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([entity["score"] for entity in group], dtype=np.float32)),
                "word": self.tokenizer.convert_tokens_to_string([entity["word"] for entity in group]),
                "start": group[0]["start"],
                "end": group[-1]["end"],
            }
            for group in groups
        ]


_WORD_SCORES: Mapping[str, Callable[[Sequence[NDArray[np.floating]]], Any]] = {
    "first": lambda scores: scores[0],
    "average": partial(np.mean, axis=0),
    "max": lambda scores: max(scores, key=np.max),
}


def _call_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call with the defaults of the options that only a call sets."""
    return {"is_split_into_words": False, "delimiter": " "} | without_none(options)


def _with_new_name(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with `aggregation_strategy` in place of the two older options of the reference."""
    old = {name: changes.pop(name) for name in ("grouped_entities", "ignore_subwords") if name in changes}
    if old:
        grouped = "first" if old.get("ignore_subwords") else "simple"
        changes["aggregation_strategy"] = grouped if old.get("grouped_entities") else "none"
        warnings.warn(
            f"{' and '.join(old)} are old; use aggregation_strategy={changes['aggregation_strategy']!r} instead.",
            UserWarning,
            stacklevel=5,
        )
    return changes


def _begins_and_tag(label: str) -> tuple[bool, str]:
    """Return whether a label begins an entity, and the label without its prefix, `B-` or `I-`."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _best_of_overlapping(entities: Sequence[Entity]) -> list[Entity]:
    """Keep the longest of the entities that overlap; of equally long entities, keep the entity with the best score.

    As in the reference, the first entity is also compared with itself: an empty first entity occurs twice in the result.
    """
    ordered = sorted(entities, key=lambda entity: entity["start"])
    best = ordered[:1]
    for entity in ordered:
        if best[-1]["start"] <= entity["start"] < best[-1]["end"]:
            best[-1] = max(best[-1], entity, key=lambda item: (item["end"] - item["start"], item["score"]))
        else:
            best.append(entity)
    return best


def _check_input(text: Any, *, words: bool) -> None:
    if not words and not isinstance(text, list):
        text_input(text)
    elif not words:
        raise InputError(
            f"The input is {shortened(text)}, a list.",
            hint="Give a string; for a list of words, is_split_into_words=True.",
        )
    elif not isinstance(text, list) or not all(isinstance(word, str) for word in text):
        raise InputError(
            f"The input is {shortened(text)}, not a list of words.",
            hint="Give lists of strings, or leave is_split_into_words out.",
        )

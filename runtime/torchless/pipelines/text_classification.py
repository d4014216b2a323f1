"""Text classification: the labels of a text, with their scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.errors import InputError, OptionError, check_whole_number, nearest, shortened
from torchless.numerics import sigmoid, softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import NOT_GIVEN, NotGiven, TokenizerOptions, without_none
from torchless.pipelines.windows import Combine, Windows, read_windows
from torchless.tasks import find_task

__all__ = ["Classification", "TextClassificationOptions", "TextClassificationPipeline", "TextPair"]

FunctionToApply: TypeAlias = Literal["softmax", "sigmoid", "none", "default"]

_FUNCTIONS: Mapping[str, Callable[[NDArray[np.floating]], NDArray[np.floating]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": np.asarray,
}


class Classification(TypedDict):
    """A label with its score; the number of windows, and whether the text was cut, are optional."""

    label: str
    score: float
    windows: NotRequired[int]
    truncated: NotRequired[bool]


class TextPair(TypedDict):
    """Two texts that are classified together."""

    text: str
    text_pair: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextClassificationOptions(TokenizerOptions):
    """The options of `text-classification`.

    Attributes:
        top_k: The number of labels to return, the best first; None returns all. By default only the best is returned.
        return_all_scores: True returns all labels in the model's order; `top_k` takes precedence.
        function_to_apply: The function that turns logits into scores; by default the model's configuration decides.
        windows: Cover the whole of a long text: `mean`, `max` or `Windows` combines the scores of its windows. Each result
            then has the number of `windows`. Not in the reference.
        return_truncated: Add `truncated` to each result: whether the text was cut. Not in the reference.
    """

    top_k: int | NotGiven | None = NOT_GIVEN
    return_all_scores: bool | NotGiven = NOT_GIVEN
    function_to_apply: FunctionToApply | None = None
    windows: Windows | Combine | bool | None = None
    return_truncated: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not NOT_GIVEN:
            check_whole_number("top_k", self.top_k, at_least=1, hint="Give a number of labels, or None for all.")
        function = self.function_to_apply
        if function is not None and str(function).lower() not in {*_FUNCTIONS, "default"}:
            raise OptionError(
                f"function_to_apply={function!r} is not a function.", hint=nearest(function, {*_FUNCTIONS, "default"})
            )
        if read_windows(self.windows) and self.truncation:
            raise OptionError("windows cover the whole text, but truncation cuts it.", hint="Give one of the two.")


class TextClassificationPipeline(Pipeline[TextClassificationOptions]):
    """Labels and scores of texts, or of pairs of texts.

    Source: `TextClassificationPipeline` of transformers 4.57.6, pipelines/text_classification.py.
    """

    task = find_task("text-classification")
    options_class = TextClassificationOptions

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Classify one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings, or pairs as `{"text": …, "text_pair": …}`.
            batch_size: The most rows in a batch.
            options: See `TextClassificationOptions`.

        Returns:
            For a string `[{"label", "score"}]`; for a list one such dict for each text. With `top_k`, a list of dicts for
            each text.

        Raises:
            InputError: An input is neither a string nor a pair, or is longer than the model takes.
            OptionError: There is no such option, or its value is not possible.
        """
        result = super().__call__(inputs, batch_size=batch_size, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def _preprocess(self, text: str | TextPair, options: TextClassificationOptions) -> list[Row]:
        """Turn a text or a pair into its row, or into its windows."""
        sequence = _as_text_or_pair(text)
        windows = read_windows(options.windows)
        if windows is None:
            truncation = options.read_truncation(self.tokenizer)
            return [self.encode(sequence, truncation, add_special_tokens=options.add_special_tokens)]
        cut = windows.truncation(self.tokenizer, self.max_tokens, pair=isinstance(sequence, tuple))
        return self.encode_windows(sequence, cut, add_special_tokens=options.add_special_tokens)

    def _postprocess(
        self,
        text: str | TextPair,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: TextClassificationOptions,
    ) -> Classification | list[Classification]:
        """Turn a text's logits into its labels and scores."""
        function, windows = self._function(options), read_windows(options.windows)
        scores_of_rows = [function(logits) for (logits,) in outputs]  # (labels,) each
        scores = windows.combined(rows, scores_of_rows) if windows else scores_of_rows[0]  # (labels,)
        extras: dict[str, Any] = {"windows": len(rows)} if windows else {}
        if options.return_truncated:
            extras["truncated"] = any(row.cut for row in rows)
        labels = self.model.config.id2label

        def classification(index: int) -> Classification:
            return {"label": labels[index], "score": scores[index].item(), **extras}  # type: ignore[typeddict-item]

        if options.top_k is not NOT_GIVEN:
            return [classification(index) for index in np.argsort(-scores, kind="stable")[: options.top_k].tolist()]
        if options.return_all_scores is True:
            return [classification(index) for index in range(len(scores))]
        return classification(int(scores.argmax()))

    def with_options(self, options: TextClassificationOptions, changes: Mapping[str, Any]) -> TextClassificationOptions:
        """Return options with some of them changed, as the reference merges them.

        A `return_all_scores` of the call replaces an earlier `top_k`, but the labels stay in the order of their scores. A
        `function_to_apply` of None does not change the option.
        """
        changes = without_none(changes, {"function_to_apply"})
        if "top_k" not in changes:
            default = self.model.config.get("return_all_scores")
            if default is not None:
                changes.setdefault("return_all_scores", default)
            if options.top_k is not NOT_GIVEN and "return_all_scores" in changes:
                changes["top_k"] = None if changes["return_all_scores"] else 1
        return super().with_options(options, changes)

    def _function(self, options: TextClassificationOptions) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
        config = self.model.config
        name = str(options.function_to_apply or "default").lower()
        if name != "default":
            return _FUNCTIONS[name]
        if config.get("problem_type") == "regression":
            return _FUNCTIONS["none"]
        if config.get("problem_type") == "multi_label_classification" or config.num_labels == 1:
            return sigmoid
        return softmax


def _as_text_or_pair(text: Any) -> str | tuple[str, str]:
    if isinstance(text, list) and len(text) == 1 and isinstance(text[0], list) and len(text[0]) == 2:
        text = {"text": text[0][0], "text_pair": text[0][1]}
    if isinstance(text, dict):
        if "text" not in text or not text.keys() <= {"text", "text_pair"}:
            raise InputError(
                f"The input is a dict with the keys {sorted(text)}.", hint='Give {"text": …, "text_pair": …}.'
            )
        first, second = text_input(text["text"]), text.get("text_pair")
        return (first, text_input(second)) if second else first
    if isinstance(text, list):
        raise InputError(
            f"The input {shortened(text)} is a list within a list.", hint='Give pairs as {"text": …, "text_pair": …}.'
        )
    return text_input(text)

"""Zero-shot classification: the scores of any labels for a text, by a model of natural language inference."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, NotRequired, TypedDict

import numpy as np

from torchless.batching.rows import Row, RowOutput
from torchless.errors import CheckpointError, InputError, OptionError, shortened
from torchless.models.auto import Model
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import expect_pairs, text_input
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["ZeroShotClassification", "ZeroShotClassificationOptions", "ZeroShotClassificationPipeline"]

_TEMPLATE_HINT = "Put {} where the label goes: 'This example is {}.'"
_MAX_PLACES = 8


class ZeroShotClassification(TypedDict):
    """A text, and the candidate labels with their scores, the best first; `truncated` is optional."""

    sequence: str
    labels: list[str]
    scores: list[float]
    truncated: NotRequired[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotClassificationOptions:
    """The options of `zero-shot-classification`.

    Attributes:
        candidate_labels: The labels to score, as a list or as a string separated by commas.
        hypothesis_template: A sentence in which `{}` is replaced by a label.
        multi_label: Score each label independently; by default the scores of all labels sum to 1.
        return_truncated: Add `truncated` to each result: whether the text was cut. Not in the reference.
    """

    candidate_labels: str | Sequence[str] | None = None
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False
    return_truncated: bool = False

    def __post_init__(self) -> None:
        if self.candidate_labels is not None:
            if not isinstance(self.candidate_labels, str | list | tuple) or not all(
                isinstance(label, str) for label in self.candidate_labels
            ):
                raise OptionError(
                    f"candidate_labels={shortened(self.candidate_labels)} is not possible.",
                    hint="Give a list of strings.",
                )
            if not self.labels:
                raise OptionError("There are no candidate_labels.", hint="Give at least one label.")
        if self.hypothesis("label") == self.hypothesis_template:
            raise OptionError(
                f"hypothesis_template={shortened(self.hypothesis_template)} has no place for a label.",
                hint=_TEMPLATE_HINT,
            )

    def hypothesis(self, label: str) -> str:
        """Return the template with a label.

        As in the reference, `{}` and `{0}` are the label, and `{{` and `}}` are braces. Other fields of `str.format` are
        refused: they could reach into Python's objects, or make a text of any length.

        Raises:
            OptionError: The template cannot be filled.
        """
        try:
            pieces = list(Formatter().parse(self.hypothesis_template))
        except (TypeError, ValueError) as error:
            raise self._template_error(f"{error}.") from error
        places = [piece[1:] for piece in pieces if piece[1] is not None]
        if not (places in ([], [("", "", None)]) or set(places) == {("0", "", None)}) or len(places) > _MAX_PLACES:
            raise self._template_error("only {} can be filled.")
        return "".join(literal if name is None else literal + label for literal, name, _, _ in pieces)

    def _template_error(self, reason: str) -> OptionError:
        template = shortened(self.hypothesis_template)
        return OptionError(f"hypothesis_template={template} cannot be filled: {reason}", hint=_TEMPLATE_HINT)

    @property
    def labels(self) -> list[str]:
        """The candidate labels as a list."""
        if isinstance(self.candidate_labels, str):
            return [label.strip() for label in self.candidate_labels.split(",") if label.strip()]
        return list(self.candidate_labels or ())


class ZeroShotClassificationPipeline(Pipeline[ZeroShotClassificationOptions]):
    """The scores of any labels for texts.

    Source: `ZeroShotClassificationPipeline` of transformers 4.57.6, pipelines/zero_shot_classification.py.
    """

    task = find_task("zero-shot-classification")
    options_class = ZeroShotClassificationOptions
    too_long_hint = "Give a shorter text, label, or hypothesis_template."

    def __init__(self, model: Model, tokenizer: Tokenizer, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        entailing = [index for label, index in model.config.label2id.items() if label.lower().startswith("entail")]
        self._entailment = entailing[0] if entailing else -1
        if self._entailment not in range(-1, model.config.num_labels):
            raise CheckpointError(
                f"label2id in config.json has the number {self._entailment!r} for entailment, and there are "
                f"{model.config.num_labels} labels.",
                hint=f"Correct label2id in {model.folder.path / 'config.json'}, or export the checkpoint again.",
            )
        if not entailing:
            labels = ", ".join(map(str, model.config.id2label.values()))
            warnings.warn(
                f"No label of this model means entailment: {labels}. The last label is used instead.",
                UserWarning,
                stacklevel=3,
            )

    def __call__(
        self,
        inputs: Any,
        candidate_labels: str | Sequence[str] | None = None,
        *,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        """Classify one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings; a text that is too long is cut, but a hypothesis is never cut.
            candidate_labels: See `ZeroShotClassificationOptions`.
            batch_size: The most rows in a batch; a text has a row for each label.
            options: See `ZeroShotClassificationOptions`.

        Returns:
            A `ZeroShotClassification` for each text.

        Raises:
            InputError: An input is not a string, or is empty.
            OptionError: There is no such option, or its value is not possible.
        """
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().__call__(inputs, batch_size=batch_size, **options)

    def _preprocess(self, text: str, options: ZeroShotClassificationOptions) -> list[Row]:
        """Turn a text into a row for each label: the text and the hypothesis of the label."""
        if not text_input(text):
            raise InputError("The text is empty.", hint="Give a text to classify.")
        if not options.labels:
            raise OptionError(
                "There are no candidate_labels.", hint="Give them: candidate_labels=['sports', 'politics']."
            )
        labels = options.labels
        expect_pairs(len(labels), self.tokenizer)
        return [self._row(text, options.hypothesis(label)) for label in labels]

    def _postprocess(
        self, text: str, rows: Sequence[Row], outputs: Sequence[RowOutput], options: ZeroShotClassificationOptions
    ) -> ZeroShotClassification:
        """Turn the logits of a text's labels into their scores."""
        logits = np.stack([logits for (logits,) in outputs])  # (candidates, labels)
        if options.multi_label or len(rows) == 1:
            contradiction = -1 if self._entailment == 0 else 0
            scores = softmax(logits[:, [contradiction, self._entailment]])[:, 1]  # (candidates,)
        else:
            scores = softmax(logits[:, self._entailment])  # (candidates,)
        order, labels = scores.argsort()[::-1].tolist(), options.labels
        result: ZeroShotClassification = {
            "sequence": text,
            "labels": [labels[index] for index in order],
            "scores": scores[order].tolist(),
        }
        if options.return_truncated:
            result["truncated"] = any(row.cut for row in rows)
        return result

    def _row(self, text: str, hypothesis: str) -> Row:
        cut = self.tokenizer.truncation("only_first")
        try:
            return self.encode((text, hypothesis), cut)
        except InputError:  # the hypothesis is too long by itself: as in the reference, nothing is cut
            return self.encode((text, hypothesis), None)

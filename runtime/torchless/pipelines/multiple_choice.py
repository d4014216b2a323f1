"""Multiple choice: which of several choices goes best with a prompt."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypedDict

import numpy as np

from torchless.batching.rows import Row, RowOutput
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import as_records, record, text_pairs
from torchless.pipelines.options import TokenizerOptions
from torchless.tasks import find_task

__all__ = ["Choice", "MultipleChoiceInput", "MultipleChoicePipeline"]


class MultipleChoiceInput(TypedDict):
    """A prompt with its choices."""

    prompt: str
    choices: list[str]


class Choice(TypedDict):
    """A choice, its place among the choices, and its score; the scores of all sum to 1."""

    choice: str
    index: int
    score: float


class MultipleChoicePipeline(Pipeline[TokenizerOptions]):
    """The choices of a prompt, the best first.

    Source: the reference has no such pipeline. The model is `AutoModelForMultipleChoice` of transformers 4.57.6,
        given each choice as the pair of the prompt, as its documentation does.
    """

    task = find_task("multiple-choice")
    options_class = TokenizerOptions

    def __call__(
        self,
        inputs: Any = None,
        *,
        prompt: str | list[str] | None = None,
        choices: list[Any] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        """Score the choices of one prompt, of a list, or of an iterator.

        Args:
            inputs: Dicts `{"prompt": …, "choices": […]}`.
            prompt: Instead of `inputs`: a prompt, or a list of them.
            choices: With `prompt`: its choices, or for a list of prompts a list of lists.
            batch_size: The most rows a batch may have; a prompt has a row a choice.
            options: See `TokenizerOptions`.

        Returns:
            A list of `Choice` a prompt.

        Raises:
            InputError: A prompt or its choices are missing, empty, or not strings.
            OptionError: There is no such option, or its value is not possible.
        """
        records = as_records(inputs, {"prompt": prompt, "choices": choices}, many="prompt")
        return super().__call__(records, batch_size=batch_size, **options)

    def _preprocess(self, text: MultipleChoiceInput, options: TokenizerOptions) -> list[Row]:
        """Turn a prompt into a row a choice."""
        prompt, choices = record(text, "prompt", "choices")
        truncation = options.read_truncation(self.tokenizer)
        pairs = text_pairs(prompt, choices, text_name="prompt", candidate_name="choice")
        return [self.encode(pair, truncation, add_special_tokens=options.add_special_tokens) for pair in pairs]

    def _postprocess(
        self,
        text: MultipleChoiceInput,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: TokenizerOptions,
    ) -> list[Choice]:
        """Turn the logits of the choices into their scores, the best first."""
        scores = softmax(np.concatenate([logits for (logits,) in outputs]))  # (choices,)
        scored: list[Choice] = [
            {"choice": choice, "index": index, "score": scores[index].item()}
            for index, choice in enumerate(text["choices"])
        ]
        return sorted(scored, key=itemgetter("score"), reverse=True)

"""Multiple choice: the scores of several choices for a prompt."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypedDict

import numpy as np

from torchless.batching.rows import Row, RowOutput
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import as_records, expect_pairs, text_pairs
from torchless.pipelines.options import TokenizerOptions
from torchless.tasks import find_task

__all__ = ["Choice", "MultipleChoiceInput", "MultipleChoicePipeline"]


class MultipleChoiceInput(TypedDict):
    """A prompt with its choices."""

    prompt: str
    choices: list[str]


class Choice(TypedDict):
    """A choice, its index among the choices, and its score; the scores of all choices sum to 1."""

    choice: str
    index: int
    score: float


class MultipleChoicePipeline(Pipeline[TokenizerOptions]):
    """The choices of a prompt, the best first.

    Source: the reference has no such pipeline. The model is `AutoModelForMultipleChoice` of transformers 4.57.6; as in
        its documentation, each row is the pair of the prompt and a choice.
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
        """Score the choices of one prompt, a list of prompts, or an iterator over prompts.

        Args:
            inputs: Dicts `{"prompt": …, "choices": […]}`.
            prompt: Instead of `inputs`: a prompt, or a list of prompts.
            choices: With `prompt`: its choices; with a list of prompts, a list of choices for each.
            batch_size: The most rows in a batch; a prompt has a row for each choice.
            options: See `TokenizerOptions`.

        Returns:
            For each prompt a list of `Choice`, the best first.

        Raises:
            InputError: A prompt or its choices are missing, empty, or not strings.
            OptionError: There is no such option, or its value is not possible.
        """
        records = as_records(inputs, {"prompt": prompt, "choices": choices}, many="prompt")
        return super().__call__(records, batch_size=batch_size, **options)

    def _preprocess(self, text: MultipleChoiceInput, options: TokenizerOptions) -> list[Row]:
        """Turn a prompt into a row for each choice."""
        pairs = text_pairs(text, "prompt", "choice")
        truncation = options.read_truncation(self.tokenizer)
        expect_pairs(len(pairs), self.tokenizer)
        return [self.encode(pair, truncation, add_special_tokens=options.add_special_tokens) for pair in pairs]

    def _postprocess(
        self, text: MultipleChoiceInput, rows: Sequence[Row], outputs: Sequence[RowOutput], options: TokenizerOptions
    ) -> list[Choice]:
        """Turn the logits of the choices into their scores, the best first."""
        scores = softmax(np.concatenate([logits for (logits,) in outputs]))  # (choices,)
        scored: list[Choice] = [
            {"choice": choice, "index": index, "score": scores[index].item()}
            for index, choice in enumerate(text["choices"])
        ]
        return sorted(scored, key=itemgetter("score"), reverse=True)

"""Feature extraction: the last hidden state of each token of a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchless.batching.scheduler import Row, RowOutput
from torchless.pipelines.base import Pipeline, text_input
from torchless.pipelines.options import TokenizerOptions

__all__ = ["FeatureExtractionOptions", "FeatureExtractionPipeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureExtractionOptions(TokenizerOptions):
    """The options of `feature-extraction`.

    Attributes:
        return_tensors: True returns a float32 array of (1, tokens, hidden) a text instead of nested lists.
    """

    return_tensors: bool = False


class FeatureExtractionPipeline(Pipeline[FeatureExtractionOptions]):
    """The hidden states of texts, nested as `[1][tokens][hidden]`, without pooling.

    Source: `FeatureExtractionPipeline` of transformers 4.57.6, pipelines/feature_extraction.py.
    """

    options_class = FeatureExtractionOptions

    def preprocess(self, text: str, options: FeatureExtractionOptions | None = None) -> list[Row]:
        """Turn a text into its one row."""
        return [self.encode(text_input(text), options or self.options)]

    def postprocess(
        self,
        text: str,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: FeatureExtractionOptions | None = None,
    ) -> Any:
        """Return a text's hidden states: `[1][tokens][hidden]`."""
        ((hidden,),) = outputs  # (tokens, hidden)
        features = hidden[None]  # (1, tokens, hidden)
        return features if (options or self.options).return_tensors else features.tolist()

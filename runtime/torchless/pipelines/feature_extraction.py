"""Feature extraction: the last hidden state of each token of a text, or one embedding of the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from torchless.errors import OptionError
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import TokenizerOptions, updated
from torchless.pipelines.windows import Combine, Windows, read_windows
from torchless.pooling import Pooling, PoolingMode
from torchless.rows import Row, RowOutput
from torchless.tasks import find_task
from torchless.truncation import Truncation

__all__ = ["FeatureExtractionOptions", "FeatureExtractionPipeline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureExtractionOptions(TokenizerOptions):
    """The options of `feature-extraction`.

    Attributes:
        return_tensors: True or `np` returns NumPy arrays instead of nested lists; with `pooling`, one array a list.
        tokenize_kwargs: The tokenizer's options, as a mapping.
        pooling: One embedding a text instead of one a token: `mean`, `cls`, `max`, `last`, or `auto`, which does as
            the folder's sentence-transformers files say, cutting texts included. Not in the reference.
        normalize: Scale embeddings to length 1; by default only if `auto` says so. Not in the reference.
        windows: Cover a long text whole: `mean`, `max` or `Windows` combines the embeddings of its windows. Not in
            the reference.
    """

    return_tensors: bool | Literal["np"] = False
    tokenize_kwargs: Mapping[str, Any] = field(default_factory=dict)
    pooling: PoolingMode | Literal["auto"] | None = None
    normalize: bool | None = None
    windows: Windows | Combine | bool | None = None

    def __post_init__(self) -> None:
        if self.return_tensors not in {True, False, "np"}:
            raise OptionError(f"return_tensors={self.return_tensors!r} is not possible.", hint="Give 'np' or True.")
        if self.pooling not in {None, "auto"}:
            Pooling(mode=self.pooling)  # type: ignore[arg-type]
        if self.pooling is None and (self.normalize or read_windows(self.windows)):
            name = "normalize" if self.normalize else "windows"
            raise OptionError(f"{name} needs one embedding a text.", hint=f"Add pooling='mean' to {name}.")
        if read_windows(self.windows) and self.truncation:
            raise OptionError("windows cover a text whole, truncation cuts it.", hint="Give one of the two.")


class FeatureExtractionPipeline(Pipeline[FeatureExtractionOptions]):
    """The hidden states of texts, nested as `[1][tokens][hidden]`; or with `pooling`, their embeddings.

    Source: `FeatureExtractionPipeline` of transformers 4.57.6, pipelines/feature_extraction.py; for embeddings
        `SentenceTransformer.encode` of sentence-transformers 5.7.0.
    """

    task = find_task("feature-extraction")
    options_class = FeatureExtractionOptions

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Return the features of one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings.
            batch_size: The most texts a batch may have.
            options: See `FeatureExtractionOptions`.

        Returns:
            A text's `[1][tokens][hidden]`; with `pooling` its `[hidden]`. With `return_tensors` float32 arrays of these
            shapes; with both, a list gives one array of (texts, hidden).

        Raises:
            InputError: An input is no string, or longer than the model takes.
            OptionError: There is no such option, or its value is not possible.
        """
        result = super().__call__(inputs, batch_size=batch_size, **options)
        chosen = self.with_options(self.options, options)
        if isinstance(inputs, list) and inputs and chosen.pooling and chosen.return_tensors:
            return np.stack(result)  # (texts, hidden)
        return result

    def preprocess(self, text: str, options: FeatureExtractionOptions | None = None) -> list[Row]:
        """Turn a text into its one row, or into its windows."""
        options = options or self.options
        text_input(text)
        windows = read_windows(options.windows)
        if windows is None:
            return [self.encode(text, self._truncation(options), add_special_tokens=options.add_special_tokens)]
        cut = windows.truncation(self.tokenizer, self.longest, pair=False)
        return self.encode_windows(text, cut, add_special_tokens=options.add_special_tokens)

    def postprocess(
        self,
        text: str,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: FeatureExtractionOptions | None = None,
    ) -> Any:
        """Return a text's hidden states, `[1][tokens][hidden]`, or its embedding, `[hidden]`."""
        options = options or self.options
        pooling = self._pooling(options)
        if pooling is None:
            ((hidden,),) = outputs  # (tokens, hidden)
            features = hidden[None]  # (1, tokens, hidden)
        else:
            pooled = [pooling.pooled(hidden) for (hidden,) in outputs]  # (hidden,) each
            features = pooling.normalized((read_windows(options.windows) or Windows()).combined(rows, pooled))
        return features if options.return_tensors else features.tolist()

    def with_options(self, options: FeatureExtractionOptions, changes: Mapping[str, Any]) -> FeatureExtractionOptions:
        """Return options with some of them changed; `tokenize_kwargs` are the tokenizer's options by another way."""
        tokenize_kwargs = changes.get("tokenize_kwargs") or {}
        if "truncation" in tokenize_kwargs and "truncation" in changes:
            raise OptionError("truncation is given twice, also in tokenize_kwargs.", hint="Give it once.")
        return updated(options, {**changes, **tokenize_kwargs}, called=type(self).__name__)

    def _pooling(self, options: FeatureExtractionOptions) -> Pooling | None:
        if options.pooling is None:
            return None
        pooling = self._declared_pooling if options.pooling == "auto" else Pooling(mode=options.pooling)
        return pooling if options.normalize is None else replace(pooling, normalize=options.normalize)

    def _truncation(self, options: FeatureExtractionOptions) -> Truncation | None:
        declared = options.pooling == "auto" and options.truncation is None and options.max_length is None
        limits = (self._declared_pooling.max_tokens, self.longest) if declared else ()
        length = min((limit for limit in limits if limit is not None), default=None)
        return options.read_truncation(self.tokenizer) if length is None else Truncation(length)

    @cached_property
    def _declared_pooling(self) -> Pooling:
        return Pooling.read(self.model.checkpoint)

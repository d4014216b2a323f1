"""Feature extraction: the last hidden state of each token of a text, or one embedding of the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.errors import InputError, OptionError
from torchless.models.pooling import HIDDEN_STATES, SENTENCE_EMBEDDING, Pooling, PoolingMode
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import TokenizerOptions, updated
from torchless.pipelines.windows import Combine, Windows, read_windows
from torchless.tasks import find_task
from torchless.tokenization.truncation import Truncation

__all__ = ["FeatureExtractionOptions", "FeatureExtractionPipeline"]

_NONE_IS_NOT_GIVEN = frozenset({"truncation", "tokenize_kwargs", "return_tensors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureExtractionOptions(TokenizerOptions):
    """The options of `feature-extraction`.

    Attributes:
        return_tensors: True or `np` returns NumPy arrays instead of nested lists; with `pooling`, one array a list.
        tokenize_kwargs: The tokenizer's options, as a mapping.
        pooling: One embedding a text instead of one a token: `mean`, `cls`, `max`, `last`, or `auto`, which takes the
            embedding that the graph gives, or else does as the folder's sentence-transformers files say; they cut texts
            too. Not in the reference.
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
        if self.return_tensors not in (True, False, "np"):
            raise OptionError(f"return_tensors={self.return_tensors!r} is not possible.", hint="Give 'np' or True.")
        if self.normalize not in (True, False, None):
            raise OptionError(f"normalize={self.normalize!r} is not possible.", hint="Give True, False or None.")
        if self.pooling not in (None, "auto"):
            Pooling(mode=self.pooling)  # type: ignore[arg-type]
        windows = read_windows(self.windows)
        if self.pooling is None and (self.normalize or windows):
            name = "normalize" if self.normalize else "windows"
            value = self.normalize or self.windows
            raise OptionError(f"{name}={value!r} needs one embedding a text.", hint=f"Add pooling='mean' to {name}.")
        if windows and self.truncation not in (None, False, "do_not_truncate"):
            raise OptionError(
                f"windows cover a text whole, truncation={self.truncation!r} cuts it.", hint="Give one of the two."
            )
        if windows and self.max_length is not None:
            raise OptionError(
                f"max_length={self.max_length} says nothing about windows.",
                hint=f"Give windows=Windows(max_length={self.max_length}, …).",
            )


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
        if not (isinstance(inputs, list) and chosen.pooling and chosen.return_tensors):
            return result
        return np.stack(result) if result else np.empty((0, self.model.config.width), np.float32)  # (texts, hidden)

    def _preprocess(self, text: str, options: FeatureExtractionOptions) -> list[Row]:
        """Turn a text into its one row, or into its windows."""
        text_input(text)
        if options.pooling != "auto" and HIDDEN_STATES not in self.model.outputs:
            raise OptionError(
                f"pooling={options.pooling!r} needs the features of tokens, and the graph gives one embedding a text.",
                hint="Take it: pooling='auto'",
            )
        windows = read_windows(options.windows)
        if windows is None:
            cut = self._truncation(options)
            rows = [self.encode(text, cut, add_special_tokens=options.add_special_tokens)]
        else:
            max_tokens = (
                self._declared_length if options.pooling == "auto" and not windows.max_length else self.max_tokens
            )
            cut = windows.truncation(self.tokenizer, max_tokens, pair=False)
            rows = self.encode_windows(text, cut, add_special_tokens=options.add_special_tokens)
        if options.pooling and not len(rows[0]):
            raise InputError(
                f"The text {text!r} has no tokens to pool.", hint="Give a text, or add_special_tokens=True."
            )
        if not options.pooling and options.padding == "max_length":
            self._pad(rows[0], self.tokenizer.max_tokens if options.max_length is None else options.max_length)
        return rows

    def _postprocess(
        self,
        text: str,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: FeatureExtractionOptions,
    ) -> Any:
        """Return a text's hidden states, `[1][tokens][hidden]`, or its embedding, `[hidden]`."""
        pooling = self._pooling(options)
        if pooling is None:
            (hidden,) = self._arrays(HIDDEN_STATES, outputs)  # (tokens, hidden)
            features = hidden[None]  # (1, tokens, hidden)
        else:
            arrays = self._arrays(SENTENCE_EMBEDDING if pooling.mode is None else HIDDEN_STATES, outputs)
            pooled = [pooling.pooled(array) for array in arrays]  # (hidden,) each
            features = pooling.normalized((read_windows(options.windows) or Windows()).combined(rows, pooled))
        return features if options.return_tensors else features.tolist()

    def with_options(self, options: FeatureExtractionOptions, changes: Mapping[str, Any]) -> FeatureExtractionOptions:
        """Return options with some of them changed; `tokenize_kwargs` are the tokenizer's options by another way.

        As in the reference, None leaves an earlier `truncation`, `tokenize_kwargs` or `return_tensors`.
        """
        given = {name: value for name, value in changes.items() if value is not None or name not in _NONE_IS_NOT_GIVEN}
        tokenize_kwargs = given.pop("tokenize_kwargs", {})
        if not isinstance(tokenize_kwargs, Mapping):
            raise OptionError(
                f"tokenize_kwargs={tokenize_kwargs!r} is no mapping.", hint="Give tokenize_kwargs={'truncation': True}."
            )
        updated(TokenizerOptions(), tokenize_kwargs, called="The tokenizer")
        for name in tokenize_kwargs.keys() & given.keys():
            raise OptionError(f"{name} is given twice, also in tokenize_kwargs.", hint="Give it once.")
        chosen = updated(options, {**given, **tokenize_kwargs}, called=type(self).__name__)
        if chosen.pooling == "auto":
            _ = self._declared_pooling  # a folder that does not say how to pool is an error before there are texts
        return chosen

    def _arrays(self, name: str, outputs: Sequence[RowOutput]) -> list[NDArray[np.float32]]:
        """Return the output of a name of each row."""
        index = list(self.model.outputs).index(name)
        return [output[index] for output in outputs]

    def _pooling(self, options: FeatureExtractionOptions) -> Pooling | None:
        if options.pooling is None:
            return None
        pooling = self._declared_pooling if options.pooling == "auto" else Pooling(mode=options.pooling)
        return pooling if options.normalize is None else replace(pooling, normalize=options.normalize)

    def _truncation(self, options: FeatureExtractionOptions) -> Truncation | None:
        if options.pooling == "auto" and options.max_length is None:
            truncation = True if options.truncation is None else options.truncation
            return self.tokenizer.truncation(truncation, max_length=self._declared_length, side=options.truncation_side)
        return options.read_truncation(self.tokenizer)

    def _pad(self, row: Row, width: int | None) -> None:
        """Pad a row in place: the reference answers padding too, where it is asked for by its length."""
        tokenizer = self.tokenizer
        if tokenizer.pad_token_id is None:
            raise OptionError("padding='max_length' needs a padding token.", hint="Leave padding out.")
        if width is not None:
            self.model.check_length(width, hint=self.too_long_hint)  # before there is as much padding
            row.encoding.pad(
                width,
                direction=tokenizer.padding_side,
                pad_id=tokenizer.pad_token_id,
                pad_type_id=tokenizer.pad_token_type_id,
                pad_token=tokenizer.pad_token,
            )

    @property
    def example_options(self) -> Mapping[str, Any]:
        """The options to try the pipeline with."""
        return self.task.options if HIDDEN_STATES in self.model.outputs else {"pooling": "auto"}

    @property
    def _declared_length(self) -> int | None:
        """What the folder's sentence-transformers files cut a text to, in tokens."""
        declared = self._declared_pooling.max_tokens or self.model.config.get("max_position_embeddings")
        return min((limit for limit in (declared, self.max_tokens) if limit is not None), default=None)

    @cached_property
    def _declared_pooling(self) -> Pooling:
        return Pooling.of(self.model)

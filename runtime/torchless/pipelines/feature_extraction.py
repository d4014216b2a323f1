"""Feature extraction: the hidden states of the tokens of a text, or an embedding of the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, OptionError, shortened
from torchless.models.pooling import HIDDEN_STATES, SENTENCE_EMBEDDING, Pooling, PoolingMode
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import TokenizerOptions, updated, without_none
from torchless.pipelines.windows import Combine, Windows, read_windows
from torchless.tasks import find_task
from torchless.tokenization.padding import pad_encodings
from torchless.tokenization.truncation import Truncation

__all__ = ["FeatureExtractionOptions", "FeatureExtractionPipeline"]

_NONE_IS_NOT_GIVEN = frozenset({"truncation", "tokenize_kwargs", "return_tensors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureExtractionOptions(TokenizerOptions):
    """The options of `feature-extraction`.

    Attributes:
        return_tensors: True or `np` returns NumPy arrays instead of nested lists; with `pooling`, one array for a list.
        tokenize_kwargs: The tokenizer's options as a mapping.
        pooling: Return one embedding for each text: `mean`, `cls`, `max`, `last`, or `auto`. `auto` takes the embedding of
            the graph, or else follows the folder's sentence-transformers files, which also set the length to which texts
            are cut. Not in the reference.
        normalize: Scale embeddings to length 1; by default only if `pooling` is `auto` and the files request it. Not in the
            reference.
        windows: Cover the whole of a long text: `mean`, `max` or `Windows` combines the embeddings of its windows. Not in
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
            raise OptionError(
                f"{name}={value!r} needs one embedding for each text.", hint=f"Add pooling='mean' to {name}."
            )
        if windows and self.truncation not in (None, False, "do_not_truncate"):
            raise OptionError(
                f"windows cover the whole text, but truncation={self.truncation!r} cuts it.",
                hint="Give one of the two.",
            )
        if windows and self.max_length is not None:
            raise OptionError(
                f"max_length={self.max_length} has no effect on windows.",
                hint=f"Give windows=Windows(max_length={self.max_length}, …).",
            )


class FeatureExtractionPipeline(Pipeline[FeatureExtractionOptions]):
    """The hidden states of texts, `[1][tokens][hidden]`; or with `pooling`, the embeddings of texts.

    Source: `FeatureExtractionPipeline` of transformers 4.57.6, pipelines/feature_extraction.py; for embeddings
        `SentenceTransformer.encode` of sentence-transformers 5.7.0.
    """

    task = find_task("feature-extraction")
    options_class = FeatureExtractionOptions

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Return the features of one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings.
            batch_size: The most rows in a batch.
            options: See `FeatureExtractionOptions`.

        Returns:
            For each text nested lists `[1][tokens][hidden]`, or with `pooling` a list `[hidden]`. With `return_tensors`,
            float32 arrays of these shapes. With both, a list of texts gives a single array, (texts, hidden).

        Raises:
            InputError: An input is not a string, or is longer than the model takes.
            OptionError: There is no such option, or its value is not possible.
        """
        result = super().__call__(inputs, batch_size=batch_size, **options)
        chosen = self.with_options(self.options, options)
        if not (isinstance(inputs, list) and chosen.pooling and chosen.return_tensors):
            return result
        return np.stack(result) if result else np.empty((0, self.model.config.width), np.float32)  # (texts, hidden)

    def _preprocess(self, text: str, options: FeatureExtractionOptions) -> list[Row]:
        """Turn a text into its row, or into its windows."""
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
                f"The text {shortened(text)} has no tokens to pool.", hint="Give a text, or add_special_tokens=True."
            )
        pooling = self._pooling(options)
        if pooling is not None and pooling.mode is not None:
            pool = partial(_pooled, pooling, list(self.model.outputs).index(HIDDEN_STATES))
            return [replace(row, reduce=pool) for row in rows]
        if not options.pooling and options.padding == "max_length":
            self._pad(rows[0], self.tokenizer.max_tokens if options.max_length is None else options.max_length)
        return rows

    def _postprocess(
        self, text: str, rows: Sequence[Row], outputs: Sequence[RowOutput], options: FeatureExtractionOptions
    ) -> Any:
        """Return the hidden states of a text, `[1][tokens][hidden]`, or its embedding, `[hidden]`."""
        pooling = self._pooling(options)
        if pooling is None:
            (hidden,) = self._arrays(HIDDEN_STATES, outputs)  # (tokens, hidden)
            features = hidden[None]  # (1, tokens, hidden)
        else:
            name = SENTENCE_EMBEDDING if pooling.mode is None else HIDDEN_STATES
            pooled = self._arrays(name, outputs)  # (hidden,) each
            features = pooling.normalized((read_windows(options.windows) or Windows()).combined(rows, pooled))
        return features if options.return_tensors else features.tolist()

    def _count_values(self, rows: Sequence[Row], options: FeatureExtractionOptions) -> int:
        return (1 if options.pooling else sum(map(len, rows))) * self.model.config.width

    def with_options(self, options: FeatureExtractionOptions, changes: Mapping[str, Any]) -> FeatureExtractionOptions:
        """Return options with some of them changed; `tokenize_kwargs` contains options of the tokenizer.

        As in the reference, None does not change `truncation`, `tokenize_kwargs` and `return_tensors`.
        """
        changes = without_none(changes, _NONE_IS_NOT_GIVEN)
        tokenize_kwargs = changes.pop("tokenize_kwargs", {})
        if not isinstance(tokenize_kwargs, Mapping):
            raise OptionError(
                f"tokenize_kwargs={tokenize_kwargs!r} is not a mapping.",
                hint="Give tokenize_kwargs={'truncation': True}.",
            )
        updated(TokenizerOptions(), tokenize_kwargs, called="The tokenizer")
        for name in tokenize_kwargs.keys() & changes.keys():
            raise OptionError(f"{name} is given twice, also in tokenize_kwargs.", hint="Give it once.")
        chosen = super().with_options(options, {**changes, **tokenize_kwargs})
        if chosen.pooling == "auto":
            _ = self._declared_pooling  # a folder that does not define the pooling raises here, not at the first text
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
        """Pad a row in place: with `padding="max_length"`, the reference also returns the hidden states of padding."""
        if self.tokenizer.pad_token_id is None:
            raise OptionError("padding='max_length' needs a padding token.", hint="Leave padding out.")
        if width is not None:
            tokens = len(row)
            self.model.check_length(width, hint=self.too_long_hint)  # before the padding takes memory
            pad_encodings([row.encoding], width, self.tokenizer, side=self.tokenizer.padding_side)
            CURRENT_LIMITS.get().admit_row(len(row) - tokens)

    @property
    def example_options(self) -> Mapping[str, Any]:
        """The options to try the pipeline with."""
        return self.task.options if HIDDEN_STATES in self.model.outputs else {"pooling": "auto"}

    @property
    def _declared_length(self) -> int | None:
        """The most tokens of a text by the folder's sentence-transformers files."""
        declared = self._declared_pooling.max_tokens or self.model.config.get("max_position_embeddings")
        return min((limit for limit in (declared, self.max_tokens) if limit is not None), default=None)

    @cached_property
    def _declared_pooling(self) -> Pooling:
        return Pooling.of(self.model)


def _pooled(pooling: Pooling, index: int, output: RowOutput) -> RowOutput:
    """Return the outputs of a row with the hidden states, (tokens, hidden), as an embedding, (hidden,)."""
    return (*output[:index], pooling.pooled(output[index]), *output[index + 1 :])

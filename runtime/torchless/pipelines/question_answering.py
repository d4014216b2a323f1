"""Question answering: the span of a context that answers a question."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError, OptionError, check_whole_number, shortened
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import as_records, record, text_input
from torchless.pipelines.options import without_none
from torchless.tasks import find_task
from torchless.tokenization.truncation import Truncation

__all__ = ["Answer", "Question", "QuestionAnsweringOptions", "QuestionAnsweringPipeline"]

_MASKED_LOGIT = np.float32(-10000.0)
_MAX_SCORES = 2**20  # of spans, at once: a window of 1,024 tokens


class Question(TypedDict):
    """A question, and the context that contains the answer."""

    question: str
    context: str


class Answer(TypedDict):
    """A span of the context: its text, its score, and its start and end in characters."""

    score: float
    start: int
    end: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnsweringOptions:
    """The options of `question-answering`.

    Attributes:
        top_k: The number of answers to return, the best first.
        doc_stride: The number of tokens that neighbouring windows of a long context share; by default 128, but at most half
            a window.
        max_answer_len: The most tokens of an answer.
        max_seq_len: The number of tokens of a window, with the question and special tokens; by default the model's limit,
            but at most 384.
        max_question_len: It has no effect, as in the reference with fast tokenizers.
        handle_impossible_answer: Include the empty answer among the answers.
        align_to_words: Extend answers to whole words.
        padding: It does not change the result, since rows are padded only within a batch.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    padding: bool | str = False

    def __post_init__(self) -> None:
        for name in ("top_k", "max_answer_len", "max_seq_len", "max_question_len"):
            check_whole_number(name, getattr(self, name), at_least=1, hint="Give a whole number above 0.")
        check_whole_number("doc_stride", self.doc_stride, at_least=0, hint="Give a number of tokens.")


class QuestionAnsweringPipeline(Pipeline[QuestionAnsweringOptions]):
    """The answers to questions, as spans of their contexts.

    Source: `QuestionAnsweringPipeline` of transformers 4.57.6, pipelines/question_answering.py.
    """

    task = find_task("question-answering")
    options_class = QuestionAnsweringOptions
    too_long_hint = "Give a max_seq_len of {limit} or less."

    def __call__(
        self,
        *inputs: Any,
        question: str | list[str] | None = None,
        context: str | list[str] | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        """Answer one question, a list of questions, or an iterator over questions.

        Args:
            inputs: Dicts `{"question": …, "context": …}`; or one dict of lists; or two strings, a question and its
                context.
            question: Instead of `inputs`: a question, or a list of questions.
            context: With `question`: its context; with a list of questions, one context for all, or a list of contexts.
            batch_size: The most rows in a batch; a long context has several rows.
            options: See `QuestionAnsweringOptions`.

        Returns:
            For each question an `Answer`, or a list if there are several answers. For a list of one question, only its
            result.

        Raises:
            InputError: A question or a context is missing, empty, or not a string.
            OptionError: There is no such option, or its value is not possible.
        """
        if len(inputs) == 2 and all(isinstance(text, str) for text in inputs):
            question, context = inputs
            inputs = ()
        records = as_records(
            inputs[0] if len(inputs) == 1 else list(inputs) or None,
            {"question": question, "context": context},
            many="question",
        )
        if isinstance(records, tuple):
            records = list(records)
        if isinstance(records, list) and len(records) == 1:
            records = records[0]
        if isinstance(records, Mapping) and isinstance(records.get("question"), list):
            columns = {name: records.get(name) for name in ("question", "context")}
            records = as_records(None, columns, many="question")
        return super().__call__(records, batch_size=batch_size, **options)

    def _preprocess(self, text: Question, options: QuestionAnsweringOptions) -> list[Row]:
        """Turn a question into a row for each window of its context."""
        question, context = record(text, "question", "context")
        pair = text_input(question, "The question"), text_input(context, "The context")
        windows = self._windows(options)
        try:
            rows = self.encode_windows(pair if self._question_first else pair[::-1], windows)
        except (InputError, OptionError) as error:
            if self._fits(question, windows):
                raise
            raise type(error)(
                f"Windows of {windows.max_length} tokens that share {windows.stride} tokens do not fit the question "
                f"{shortened(question)}: {error.problem}",
                hint="Shorten the question, or give a smaller doc_stride or a larger max_seq_len.",
            ) from error
        limit, max_tokens = self.model.max_tokens, max(map(len, rows))
        if limit is not None and max_tokens > limit:
            raise OptionError(
                f"max_seq_len={options.max_seq_len} makes a window of {max_tokens} tokens, and this model takes {limit}.",
                hint=f"Give max_seq_len={limit} or less.",
            )
        return rows

    def _postprocess(
        self, text: Question, rows: Sequence[Row], outputs: Sequence[RowOutput], options: QuestionAnsweringOptions
    ) -> Answer | list[Answer]:
        """Turn the logits of a context's windows into its answers."""
        answers: dict[str, Answer] = {}
        null_scores = []
        limits = CURRENT_LIMITS.get()
        for row, (start_logits, end_logits) in zip(rows, outputs, strict=True):
            limits.check()
            candidate = self._candidates(row)  # (tokens,)
            positions = self._positions(row, align_to_words=options.align_to_words)
            start = softmax(np.where(candidate, start_logits, _MASKED_LOGIT))  # (tokens,)
            end = softmax(np.where(candidate, end_logits, _MASKED_LOGIT))  # (tokens,)
            null_scores.append((start[0] * end[0]).item())
            start[0] = end[0] = 0.0
            candidate[0] = candidate.any()  # as in the reference, the first token is a candidate if there is any
            for first, last, score in _best_spans(start, end, candidate, options):
                limits.check()
                begin, stop = positions.span(first, last)
                answer = text["context"][begin:stop]
                first_answer: Answer = {"score": 0.0, "start": begin, "end": stop, "answer": answer}
                answers.setdefault(answer.lower(), first_answer)["score"] += score
        candidates = list(answers.values())
        if options.handle_impossible_answer:
            candidates.append({"score": min(null_scores), "start": 0, "end": 0, "answer": ""})
        best = sorted(candidates, key=lambda answer: -answer["score"])[: options.top_k]
        return best[0] if len(best) == 1 else best

    def _count_values(self, rows: Sequence[Row], options: QuestionAnsweringOptions) -> int:
        return sum(min(_spans(options), len(row) ** 2) for row in rows)

    def with_options(self, options: QuestionAnsweringOptions, changes: Mapping[str, Any]) -> QuestionAnsweringOptions:
        """Return options with some of them changed; None does not change an option, and `topk` is an old name of `top_k`."""
        changes = without_none(changes)
        if "topk" in changes:
            warnings.warn("topk is an old name; give top_k instead.", UserWarning, stacklevel=4)
            changes.setdefault("top_k", changes.pop("topk"))
        return super().with_options(options, changes)

    def _fits(self, question: str, windows: Truncation) -> bool:
        """Return whether a question alone leaves room for its context in a window, or cannot be encoded at all."""
        try:
            (encoding,) = self.tokenizer.encode_batch([question], add_special_tokens=False)
        except InputError:
            return True
        room = windows.max_length - self.tokenizer.num_special_tokens(pair=True) - len(encoding)
        return room > windows.stride

    @property
    def _question_first(self) -> bool:
        return self.tokenizer.padding_side == "right"

    def _windows(self, options: QuestionAnsweringOptions) -> Truncation:
        length = options.max_seq_len or min(self.max_tokens or 384, 384)
        stride = min(length // 2, 128) if options.doc_stride is None else options.doc_stride
        if stride > length:
            raise OptionError(
                f"doc_stride={stride} is larger than the window of {length} tokens.",
                hint=f"Give a doc_stride below {length}, or a larger max_seq_len.",
            )
        return Truncation(length, "only_second" if self._question_first else "only_first", stride)

    def _candidates(self, row: Row) -> NDArray[np.bool_]:
        """Return which tokens of a row can be in an answer: tokens of the context, and the token of the empty answer.

        If the context comes first, all tokens are candidates, as in the reference.
        """
        if not self._question_first:
            return np.ones(len(row), dtype=np.bool_)
        is_context = np.array([sequence == 1 for sequence in row.encoding.sequence_ids])
        return np.asarray(is_context | (np.array(row.encoding.ids) == self.tokenizer.cls_token_id))

    def _positions(self, row: Row, *, align_to_words: bool) -> "_Positions":
        """Return the positions of a row's tokens in the context."""
        if self._question_first:
            return _Positions(row, context=1, shift=0, align_to_words=align_to_words)
        # As in the reference, padding tokens that the context contains are counted too.
        padding = row.encoding.ids.count(self.tokenizer.pad_token_id)
        return _Positions(row, context=0, shift=padding, align_to_words=align_to_words)


class _Positions:
    """The positions of a row's tokens in the context, in characters.

    Args:
        row: The row.
        context: The index of the context in the row: 1 after a question, else 0.
        shift: Subtracted from the index of a token.
        align_to_words: Extend spans to whole words.
    """

    def __init__(self, row: Row, *, context: int, shift: int, align_to_words: bool) -> None:
        self._encoding = row.encoding
        self._offsets = row.encoding.offsets
        self._context = context
        self._shift = shift
        self._align_to_words = align_to_words
        self._words: dict[int, tuple[int, int] | None] = {}

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the begin and end of a span of tokens."""
        first, last = first - self._shift, last - self._shift
        if self._align_to_words and min(first, last) >= 0:
            words = self._word(first), self._word(last)
            if words[0] is not None and words[1] is not None:
                return words[0][0], words[1][1]
        return self._offsets[first][0], self._offsets[last][1]

    def _word(self, token: int) -> tuple[int, int] | None:
        """Return the begin and end of the word of a token, or None if it is in no word."""
        if token not in self._words:
            word = self._encoding.token_to_word(token)
            self._words[token] = None if word is None else self._encoding.word_to_chars(word, self._context)
        return self._words[token]


def _spans(options: QuestionAnsweringOptions) -> int:
    """Return the number of spans of a window that are looked at. Aligned to words, several spans can become one answer."""
    return 2 * options.top_k + 10 if options.align_to_words else options.top_k


def _best_spans(
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    candidate: NDArray[np.bool_],
    options: QuestionAnsweringOptions,
) -> Iterator[tuple[int, int, float]]:
    """Yield the likeliest spans of tokens: first, last, score."""
    count, tokens = _spans(options), len(start)
    length = min(options.max_answer_len, tokens)
    # The scores of a long row do not fit into memory all at once: they come in blocks of first tokens.
    rows = max(1, _MAX_SCORES // tokens) if tokens**2 > _MAX_SCORES else tokens
    best: list[tuple[float, int, int]] = []
    for begin in range(0, tokens, rows):
        scores = np.outer(start[begin : begin + rows], end)  # (first, last)
        scores = np.tril(np.triu(scores, begin), begin + length - 1)
        flat = scores.ravel()
        order = _likeliest(flat, count)
        firsts, lasts = np.unravel_index(order, scores.shape)
        best.extend(zip(flat[order].tolist(), (firsts + begin).tolist(), lasts.tolist(), strict=True))
    if rows < tokens:
        best = sorted(best, key=lambda span: -span[0])[:count]
    for score, first, last in best:
        if candidate[first] and candidate[last]:
            yield first, last, score


def _likeliest(scores: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Return the indices of the highest scores, the highest first: (spans,) to at most (count,)."""
    if count == 1:
        return np.array([scores.argmax()])
    if len(scores) <= count:
        return np.argsort(-scores)
    # As in the reference: the order of equal scores decides which spans remain.
    unsorted = np.argpartition(-scores, count)[:count]
    return unsorted[np.argsort(-scores[unsorted])]

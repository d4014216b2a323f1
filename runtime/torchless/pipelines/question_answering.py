"""Question answering: the span of a context that answers a question."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.errors import InputError, OptionError, check_whole_number, shortened
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import as_records, record, text_input
from torchless.pipelines.options import without_none
from torchless.tasks import find_task
from torchless.tokenization.truncation import Truncation

__all__ = ["Answer", "Question", "QuestionAnsweringOptions", "QuestionAnsweringPipeline"]

_MASKED_LOGIT = np.float32(-10000.0)


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
        for row, (start_logits, end_logits) in zip(rows, outputs, strict=True):
            candidate = self._candidates(row)  # (tokens,)
            start = softmax(np.where(candidate, start_logits, _MASKED_LOGIT))  # (tokens,)
            end = softmax(np.where(candidate, end_logits, _MASKED_LOGIT))  # (tokens,)
            null_scores.append((start[0] * end[0]).item())
            start[0] = end[0] = 0.0
            candidate[0] = candidate.any()  # as in the reference, the first token is a candidate if there is any
            for first, last, score in _best_spans(start, end, candidate, options):
                begin, stop = self._characters(row, first, last, align_to_words=options.align_to_words)
                answer = text["context"][begin:stop]
                first_answer: Answer = {"score": 0.0, "start": begin, "end": stop, "answer": answer}
                answers.setdefault(answer.lower(), first_answer)["score"] += score
        candidates = list(answers.values())
        if options.handle_impossible_answer:
            candidates.append({"score": min(null_scores), "start": 0, "end": 0, "answer": ""})
        best = sorted(candidates, key=lambda answer: -answer["score"])[: options.top_k]
        return best[0] if len(best) == 1 else best

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

    def _characters(self, row: Row, first: int, last: int, *, align_to_words: bool) -> tuple[int, int]:
        """Return the begin and end of a span of tokens in the context, in characters."""
        encoding = row.encoding
        if not self._question_first:  # as in the reference, padding tokens that the context contains are counted too
            padding = encoding.ids.count(self.tokenizer.pad_token_id)
            first, last = first - padding, last - padding
        if align_to_words and min(first, last) >= 0:
            words = (encoding.token_to_word(first), encoding.token_to_word(last))
            if None not in words:
                context_index = 1 if self._question_first else 0
                spans = [encoding.word_to_chars(word, context_index) for word in words]
                if None not in spans:
                    return spans[0][0], spans[1][1]
        return encoding.offsets[first][0], encoding.offsets[last][1]


def _best_spans(
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    candidate: NDArray[np.bool_],
    options: QuestionAnsweringOptions,
) -> Iterator[tuple[int, int, float]]:
    """Yield the likeliest spans of tokens: first, last, score. Aligned to words, several spans can become one answer."""
    count = 2 * options.top_k + 10 if options.align_to_words else options.top_k
    scores = np.tril(np.triu(np.outer(start, end)), min(options.max_answer_len, len(start)) - 1)  # (first, last)
    flat = scores.ravel()
    if count == 1:
        best = np.array([flat.argmax()])
    elif len(flat) <= count:
        best = np.argsort(-flat)
    else:  # as in the reference: the order of equal scores decides which spans remain
        unsorted = np.argpartition(-flat, count)[:count]
        best = unsorted[np.argsort(-flat[unsorted])]
    for first, last in zip(*np.unravel_index(best, scores.shape), strict=True):
        if candidate[first] and candidate[last]:
            yield int(first), int(last), scores[first, last].item()

"""Question answering: the span of a context that answers a question."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.errors import InputError, OptionError, check_whole_number
from torchless.numerics import softmax
from torchless.pipelines.base import Pipeline
from torchless.pipelines.inputs import as_records, record, text_input
from torchless.pipelines.options import updated
from torchless.tasks import find_task
from torchless.tokenization.truncation import Truncation

__all__ = ["Answer", "Question", "QuestionAnsweringOptions", "QuestionAnsweringPipeline"]

_MASKED_LOGIT = np.float32(-10000.0)


class Question(TypedDict):
    """A question, and the context that its answer is looked for in."""

    question: str
    context: str


class Answer(TypedDict):
    """A span of the context, in characters, with its text and score."""

    score: float
    start: int
    end: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnsweringOptions:
    """The options of `question-answering`.

    Attributes:
        top_k: How many answers to return, the best first.
        doc_stride: How many tokens neighbouring windows of a long context share; by default 128, or half a window.
        max_answer_len: The longest answer, in tokens.
        max_seq_len: A window's tokens, question and special ones included; by default what the model takes, at most 384.
        max_question_len: Without effect, as in the reference with fast tokenizers.
        handle_impossible_answer: The empty answer may be the best.
        align_to_words: Answers begin and end with words.
        padding: Without effect on an answer: rows are padded only within their batch.
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
            inputs: Dicts `{"question": …, "context": …}`, or one such dict of lists; or a question and its context, as
                two strings.
            question: Instead of `inputs`: a question, or a list of them.
            context: With `question`: its context, or one context for all questions, or a list of as many.
            batch_size: The most rows a batch may have; a long context has several.
            options: See `QuestionAnsweringOptions`.

        Returns:
            An `Answer` a question, or a list of them if there are several; for a list of one question its own.

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
        """Turn a question into a row a window of its context."""
        question, context = record(text, "question", "context")
        pair = text_input(question, "The question"), text_input(context, "The context")
        windows = self._windows(options)
        try:
            rows = self.encode_windows(pair if self._question_first else pair[::-1], windows)
        except (InputError, OptionError) as error:
            raise type(error)(
                f"Windows of {windows.max_length} tokens that share {windows.stride} do not fit the question "
                f"{question!r}: {error.problem}",
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
        self,
        text: Question,
        rows: Sequence[Row],
        outputs: Sequence[RowOutput],
        options: QuestionAnsweringOptions,
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
            candidate[0] = candidate.any()  # the reference takes the first token for a candidate if there is any
            for first, last, score in _best_spans(start, end, candidate, options):
                begin, stop = self._characters(row, first, last, align_to_words=options.align_to_words)
                answer = text["context"][begin:stop]
                found = answers.get(answer.lower())
                if found is None:
                    answers[answer.lower()] = {"score": score, "start": begin, "end": stop, "answer": answer}
                else:
                    found["score"] += score
        candidates = list(answers.values())
        if options.handle_impossible_answer:
            candidates.append({"score": min(null_scores), "start": 0, "end": 0, "answer": ""})
        best = sorted(candidates, key=lambda answer: -answer["score"])[: options.top_k]
        return best[0] if len(best) == 1 else best

    def with_options(self, options: QuestionAnsweringOptions, changes: Mapping[str, Any]) -> QuestionAnsweringOptions:
        """Return options with some of them changed; None leaves one as it was, and `topk` is an old name of `top_k`."""
        changes = {name: value for name, value in changes.items() if value is not None}
        if "topk" in changes:
            warnings.warn("topk is an old name; the new one is top_k.", UserWarning, stacklevel=4)
            changes.setdefault("top_k", changes.pop("topk"))
        return updated(options, changes, called=type(self).__name__)

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
        """Return which of a row's tokens may be in an answer: the context's, and those that mean that there is none.

        With the context first, the reference takes every token for a candidate.
        """
        if not self._question_first:
            return np.ones(len(row), dtype=np.bool_)
        is_context = np.array([sequence == 1 for sequence in row.encoding.sequence_ids])
        return np.asarray(is_context | (np.array(row.encoding.ids) == self.tokenizer.cls_token_id))

    def _characters(self, row: Row, first: int, last: int, *, align_to_words: bool) -> tuple[int, int]:
        """Return where in the context a span of tokens begins and ends."""
        encoding = row.encoding
        if not self._question_first:  # the reference counts padding by its id, so a context that spells it out too
            padding = encoding.ids.count(self.tokenizer.pad_token_id)
            first, last = first - padding, last - padding
        if align_to_words and min(first, last) >= 0:
            words = (encoding.token_to_word(first), encoding.token_to_word(last))
            if None not in words:
                of_context = 1 if self._question_first else 0
                spans = [encoding.word_to_chars(word, of_context) for word in words]
                if None not in spans:
                    return spans[0][0], spans[1][1]
        return encoding.offsets[first][0], encoding.offsets[last][1]


def _best_spans(
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    candidate: NDArray[np.bool_],
    options: QuestionAnsweringOptions,
) -> Iterator[tuple[int, int, float]]:
    """Yield the likeliest spans of tokens: first, last, score. Some may be lost when they are aligned to words."""
    count = 2 * options.top_k + 10 if options.align_to_words else options.top_k
    scores = np.tril(np.triu(np.outer(start, end)), min(options.max_answer_len, len(start)) - 1)  # (first, last)
    flat = scores.ravel()
    if count == 1:
        best = np.array([flat.argmax()])
    elif len(flat) < count:
        best = np.argsort(-flat)
    else:
        unsorted = np.argpartition(-flat, count)[:count] if count < len(flat) else np.arange(len(flat))
        best = unsorted[np.argsort(-flat[unsorted])]
    for first, last in zip(*np.unravel_index(best, scores.shape), strict=True):
        if candidate[first] and candidate[last]:
            yield int(first), int(last), scores[first, last].item()

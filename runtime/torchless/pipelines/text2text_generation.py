"""Text to text: the texts that an encoder-decoder generates from a text, with summaries and translations."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeAlias

from torchless.batching.rows import Prompt, Row, RowOutput
from torchless.errors import OptionError, nearest
from torchless.models.generative import GenerativeModel
from torchless.pipelines.generation import GenerationOptions, GenerationPipeline
from torchless.pipelines.inputs import text_input
from torchless.pipelines.options import without_none
from torchless.tasks import find_task
from torchless.tokenization.languages import LanguageFrame
from torchless.tokenization.tokenizer import Encoding, Tokenizer

__all__ = [
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "Text2TextOptions",
    "TranslationOptions",
    "TranslationPipeline",
]

# The keys are `{result_name}_text` or `{result_name}_token_ids`, and those of `Details`.
Answer: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text2TextOptions(GenerationOptions):
    """The options of `text2text-generation` and `summarization`, in addition to those of `GenerationConfig`.

    Attributes:
        return_tensors: Return token ids, not text.
        return_text: Accepted as in the reference; it has no effect.
    """

    return_tensors: bool = False
    return_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslationOptions(Text2TextOptions):
    """The options of `translation`, in addition to those of `GenerationConfig`.

    Attributes:
        src_lang: The language of the text, as a language code of the model, for models of many languages.
        tgt_lang: The language of the translation.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None


class Text2TextGenerationPipeline(GenerationPipeline[Text2TextOptions]):
    """The texts that a model generates from texts.

    Source: `Text2TextGenerationPipeline` of transformers 4.57.6, pipelines/text2text_generation.py.
    """

    task = find_task("text2text-generation")
    options_class: ClassVar[type[Any]] = Text2TextOptions
    result_name: ClassVar[str] = "generated"

    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """Generate texts from one text, a list of texts, or an iterator over texts.

        Args:
            inputs: Strings.
            batch_size: The most texts in a batch.
            options: See `options_class` and `GenerationConfig`.

        Returns:
            For each text a list of `num_return_sequences` dicts: `{"generated_text": …}`, `{"summary_text": …}` or
            `{"translation_text": …}`. For a list of texts with a single dict each, the list of the dicts.

        Raises:
            InputError: An input is not a string, or is longer than the model takes.
            OptionError: There is no such option, or its value is not possible.
        """
        results = super().__call__(inputs, batch_size=batch_size, **options)
        if isinstance(inputs, list) and all(len(result) == 1 for result in results):
            return [result[0] for result in results]
        return results

    def _preprocess(self, text: str, options: Text2TextOptions) -> list[Prompt]:
        """Turn a text into its prompt."""
        row = self.encode(self.prefix + text_input(text), self.tokenizer.truncation(options.truncation))
        return [Prompt(row.encoding, cut=row.cut, config=self.generation_config.updated(**options.generation))]

    def _postprocess(
        self, text: str, rows: Sequence[Row], outputs: Sequence[RowOutput], options: Text2TextOptions
    ) -> list[Answer]:
        """Turn a text's sequences into its answers."""
        (row,), (sequences,) = rows, outputs
        answers: list[Answer]
        if options.return_tensors:
            answers = [{f"{self.result_name}_token_ids": sequence.tolist()} for sequence in sequences]
        else:
            decoding = self._decoding_options(options)
            texts = [self.tokenizer.decode(sequence.tolist(), **decoding) for sequence in sequences]
            answers = [{f"{self.result_name}_text": text} for text in texts]
        return self._with_details(answers, row, sequences, options, generated_from=1)

    def _read_changes(self, options: Text2TextOptions, changes: Mapping[str, Any]) -> dict[str, Any]:
        changes = without_none(changes, {*(option.name for option in fields(options)), "stop_sequence"})
        if "stop_sequence" in changes:
            first, *further = self._stop_token_ids(changes.pop("stop_sequence"))
            changes["eos_token_id"] = first
            if further:
                warnings.warn(
                    "The stop_sequence has several tokens, and only the first token stops. To stop at the whole text, use "
                    "stop_strings=.",
                    UserWarning,
                    stacklevel=5,
                )
        return changes

    def _decoding_options(self, options: Text2TextOptions) -> dict[str, bool]:
        return {"skip_special_tokens": True, "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces}


class SummarizationPipeline(Text2TextGenerationPipeline):
    """Summaries of texts.

    Source: `SummarizationPipeline` of transformers 4.57.6, pipelines/text2text_generation.py.
    """

    task = find_task("summarization")
    result_name = "summary"


class TranslationPipeline(Text2TextGenerationPipeline):
    """Translations of texts. The languages come from `src_lang` and `tgt_lang`, from the task's name, or from the model.

    Source: `TranslationPipeline` of transformers 4.57.6, pipelines/text2text_generation.py.
    """

    task = find_task("translation")
    options_class = TranslationOptions
    result_name = "translation"

    def __init__(
        self, model: GenerativeModel, tokenizer: Tokenizer, *, task_name: str | None = None, **options: Any
    ) -> None:
        if task_name in {None, "translation"}:
            task_name = _first_translation(model)
        super().__init__(model, tokenizer, task_name=task_name, **options)

    def _preprocess(self, text: str, options: Text2TextOptions) -> list[Prompt]:
        """Turn a text into its prompt, with the tokens of the languages if the model has many languages."""
        frame, languages = self.tokenizer.language_frame, self._languages(options)
        if frame is None or (languages == (None, None) and not frame.required):
            return super()._preprocess(text, options)
        source, target = self._language_tokens(frame, *languages)
        truncation = self.tokenizer.truncation(options.truncation)
        shorter = truncation and replace(truncation, max_length=truncation.max_length - len(frame.tokens))
        tokens = [source if role == "language" else self.tokenizer.eos_token for role in frame.tokens]
        row = self.encode(text_input(text), shorter, add_special_tokens=False)
        encoded_tokens = self.tokenizer.encode_batch(tokens, add_special_tokens=False)
        before, after = encoded_tokens[: frame.before], encoded_tokens[frame.before :]
        encoding = Encoding.merge([*before, row.encoding, *after], growing_offsets=False)
        first = self.tokenizer.token_id(target)
        config = self.generation_config.updated(**{**options.generation, "forced_bos_token_id": first})
        return [Prompt(encoding, cut=row.cut, config=config)]

    def _languages(self, options: Text2TextOptions) -> tuple[str | None, str | None]:
        source, target = (getattr(options, name) for name in ("src_lang", "tgt_lang"))
        named = self.task_name.split("_")
        if source is None and target is None and len(named) == 4:  # translation_xx_to_yy
            return named[1], named[3]
        return source, target

    def _language_tokens(self, frame: LanguageFrame, *languages: str | None) -> list[str]:
        """Return the tokens of the languages of a text and of its translation."""
        tokenizer = self.tokenizer
        special = set(tokenizer.convert_ids_to_tokens(sorted(tokenizer.skipped_ids)))
        roles = {token for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
        known = frame.codes(special - roles)
        if None in languages:
            raise OptionError(
                f"src_lang={languages[0]!r} and tgt_lang={languages[1]!r} do not name both languages, and this model has many.",
                hint=f"Give both as language codes of the model. {nearest(frame.default, known)}",
            )
        tokens = {language: frame.token(language) for language in languages if language is not None}
        for language, token in tokens.items():
            if token not in special - roles or not frame.codes([token]):
                raise OptionError(f"This model has no language {language!r}.", hint=nearest(language, known))
        return [tokens[language] for language in languages if language is not None]


def _first_translation(model: GenerativeModel) -> str:
    """Return the first translation task in the model's configuration."""
    names: list[str] = [
        name for name in model.config.get("task_specific_params") or {} if name.startswith("translation")
    ]
    if not names:
        return "translation"
    warnings.warn(
        f"The pipeline uses the languages of {names[0]}, the first translation in the model's configuration. Name the "
        f'languages in the task: pipeline("{names[0]}", …)',
        UserWarning,
        stacklevel=4,
    )
    return names[0]

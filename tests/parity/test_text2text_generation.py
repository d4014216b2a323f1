import pytest
import transformers
from fixtures.checkpoints import unigram
from fixtures.comparison import assert_same
from parity.contracts.text2text_generation import FAMILIES, SHORT, TEXTS
from tokenizers import AddedToken

from torchless.errors import OptionError
from torchless.folder.model_folder import ModelFolder
from torchless.generation.config import GenerationConfig
from torchless.pipelines.text2text_generation import TranslationPipeline
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Tokenizer

GRAPH = "text2text-generation"


@pytest.fixture(scope="module")
def both(both_on):
    """Both pipelines of a family, by task and configuration."""
    return lambda family="t5", task=GRAPH, **settings: both_on(family, task, **settings)


@pytest.mark.parametrize("family", ["bart", "t5"])
@pytest.mark.parametrize(
    "options",
    [
        {"return_tensors": False},
        {"return_text": True},
        {"clean_up_tokenization_spaces": True},
        {"truncation": True},
        {"num_beams": 1},
        {"num_return_sequences": 3},
        {"min_length": 6, "max_length": 9, "max_new_tokens": None},
        {"no_repeat_ngram_size": 2, "encoder_no_repeat_ngram_size": 2},
        {"length_penalty": 0.5, "early_stopping": "never"},
    ],
    ids=str,
)
def test_options(both, family, options):
    both(family).assert_same(TEXTS, **SHORT | options)


@pytest.mark.parametrize("options", [{}, {"num_return_sequences": 2}], ids=str)
def test_token_ids_are_lists(both, options):
    pipes = both("bart")
    for text in TEXTS:
        expected, got = (pipe(text, return_tensors=True, **SHORT, **options) for pipe in (pipes.reference, pipes.ours))
        assert_same([{name: ids.tolist() for name, ids in result.items()} for result in expected], got)


@pytest.mark.parametrize(("task", "key"), [("summarization", "summary"), ("translation", "translation")])
def test_summarization_and_translation(both, task, key):
    pipes = both("t5", task)
    pipes.assert_same(TEXTS, **SHORT)
    assert list(pipes.ours(TEXTS[0], **SHORT)[0]) == [f"{key}_text"]
    assert list(pipes.ours(TEXTS[0], **SHORT, return_tensors=True)[0]) == [f"{key}_token_ids"]


PARAMS = {
    "summarization": {
        "prefix": "summarize: ",
        "num_beams": 2,
        "max_length": 12,
        "min_length": 3,
        "early_stopping": True,
    },
    "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 10, "num_beams": 3},
    "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 11, "num_beams": 1},
}


@pytest.mark.parametrize("task", ["summarization", "translation_en_to_de", "translation_en_to_fr", GRAPH])
@pytest.mark.parametrize("built", [{}, {"num_beams": 4, "max_new_tokens": 7}], ids=str)
def test_task_specific_params(both_configured, task, built):
    values = {"config": {"task_specific_params": PARAMS}, "generation_config": {"max_length": 15}}
    pipes = both_configured("t5", task, **values, **built)
    pipes.assert_same(TEXTS)
    pipes.assert_same(TEXTS[0], num_beams=2, max_new_tokens=5)


@pytest.mark.filterwarnings("ignore:.translation. task was used:UserWarning")
def test_a_translation_without_languages_takes_the_first_of_the_model(both_configured):
    values = {"config": {"task_specific_params": PARAMS}, "generation_config": {"max_length": 15}}
    with pytest.warns(UserWarning, match="uses the languages of translation_en_to_de"):
        pipes = both_configured("t5", "translation", **values)
    pipes.assert_same(TEXTS)


def test_a_stop_sequence(both):
    pipes = both("t5")
    pipes.assert_same(TEXTS, **SHORT, stop_sequence="s")
    with pytest.warns(UserWarning, match="several tokens"):
        pipes.ours(TEXTS[0], **SHORT, stop_sequence="quiet power")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_is_the_text(both, family):
    ours = both(family).ours
    for text in TEXTS:
        (answer,) = ours(text, num_beams=1, max_new_tokens=20)
        assert "".join(ours.stream(text, num_beams=1, max_new_tokens=20)) == answer["generated_text"]


def test_details_of_an_answer(both):
    ours = both("t5").ours
    options = {"num_beams": 1, "max_new_tokens": 20, "return_details": True}
    (answer,) = ours("It is", **options)
    *pieces, last = ours.stream("It is", **options)
    names = ("finish_reason", "generated_tokens", "prompt_tokens")
    assert [answer[name] for name in names] == [last[name] for name in names]
    assert last["generated_tokens"] == len(pieces)
    assert last["prompt_tokens"] == len(ours.tokenizer.encode("It is"))


def test_beams_cannot_be_streamed(both):
    with pytest.raises(OptionError, match=r"num_beams=4 cannot be streamed[\s\S]*num_beams=1"):
        both("t5").ours.stream("It is")


def multilingual(kind):
    codes = {"mbart": ["en_XX", "de_DE"], "mbart50": ["en_XX", "de_DE"], "nllb": ["eng_Latn", "deu_Latn"]}[kind]
    maker = {
        "mbart": transformers.MBartTokenizerFast, "mbart50": transformers.MBart50TokenizerFast,
        "nllb": transformers.NllbTokenizerFast,
    }[kind]  # fmt: skip
    backend = unigram(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], "<unk>")
    backend.add_special_tokens([AddedToken(code, special=True) for code in codes])
    tokenizer = maker(
        tokenizer_object=backend, src_lang=codes[0], additional_special_tokens=list(codes), model_max_length=64
    )
    return tokenizer, codes


class ModelStub:
    """A model that only holds its folder and its configuration."""

    task = find_task("text2text-generation")

    def __init__(self, folder, config):
        self.folder, self.config, self.generation_config = folder, folder.config, config

    def max_batch_rows(self, _):
        return None


@pytest.mark.parametrize("kind", ["mbart", "mbart50", "nllb"])
@pytest.mark.parametrize("legacy", [False, True])
def test_multilingual_models_take_both_languages(kind, legacy, tmp_path):
    tokenizer, (source, target) = multilingual(kind)
    if kind == "nllb":
        tokenizer = transformers.NllbTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer, src_lang=source, additional_special_tokens=[source, target],
            model_max_length=64, legacy_behaviour=legacy,
        )  # fmt: skip
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    expected = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pipe = TranslationPipeline(
        ModelStub(ModelFolder(tmp_path), GenerationConfig()), Tokenizer.from_pretrained(tmp_path)
    )
    for text, truncation in ((TEXTS[0], False), (TEXTS[0] * 20, True)):
        prompt_of_reference = expected._build_translation_inputs(
            text, return_tensors="np", truncation=truncation, src_lang=target, tgt_lang=source
        )
        options = pipe.with_options(pipe.options, {"src_lang": target, "tgt_lang": source, "truncation": truncation})
        (prompt,) = pipe.preprocess(text, options)
        assert prompt.ids == prompt_of_reference["input_ids"][0].tolist()
        assert prompt.config.forced_bos_token_id == prompt_of_reference["forced_bos_token_id"]
        assert prompt.cut is truncation
    with pytest.raises(OptionError, match="do not name both languages"):
        pipe.preprocess(TEXTS[0])
    with pytest.raises(OptionError, match=rf"no language 'xx'[\s\S]*{source}"):
        pipe.preprocess(TEXTS[0], pipe.with_options(pipe.options, {"src_lang": "xx", "tgt_lang": source}))

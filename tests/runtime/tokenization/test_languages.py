import json

import pytest
from fixtures.checkpoints import byte_level_bpe

from torchless import AutoTokenizer
from torchless.errors import OptionError
from torchless.folder.model_folder import ModelFolder
from torchless.generation.config import GenerationConfig
from torchless.pipelines.text2text_generation import TranslationPipeline
from torchless.tasks import find_task

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
# The class of a tokenizer, what it calls two languages, their tokens, and what stands around a text in the first.
CLASSES = {
    "M2M100": (("en", "fr"), ("__en__", "__fr__"), (["__en__"], ["</s>"])),
    "MBart": (("en_XX", "fr_XX"), ("en_XX", "fr_XX"), ([], ["</s>", "en_XX"])),
    "MBart50": (("en_XX", "fr_XX"), ("en_XX", "fr_XX"), (["en_XX"], ["</s>"])),
    "Nllb": (("eng_Latn", "fra_Latn"), ("eng_Latn", "fra_Latn"), (["eng_Latn"], ["</s>"])),
    "PLBart": (("java", "python"), ("__java__", "__python__"), ([], ["</s>", "__java__"])),
}


class KnownModel:
    """A model that is never run."""

    batch_dependent = False
    task = find_task("translation")

    def __init__(self, folder):
        self.folder, self.config, self.generation_config = folder, folder.config, GenerationConfig()


@pytest.fixture
def translator(tmp_path):
    """A pipeline of a folder with this tokenizer."""

    def make(name, tokens, config=None, *, model_type=None, task_name="translation"):
        (tmp_path / "tokenizer.json").write_text(byte_level_bpe([*SPECIAL, *tokens]).to_str())
        special = {
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "additional_special_tokens": list(tokens),
        }
        values = {"tokenizer_class": f"{name}Tokenizer", "added_tokens_decoder": {}, **special, **(config or {})}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        folder = ModelFolder(tmp_path)
        return TranslationPipeline(KnownModel(folder), AutoTokenizer.from_pretrained(tmp_path), task_name=task_name)

    return make


def tokens_of(pipe, **languages):
    (prompt,) = pipe.preprocess("a", pipe.with_options(pipe.options, languages))
    return pipe.tokenizer.convert_ids_to_tokens(prompt.ids), prompt.config.forced_bos_token_id


@pytest.mark.parametrize("name", CLASSES)
def test_languages_of_a_translation(translator, name):
    (source, target), tokens, (before, after) = CLASSES[name]
    pipe = translator(name, tokens)
    assert tokens_of(pipe, src_lang=source, tgt_lang=target) == (
        [*before, "a", *after],
        pipe.tokenizer.token_id(tokens[1]),
    )
    with pytest.raises(OptionError, match=rf"no language 'xx'[\s\S]*Valid: .*{source}, (.*, )?{target}"):
        tokens_of(pipe, src_lang="xx", tgt_lang=target)
    with pytest.raises(OptionError, match=rf"no language '</s>'[\s\S]*{source}, (.*, )?{target}"):
        tokens_of(pipe, src_lang=source, tgt_lang="</s>")
    with pytest.raises(OptionError, match=rf"do not name both[\s\S]*{source}"):
        tokens_of(pipe, src_lang=source)


def test_languages_by_the_name_of_the_task(translator):
    pipe = translator("M2M100", ("__en__", "__fr__"), task_name="translation_en_to_fr")
    assert tokens_of(pipe) == (["__en__", "a", "</s>"], pipe.tokenizer.token_id("__fr__"))
    with pytest.raises(OptionError, match="no language 'xx'"):
        tokens_of(translator("M2M100", ("__en__", "__fr__"), task_name="translation_en_to_xx"))


@pytest.mark.parametrize("name", ["M2M100", "MBart", "MBart50", "Nllb"])
def test_the_language_of_a_text_by_default(translator, name):
    (_, target), tokens, (before, after) = CLASSES[name]
    assert translator(name, tokens).tokenizer.tokenize("a", add_special_tokens=True) == [*before, "a", *after]
    ours = translator(name, tokens, {"src_lang": target}).tokenizer
    framed = [token if token != tokens[0] else tokens[1] for token in (*before, "a", *after)]
    assert ours.tokenize("a", add_special_tokens=True) == framed


@pytest.mark.parametrize(("tokens", "source"), [(("__en__", "__fr__"), "en"), (("eng_Latn", "fra_Latn"), "eng_Latn")])
def test_a_model_of_languages_whose_tokenizer_has_a_general_class(translator, tokens, source):
    pipe = translator("PreTrained", tokens, model_type="m2m_100")
    target = {"en": "fr"}.get(source, "fra_Latn")
    assert tokens_of(pipe, src_lang=source, tgt_lang=target)[0] == [tokens[0], "a", "</s>"]
    assert tokens_of(pipe)[0] == ["a"]  # as the reference does, which knows no languages here
    with pytest.raises(OptionError, match="no language 'xx'"):
        tokens_of(pipe, src_lang="xx", tgt_lang=target)


def test_a_model_of_a_single_pair(translator):
    pipe = translator("Marian", (), model_type="marian")
    assert tokens_of(pipe, src_lang="en", tgt_lang="fr")[0] == ["a"]

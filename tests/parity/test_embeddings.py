"""Embeddings, which transformers.pipeline does not have, against sentence-transformers."""

import json
import shutil
from functools import cache

import numpy as np
import pytest
import sentence_transformers
from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import CUT
from parity.contracts.feature_extraction import TEXTS, assert_close
from sentence_transformers.sentence_transformer import modules

import torchless
from torchless_export.export import Silent, export
from torchless_export.sample import sample_texts

TASK = "feature-extraction"
# Our name and sentence-transformers' name of each pooling mode.
MODES = {"mean": "mean", "cls": "cls", "max": "max", "last": "lasttoken"}
FLAGS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "last": "pooling_mode_lasttoken",
}
POOLING_CONFIG = "1_Pooling/config.json"
TRANSFORMER, POOLING, NORMALIZE, DENSE = (
    f"sentence_transformers.models.{name}" for name in ("Transformer", "Pooling", "Normalize", "Dense")
)


def write_json(path, values):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def extract(tiny):
    return torchless.pipeline(TASK, tiny.export("bert", TASK))


@pytest.fixture(scope="module")
def encoder(tiny):
    """A SentenceTransformer on a tiny model, by its family, its pooling mode, and whether its embeddings have length 1."""

    @cache
    def make(model_type, mode, normalize):
        transformer = modules.Transformer(str(tiny.checkpoint(model_type, TASK)))
        dimension = transformer.get_embedding_dimension()
        parts = [transformer, modules.Pooling(dimension, MODES[mode]), *([modules.Normalize()] if normalize else [])]
        return sentence_transformers.SentenceTransformer(modules=parts, device="cpu")

    return make


@pytest.fixture
def sentence_folder(tiny, tmp_path):
    """Make (a checkpoint, its export) with the files of sentence-transformers changed or added, by their names."""

    def make(files, model_type="bert"):
        sources = tiny.checkpoint(model_type, TASK), tiny.export(model_type, TASK)
        folders = tmp_path / "checkpoint", tmp_path / "export"
        for source, folder in zip(sources, folders, strict=True):
            shutil.copytree(source, folder)
            for name, values in files.items():
                write_json(folder / name, values)
        return folders

    return make


@pytest.fixture(scope="module")
def minilm(base_model, embeddings):
    """(sentence-transformers' model, our pipeline) for all-MiniLM-L6-v2."""
    return (
        sentence_transformers.SentenceTransformer(str(base_model), device="cpu"),
        torchless.pipeline(TASK, embeddings, pooling="auto", return_tensors="np"),
    )


def modules_of(*kinds):
    return [
        {"idx": index, "name": str(index), "path": path if index else "", "type": kind}
        for index, (kind, path) in enumerate(
            (kind, f"{index}_{kind.rpartition('.')[2]}") for index, kind in enumerate(kinds)
        )
    ]


@pytest.mark.parametrize(
    ("architecture", "mode", "normalize"),
    [
        *(("bert", mode, normalize) for mode in MODES for normalize in (False, True)),
        *((architecture, "last", True) for architecture in CONFIGS),
    ],
)
@pytest.mark.filterwarnings(CUT)
def test_embeddings(architecture, mode, normalize, encoder, both_on):
    ours, reference = both_on(architecture, TASK).ours, encoder(architecture, mode, normalize)
    for texts in (TEXTS, [LONG_TEXT]):
        got = ours(texts, pooling=mode, normalize=normalize, truncation=True, return_tensors="np")
        assert got.dtype == np.float32
        assert_close(reference.encode(texts), got)


@pytest.mark.parametrize("mode", MODES)
def test_embeddings_in_every_shape(mode, encoder, extract):
    texts = ["A film.", "Another, which is longer."]
    expected = encoder("bert", mode, normalize=False).encode(texts)
    assert_close(expected.tolist(), extract(texts, pooling=mode))
    assert_close(expected[:1].tolist(), extract(texts[:1], pooling=mode))
    assert_close(expected[0].tolist(), extract(texts[0], pooling=mode))
    assert_close(expected[0], extract(texts[0], pooling=mode, return_tensors=True))
    assert_close(list(expected), list(extract(iter(texts), pooling=mode, return_tensors="np")))
    assert extract([], pooling=mode) == []
    assert extract([], pooling=mode, return_tensors="np").shape == (0, 32)


def test_real_sentences(minilm):
    expected, ours = minilm
    texts = sample_texts(500)
    np.testing.assert_allclose(ours(texts), expected.encode(texts), rtol=0, atol=1e-5)


def test_hard_texts_of_a_real_model(minilm):
    expected, ours = minilm
    texts = list(HARD_TEXTS.values())
    np.testing.assert_allclose(ours(texts), expected.encode(texts), rtol=0, atol=1e-5)
    for text in texts:
        np.testing.assert_allclose(ours(text), expected.encode(text), rtol=0, atol=1e-5)


def test_long_text_is_cut_to_the_limit_of_the_folder(minilm):
    expected, ours = minilm
    assert expected.max_seq_length == 256
    with pytest.warns(torchless.TruncationWarning, match="1 of 1 inputs were cut to 256 tokens"):
        got = ours(LONG_TEXT)
    np.testing.assert_allclose(got, expected.encode(LONG_TEXT), rtol=0, atol=1e-5)
    with pytest.warns(torchless.TruncationWarning, match="cut to 256 tokens"):
        np.testing.assert_array_equal(ours(LONG_TEXT, truncation=True), got)
    with pytest.raises(torchless.InputError, match=r"this model takes 512[\s\S]*truncation=True"):
        ours(LONG_TEXT, truncation=False)


@pytest.mark.filterwarnings(CUT)
def test_the_caller_may_change_the_limit_of_the_folder(minilm):
    expected, ours = minilm
    expected.max_seq_length = 100
    try:
        np.testing.assert_allclose(ours(LONG_TEXT, max_length=100), expected.encode(LONG_TEXT), rtol=0, atol=1e-5)
    finally:
        expected.max_seq_length = 256


def test_the_caller_may_leave_normalization_out(minilm):
    expected, ours = minilm
    (text,) = sample_texts(1)
    pooled = expected[1](expected[0](expected.preprocess([text])))["sentence_embedding"][0].detach().numpy()
    assert not np.isclose(np.linalg.norm(pooled), 1, atol=0.1)
    np.testing.assert_allclose(ours(text, normalize=False), pooled, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "notation", "normalize"),
    [*((mode, notation, False) for mode in MODES for notation in ("flags", "name", "list")), ("max", "flags", True)],
)
@pytest.mark.filterwarnings(CUT)
def test_what_a_folder_declares(mode, normalize, notation, sentence_folder):
    config = {
        "flags": {flag: name == mode for name, flag in FLAGS.items()},
        "name": {"pooling_mode": MODES[mode]},
        "list": {"pooling_mode": [MODES[mode]]},
    }[notation]
    checkpoint, exported = sentence_folder(
        {
            "modules.json": modules_of(TRANSFORMER, POOLING, *([NORMALIZE] if normalize else [])),
            POOLING_CONFIG: {"word_embedding_dimension": 32, **config},
            "sentence_bert_config.json": {"max_seq_length": 40, "do_lower_case": False},
            "config_sentence_transformers.json": {"prompts": {"query": "ask: "}, "default_prompt_name": None},
        }
    )
    expected = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    texts = [*TEXTS, LONG_TEXT]
    got = torchless.pipeline(TASK, exported, pooling="auto", return_tensors="np")(texts)
    assert_close(expected.encode(texts), got)


def test_the_default_pooling_is_the_mean(sentence_folder):
    checkpoint, exported = sentence_folder(
        {"modules.json": modules_of(TRANSFORMER, POOLING), POOLING_CONFIG: {"word_embedding_dimension": 32}}
    )
    expected = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu").encode("A film.")
    assert_close(expected.tolist(), torchless.pipeline(TASK, exported)("A film.", pooling="auto"))


@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
@pytest.mark.filterwarnings(CUT)
def test_without_a_limit_texts_are_cut_to_the_limit_of_the_tokenizer(architecture, sentence_folder):
    checkpoint, exported = sentence_folder(
        {"modules.json": modules_of(TRANSFORMER, POOLING), POOLING_CONFIG: {"word_embedding_dimension": 32}},
        architecture,
    )
    expected = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu").encode([LONG_TEXT])
    assert_close(expected, torchless.pipeline(TASK, exported)([LONG_TEXT], pooling="auto", return_tensors="np"))


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
@pytest.mark.filterwarnings(CUT)
def test_a_limit_under_an_older_name(family, sentence_folder):
    checkpoint, exported = sentence_folder(
        {
            "modules.json": modules_of(TRANSFORMER, POOLING),
            POOLING_CONFIG: {"word_embedding_dimension": 32},
            f"sentence_{family}_config.json": {"max_seq_length": 30},
        }
    )
    expected = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu").encode([LONG_TEXT])
    assert_close(expected, torchless.pipeline(TASK, exported)([LONG_TEXT], pooling="auto", return_tensors="np"))


@pytest.mark.filterwarnings(CUT)
def test_a_folder_that_sentence_transformers_saved(encoder, tmp_path):
    model = encoder("roberta", "last", normalize=True)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    export(str(tmp_path / "saved"), tmp_path / "out", Silent())
    got = torchless.pipeline(model=tmp_path / "out", pooling="auto", return_tensors="np")([*TEXTS, LONG_TEXT])
    assert_close(model.encode([*TEXTS, LONG_TEXT]), got)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({POOLING_CONFIG: {"pooling_mode_mean_sqrt_len_tokens": True}}, "the pooling mean_sqrt_len_tokens"),
        ({POOLING_CONFIG: {"pooling_mode": "weightedmean"}}, "the pooling weightedmean"),
        ({POOLING_CONFIG: {"pooling_mode": ["mean", "max"]}}, "the pooling mean, max"),
        (
            {POOLING_CONFIG: {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}},
            "the pooling cls, mean",
        ),
        ({"modules.json": modules_of(TRANSFORMER, POOLING, DENSE)}, "the modules Transformer, Pooling, Dense"),
        ({"modules.json": modules_of(TRANSFORMER, NORMALIZE)}, "the modules Transformer, Normalize"),
        ({"modules.json": modules_of("mine.Transformer", POOLING)}, "the modules mine.Transformer, Pooling"),
        (
            {"config_sentence_transformers.json": {"prompts": {"query": "ask: "}, "default_prompt_name": "query"}},
            "the prompt 'ask: ' before each text",
        ),
        ({"config_sentence_transformers.json": {"truncate_dim": 16}}, "embeddings cut to 16 dimensions"),
        (
            {"sentence_bert_config.json": {"do_lower_case": True}, "tokenizer_config.json": {"do_lower_case": False}},
            "texts in lower case",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_modules_of_a_folder_that_are_not_supported(files, message, sentence_folder):
    basis = {"modules.json": modules_of(TRANSFORMER, POOLING), POOLING_CONFIG: {"pooling_mode": "mean"}}
    _, exported = sentence_folder({**basis, **files})
    with pytest.raises(torchless.CheckpointError, match=rf"not supported: {message}[\s\S]*pooling='mean'"):
        torchless.pipeline(TASK, exported, pooling="auto")
    assert torchless.pipeline(TASK, exported)("A film.", pooling="mean")


@pytest.mark.parametrize("built", [True, False])
def test_a_folder_without_a_pooling(extract, tiny, built):
    with pytest.raises(torchless.OptionError, match=r"has no 1_Pooling/config.json[\s\S]*pooling='cls'"):
        torchless.pipeline(TASK, tiny.export("bert", TASK), pooling="auto") if built else extract(
            "A film.", pooling="auto"
        )


def test_a_text_without_tokens_has_no_embedding(extract):
    with pytest.raises(torchless.InputError, match=r"text '' has no tokens[\s\S]*add_special_tokens=True"):
        extract("", pooling="mean", add_special_tokens=False)

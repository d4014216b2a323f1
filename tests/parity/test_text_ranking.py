import json
import shutil
from functools import cache
from operator import itemgetter

import pytest
import sentence_transformers
import torch
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import assert_same
from fixtures.texts import LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.text_ranking import BERLIN, FUNCTIONS, HARD, REAL, ranked

import torchless
from torchless_export.export import Silent, export

TASK, GRAPH = "text-ranking", "text-classification"


@pytest.fixture(params=CONFIGS)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def encoder(tiny):
    """sentence-transformers' CrossEncoder on a tiny checkpoint with one label."""

    @cache
    def load(model_type):
        checkpoint = tiny.checkpoint(model_type, GRAPH, num_labels=1)
        return sentence_transformers.CrossEncoder(str(checkpoint), device="cpu")

    return load


@pytest.fixture(scope="module")
def ranker(tiny):
    """Our pipeline on the same checkpoint."""

    def load(model_type, **options):
        return torchless.pipeline(TASK, tiny.export(model_type, GRAPH, num_labels=1), threads=1, **options)

    return load


@pytest.fixture(scope="module")
def rank(ranker):
    return ranker("bert")


@pytest.mark.parametrize("function", [None, "none"])
def test_hard_texts_and_real_ones(architecture, function, encoder, ranker):
    options = {} if function is None else {"function_to_apply": function}
    expected = [ranked(encoder(architecture), question, function) for question in (*HARD, *REAL)]
    assert len({answers[0]["index"] for answers in expected}) > 1
    got = ranker(architecture)([*HARD, *REAL], **options)
    # Blank documents are the same tokens: the reference orders them by the rounding errors of its batch.
    assert_same(*([sorted(answers, key=itemgetter("index")) for answers in side] for side in (expected, got)))
    assert all(answers == sorted(answers, key=itemgetter("score"), reverse=True) for answers in got)


@pytest.mark.filterwarnings(CUT)
def test_long_text(architecture, encoder, ranker):
    ours = ranker(architecture)
    for question in (
        {"query": "What is it?", "documents": ["A text.", LONG_TEXT[:6000]]},
        {"query": LONG_TEXT[:6000], "documents": ["It ends.", "It does not.", LONG_TEXT[5:6000]]},
    ):
        # sentence-transformers always cuts
        assert_same(
            ranked(encoder(architecture), question, "none"), ours(question, function_to_apply="none", truncation=True)
        )


def test_long_text_is_not_cut_by_default(rank):
    with pytest.raises(torchless.InputError, match=r"this model takes 512[\s\S]*truncation=True"):
        rank(query="What is it?", documents=["A text.", LONG_TEXT])


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("function", [None, "sigmoid", "none"])
@pytest.mark.parametrize("top_k", [None, 1, 2, 3, 50])
def test_options(function, top_k, built, encoder, ranker):
    options = {"top_k": top_k, "function_to_apply": function}
    expected = ranked(encoder("bert"), BERLIN, function, top_k=top_k)
    assert len(expected) == min(top_k or 3, 3)
    assert_same(expected, ranker("bert", **options)(BERLIN) if built else ranker("bert")(BERLIN, **options))


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"truncation": truncation, "max_length": length}
            for truncation in (True, "longest_first", "only_first", "only_second")
            for length in (20, 14)
        ),
        {"add_special_tokens": False},
        {"add_special_tokens": False, "truncation": True, "max_length": 7},
    ],
    ids=str,
)
@pytest.mark.filterwarnings(CUT)
def test_options_of_the_tokenizer(options, encoder, rank):
    query, documents = "Who lives in Berlin?", ["Does Wolfgang live in this city?", "It rains in Paris, it snows."]
    pairs = [(query, document) for document in documents]
    expected = encoder("bert").predict(pairs, activation_fn=FUNCTIONS["none"], processing_kwargs={"text": options})
    got = rank(query=query, documents=documents, function_to_apply="none", **options)
    assert_same(expected.tolist(), [answer["score"] for answer in sorted(got, key=lambda answer: answer["index"])])
    assert [answer["index"] for answer in got] == [int(index) for index in (-expected).argsort()]


def test_equal_documents_keep_their_order(encoder, rank):
    question = {"query": "A man eats.", "documents": ["Yes.", "No.", "Yes.", "No."]}
    assert_same(ranked(encoder("bert"), question), rank(question))


@settings(max_examples=200, deadline=None)
@given(query=st.text(min_size=1, max_size=40), documents=st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_text(query, documents, encoder, rank):
    expected = ranked(encoder("bert"), {"query": query, "documents": documents}, "none")
    got = rank(query=query, documents=documents, function_to_apply="none")
    # documents that become the same tokens have equal scores: the order between those is rounding
    assert_same(*(sorted(answers, key=lambda answer: answer["index"]) for answers in (expected, got)))
    assert [answer["score"] for answer in got] == sorted((answer["score"] for answer in got), reverse=True)


def edited(source, folder, changes, files):
    """Copy a folder, change its config.json, and write more files."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name, values in {"config.json": {**config, **changes}, **files}.items():
        (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


IDENTITY, SIGMOID, TANH = (
    f"torch.nn.modules.{name}" for name in ("linear.Identity", "activation.Sigmoid", "activation.Tanh")
)
MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]


@pytest.mark.parametrize(
    ("config", "files"),
    [
        ({"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.1.0"}}, {}),
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, {}),
        ({"sentence_transformers": {"version": "4.1.0"}}, {}),
        ({"sbert_ce_default_activation_function": IDENTITY}, {}),
        ({"sbert_ce_default_activation_function": None}, {}),
        ({"sentence_transformers": {"activation_fn": SIGMOID}, "sbert_ce_default_activation_function": IDENTITY}, {}),
        (
            {"sentence_transformers": {"activation_fn": SIGMOID}},
            {"config_sentence_transformers.json": {"activation_fn": IDENTITY, "model_type": "CrossEncoder"}},
        ),
        (
            {"sentence_transformers": {"activation_fn": IDENTITY}},
            {"config_sentence_transformers.json": {"activation_fn": None, "model_type": "CrossEncoder"}},
        ),
    ],
    ids=str,
)
def test_the_function_that_a_folder_declares(config, files, tiny, tmp_path):
    if files:
        transformer = {"transformer_task": "sequence-classification", "module_output_name": "scores"}
        files = {**files, "modules.json": MODULES, "sentence_bert_config.json": transformer}
    checkpoint = edited(tiny.checkpoint("bert", GRAPH, num_labels=1), tmp_path / "checkpoint", config, files)
    exported = edited(tiny.export("bert", GRAPH, num_labels=1), tmp_path / "export", config, files)
    expected = sentence_transformers.CrossEncoder(str(checkpoint), device="cpu")
    ours = torchless.pipeline(TASK, exported)
    assert_same(ranked(expected, BERLIN), ours(BERLIN))
    assert_same(ranked(expected, BERLIN, "sigmoid"), ours(BERLIN, function_to_apply="sigmoid"))


def test_an_export_keeps_what_the_checkpoint_declares(tiny, tmp_path):
    checkpoint = tiny.checkpoint("bert", GRAPH, num_labels=1)
    model = sentence_transformers.CrossEncoder(str(checkpoint), device="cpu", activation_fn=torch.nn.Identity())
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    export(str(tmp_path / "saved"), tmp_path / "out", Silent())
    assert_same(ranked(model, BERLIN), torchless.pipeline(TASK, tmp_path / "out")(BERLIN))


def test_a_function_that_is_not_supported(tiny, encoder, tmp_path):
    source = tiny.export("bert", GRAPH, num_labels=1)
    folder = edited(source, tmp_path / "export", {"sentence_transformers": {"activation_fn": TANH}}, {})
    with pytest.raises(torchless.CheckpointError, match=r"activation.Tanh', which[\s\S]*function_to_apply='none'"):
        torchless.pipeline(TASK, folder)
    ours = torchless.pipeline(TASK, folder, function_to_apply="none")
    assert_same(ranked(encoder("bert"), BERLIN, "none"), ours(BERLIN))


def test_a_model_that_does_not_rank(tiny):
    with pytest.raises(torchless.CheckpointError, match=r"has 3 labels[\s\S]*trained to rank"):
        torchless.pipeline(TASK, tiny.export("bert", GRAPH, num_labels=3))

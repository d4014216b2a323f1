import json
import shutil
from functools import cache

import pytest
import sentence_transformers
import torch
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import assert_same
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

import torchless
from torchless_export.export import Silent, export
from torchless_export.sample import sample_texts

TASK, GRAPH = "text-ranking", "text-classification"
BERLIN = {"query": "Who lives in Berlin?", "documents": ["Wolfgang does.", "It rains in Paris.", "Nobody, ever."]}
EATING = {"query": "A man eats.", "documents": ["Someone is eating.", "Nobody is."]}
HARD = [
    {"query": "What is it?", "documents": list(HARD_TEXTS.values())},
    *({"query": text, "documents": ["One.", "Another one.", "…"]} for text in HARD_TEXTS.values() if text),
]
REAL = [{"query": text, "documents": sample_texts(5)} for text in sample_texts(6)]
FUNCTIONS = {"sigmoid": torch.nn.Sigmoid(), "none": torch.nn.Identity()}
cut_on_purpose = pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")


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


def ranked(encoder, question, function=None, **options):
    """Return CrossEncoder.rank in our keys."""
    activation = {} if function is None else {"activation_fn": FUNCTIONS[function]}
    answers = encoder.rank(question["query"], question["documents"], return_documents=True, **activation, **options)
    return [{"index": one["corpus_id"], "score": one["score"], "text": one["text"]} for one in answers]


@pytest.mark.parametrize("function", [None, "none"])
def test_hard_texts_and_real_ones(architecture, function, encoder, ranker):
    options = {} if function is None else {"function_to_apply": function}
    expected = [ranked(encoder(architecture), question, function) for question in (*HARD, *REAL)]
    assert len({answers[0]["index"] for answers in expected}) > 1
    assert_same(expected, ranker(architecture)([*HARD, *REAL], **options))


@cut_on_purpose
def test_long_text(architecture, encoder, ranker):
    ours = ranker(architecture)
    for question in (
        {"query": "What is it?", "documents": ["A text.", LONG_TEXT[:6000]]},
        {"query": LONG_TEXT[:6000], "documents": ["It ends.", "It does not.", LONG_TEXT[5:6000]]},
    ):
        # sentence-transformers cuts without being asked to
        assert_same(
            ranked(encoder(architecture), question, "none"), ours(question, function_to_apply="none", truncation=True)
        )


def test_long_text_is_not_cut_without_being_asked_to(rank):
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
    ("built", "called", "effective"),
    [
        ({"top_k": 2}, {"top_k": None}, {}),
        ({"top_k": 2}, {"top_k": 1}, {"top_k": 1}),
        ({"top_k": 2}, {"function_to_apply": "none"}, {"top_k": 2, "function": "none"}),
        ({"function_to_apply": "none"}, {"top_k": 1}, {"top_k": 1, "function": "none"}),
        ({"function_to_apply": "none"}, {"function_to_apply": None}, {"function": "none"}),
        ({"function_to_apply": "none"}, {"function_to_apply": "sigmoid"}, {"function": "sigmoid"}),
    ],
    ids=str,
)
def test_options_of_the_constructor_and_the_call(built, called, effective, encoder, ranker):
    ours = ranker("bert", **built)
    assert_same(ranked(encoder("bert"), BERLIN, **effective), ours(BERLIN, **called))
    assert_same(
        [ranked(encoder("bert"), one, **effective) for one in (BERLIN, EATING)], ours([BERLIN, EATING], **called)
    )


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
@cut_on_purpose
def test_options_of_the_tokenizer(options, encoder, rank):
    query, documents = "Who lives in Berlin?", ["Does Wolfgang live in this city?", "It rains in Paris, it snows."]
    pairs = [(query, document) for document in documents]
    expected = encoder("bert").predict(pairs, activation_fn=FUNCTIONS["none"], processing_kwargs={"text": options})
    got = rank(query=query, documents=documents, function_to_apply="none", **options)
    assert_same(expected.tolist(), [one["score"] for one in sorted(got, key=lambda one: one["index"])])
    assert [one["index"] for one in got] == [int(index) for index in (-expected).argsort()]


def test_shapes_of_inputs(encoder, rank):
    berlin, eating = (ranked(encoder("bert"), question) for question in (BERLIN, EATING))
    assert_same(berlin, rank(BERLIN))
    assert_same(berlin, rank(**BERLIN))
    assert_same(berlin, rank(query=BERLIN["query"], documents=tuple(BERLIN["documents"])))
    assert_same([berlin], rank([BERLIN]))
    assert_same([berlin, eating], rank([BERLIN, EATING]))
    queries, documents = [BERLIN["query"], EATING["query"]], [BERLIN["documents"], EATING["documents"]]
    assert_same([berlin, eating], rank(query=queries, documents=documents))
    assert_same([berlin], rank(query=queries[:1], documents=documents[:1]))
    assert_same([berlin, eating], list(rank(question for question in (BERLIN, EATING))))
    assert rank([]) == []
    assert list(rank(iter([]))) == []
    assert_same(ranked(encoder("bert"), one := {**BERLIN, "documents": ["I do."]}), rank(one))


def test_an_iterator_is_read_only_as_far_as_needed(rank):
    answers = rank(question for question in [BERLIN, None])
    assert next(answers)[0]["text"] in BERLIN["documents"]
    with pytest.raises(torchless.InputError, match="The input is None"):
        next(answers)


def test_equal_documents_keep_their_order(encoder, rank):
    question = {"query": "A man eats.", "documents": ["Yes.", "No.", "Yes.", "No."]}
    assert_same(ranked(encoder("bert"), question), rank(question))


def test_batch_size_changes_no_answer(architecture, ranker):
    ours = ranker(architecture)
    alone = [ours(question, batch_size=1) for question in (*HARD, *REAL)]
    for batch_size in (1, 3, 32):
        assert_same(alone, ours([*HARD, *REAL], batch_size=batch_size), tolerance=1e-5)
        built = ranker(architecture, batch_size=batch_size)
        assert_same(alone[-3:], built(REAL[-3:]), tolerance=1e-5)


@settings(max_examples=200, deadline=None)
@given(query=st.text(min_size=1, max_size=40), documents=st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_text(query, documents, encoder, rank):
    expected = ranked(encoder("bert"), {"query": query, "documents": documents}, "none")
    got = rank(query=query, documents=documents, function_to_apply="none")
    # documents that become the same tokens have equal scores: the order between those is rounding
    assert_same(*(sorted(answers, key=lambda one: one["index"]) for answers in (expected, got)))
    assert [one["score"] for one in got] == sorted((one["score"] for one in got), reverse=True)


def edited(source, folder, changes, others):
    """Copy a folder, change its config.json, and write other files."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name, values in {"config.json": {**config, **changes}, **others}.items():
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


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("Berlin?", r"input is 'Berlin\?', of type str[\s\S]*Give \{\"query\": …, \"documents\": …\}"),
        (1, r"input is 1, of type int[\s\S]*Give \{\"query\""),
        ([BERLIN, "Berlin?"], r"input is 'Berlin\?', of type str[\s\S]*Give \{\"query\""),
        ({"query": "Berlin?"}, r"has no documents[\s\S]*Give \{\"query\""),
        ({"documents": ["Yes."]}, r"has no query[\s\S]*Give \{\"query\""),
        ({"query": None, "documents": ["Yes."]}, r"has no query[\s\S]*Give \{\"query\""),
        ({"query": "", "documents": ["Yes."]}, r"query of the input is empty: ''[\s\S]*Give \{\"query\""),
        ({"query": "Berlin?", "documents": []}, r"documents of the input is empty: \[\][\s\S]*Give \{\"query\""),
        ({"query": "Berlin?", "documents": "Yes."}, r"documents are 'Yes.', not a list[\s\S]*Give a list of strings"),
        ({"query": "Berlin?", "documents": [1]}, r"A document is 1, of type int, not a string[\s\S]*Give a string"),
        ({"query": "Berlin?", "documents": ["A", None]}, r"A document is None[\s\S]*Give a string"),
        ({"query": 1, "documents": ["Yes."]}, r"The query is 1, of type int, not a string[\s\S]*Give a string"),
    ],
    ids=str,
)
def test_wrong_inputs(rank, inputs, message):
    with pytest.raises(torchless.InputError, match=message):
        rank(inputs)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, r"gives nothing[\s\S]*Give query=…, documents=…"),
        ({"query": "Berlin?"}, r"gives query[\s\S]*Give query=…, documents=…"),
        (
            {"inputs": BERLIN, "query": "Berlin?"},
            r"gives query in addition to its inputs[\s\S]*Give query=…, documents=…",
        ),
        (
            {"query": ["A", "B"], "documents": [["Yes."]]},
            r"differ in length: 2 query, 1 documents[\s\S]*lists of the same length",
        ),
    ],
    ids=str,
)
def test_wrong_calls(rank, named, message):
    with pytest.raises(torchless.InputError, match=message):
        rank(**named)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 1}, r"no option 'topk'[\s\S]*Did you mean 'top_k'"),
        ({"top_k": 0}, r"top_k=0[\s\S]*Give a number of documents, or None"),
        ({"top_k": "1"}, r"top_k='1'[\s\S]*Give a number of documents, or None"),
        ({"function_to_apply": "softmax"}, r"function_to_apply='softmax'[\s\S]*Valid: none, sigmoid"),
        ({"function_to_apply": ["none"]}, r"function_to_apply=\['none'\][\s\S]*Valid: none, sigmoid"),
        ({"batch_size": 0}, r"batch_size=0[\s\S]*Give a number of rows"),
    ],
    ids=str,
)
def test_wrong_options(ranker, rank, built, options, message):
    with pytest.raises(torchless.OptionError, match=message):
        ranker("bert", **options) if built else rank(BERLIN, **options)


@pytest.mark.parametrize("options", [{"truncation": "longest"}, {"truncation": True, "max_length": -1}], ids=str)
def test_wrong_truncation(rank, options):
    with pytest.raises(torchless.OptionError, match="'longest'|max_length=-1"):
        rank(BERLIN, **options)


def test_a_warning_where_something_was_cut(rank):
    with pytest.warns(torchless.TruncationWarning, match="1 of 2 inputs were cut to 20 tokens"):
        rank([BERLIN, {"query": "What is it?", "documents": ["A text.", LONG_TEXT]}], truncation=True, max_length=20)

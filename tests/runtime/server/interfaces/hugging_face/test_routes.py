from functools import cache

import httpx
import huggingface_hub
import numpy as np
import pytest
from fixtures.server import configuration, serving
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError, TextGenerationError
from huggingface_hub.utils import _http

from torchless import pipeline

TEXT = "My name is Sarah and I live in London."
CONTEXT = {"question": "Where do I live?", "context": TEXT}
GREEDY = {"do_sample": False, "max_new_tokens": 8}


# huggingface_hub before 1.0, and since 1.0.
close_session = _http.reset_sessions if hasattr(_http, "reset_sessions") else _http.close_session


@pytest.fixture(scope="module")
def folders(tiny, sentiment, embeddings):
    """A folder for each task, by name; the first serves requests without a name."""
    return {
        "sentiment": sentiment,
        "tokens": tiny.export("bert", "token-classification", num_labels=5),
        "answers": tiny.export("bert", "question-answering"),
        "masks": tiny.export("bert", "fill-mask"),
        "zero-shot": tiny.export("bert", "text-classification", num_labels=3),
        "embeddings": embeddings,
        "features": tiny.export("bert", "feature-extraction"),
        "choices": tiny.export("bert", "multiple-choice"),
        "ranks": tiny.export("bert", "text-classification", num_labels=1),
        "gpt2": tiny.export("gpt2", "text-generation"),
        "chat": tiny.export("qwen3", "text-generation"),
        "summaries": tiny.export("t5", "text2text-generation"),
        "translations": tiny.export("t5", "text2text-generation"),
    }


TASKS = {
    "zero-shot": "zero-shot-classification",
    "ranks": "text-ranking",
    "summaries": "summarization",
    "translations": "translation",
}


@pytest.fixture(scope="module")
def url(folders, tmp_path_factory, online):
    """The address of a server with all these models."""
    file = configuration(tmp_path_factory.mktemp("serve") / "serve.toml", folders, TASKS)
    with serving("--config", file) as server:
        yield server.url


@pytest.fixture(scope="module")
def online():
    """Let the client connect to loopback: other tests run it offline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        close_session()
        yield
    close_session()


@pytest.fixture
def client(url):
    @cache  # newer clients end their streams when they are deleted
    def of(name):
        return InferenceClient(model=f"{url}/models/{name}", provider="hf-inference", timeout=30)

    return of


@pytest.fixture(scope="module")
def offline(folders):
    """A function that returns a pipeline by name, and loads it once."""
    loaded = {}

    def of(name):
        if name not in loaded:
            loaded[name] = pipeline(TASKS.get(name), folders[name])
        return loaded[name]

    return of


def ask(url, name, **body):
    return httpx.post(f"{url}/models/{name}", json=body, timeout=30)


def assert_close(expected, got):
    """Assert that results are equal except for the last digits of numbers."""
    if isinstance(expected, dict):
        assert expected.keys() == got.keys()
        for name, value in expected.items():
            assert_close(value, got[name])
    elif isinstance(expected, list):
        assert len(expected) == len(got)
        for expected_item, item in zip(expected, got, strict=True):
            assert_close(expected_item, item)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, abs=1e-5)
    else:
        assert expected == got


def chosen(elements, *names):
    """Return the results of the client as dicts."""
    return [{name: getattr(element, name) for name in names} for element in elements]


@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"function_to_apply": "none"}], ids=str)
def test_text_classification(client, offline, options):
    got = client("sentiment").text_classification("I hate this so much!", **options)
    assert_close(
        offline("sentiment")("I hate this so much!", **{"top_k": None, **options}), chosen(got, "label", "score")
    )


def test_a_path_without_a_name_is_the_first_model(url, client):
    assert InferenceClient(base_url=url).text_classification(TEXT) == client("sentiment").text_classification(TEXT)


@pytest.mark.parametrize(
    "options",
    [{}, {"aggregation_strategy": "simple"}, {"aggregation_strategy": "max", "ignore_labels": ["LABEL_1"]}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*")
def test_token_classification(client, offline, options):
    got = client("tokens").token_classification(TEXT, **options)
    kind = "entity_group" if options else "entity"
    names = (kind, "score", "word", "start", "end")
    expected = [{name: entity[name] for name in names} for entity in offline("tokens")(TEXT, **options)]
    assert_close(expected, chosen(got, *names))


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"max_answer_len": 2, "align_to_words": False}], ids=str)
def test_question_answering(client, offline, options):
    got = client("answers").question_answering(**CONTEXT, **options)
    several = isinstance(got, list)
    assert several == ("top_k" in options)
    expected = offline("answers")(CONTEXT, **options)
    assert_close(
        expected if several else [expected], chosen(got if several else [got], "score", "start", "end", "answer")
    )


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"targets": ["paris", "london"]}], ids=str)
def test_fill_mask(client, offline, options):
    text = "The capital of France is [MASK]."
    got = client("masks").fill_mask(text, **options)
    assert_close(offline("masks")(text, **options), chosen(got, "score", "token", "token_str", "sequence"))


@pytest.mark.parametrize("options", [{}, {"multi_label": True, "hypothesis_template": "It is {}."}], ids=str)
@pytest.mark.filterwarnings("ignore:No label of this model means entailment")
def test_zero_shot_classification(url, client, offline, options):
    labels = ["education", "politics", "business"]
    got = client("zero-shot").zero_shot_classification(TEXT, labels, **options)
    expected = offline("zero-shot")(TEXT, labels, **options)
    pairs = [
        {"label": label, "score": score} for label, score in zip(expected["labels"], expected["scores"], strict=True)
    ]
    assert_close(pairs, chosen(got, "label", "score"))
    body = {"inputs": TEXT, "parameters": {"candidate_labels": labels, **options}}
    newer = httpx.post(
        f"{url}/models/zero-shot", json=body, headers={"user-agent": "unknown/None; hf_hub/1.2.0; python/3.11"}
    )
    assert_close(pairs, newer.json())
    assert_close(expected, ask(url, "zero-shot", **body).json())


@pytest.mark.parametrize(
    "options", [{}, {"normalize": True}, {"truncate": True, "truncation_direction": "Left"}], ids=str
)
@pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")
def test_feature_extraction(client, offline, options):
    text = "a long text " * 200 if options.get("truncate") else TEXT
    got = client("embeddings").feature_extraction(text, **options)
    renamed = {"truncation": True, "truncation_side": "left"} if "truncate" in options else options
    np.testing.assert_allclose(got, offline("embeddings")(text, pooling="auto", **renamed), atol=1e-5)
    assert client("embeddings").feature_extraction([TEXT, TEXT]).shape == (2, 384)


def test_hidden_states_of_a_folder_without_pooling(client, offline):
    np.testing.assert_allclose(client("features").feature_extraction(TEXT), offline("features")(TEXT), atol=1e-5)


def test_sentence_similarity(client, offline):
    sentences = ["I am Sarah.", "It rains."]
    vectors = np.array(offline("embeddings")([TEXT, *sentences], pooling="auto", normalize=True))
    got = client("embeddings").sentence_similarity(TEXT, sentences)
    np.testing.assert_allclose(got, vectors[1:] @ vectors[0], atol=1e-5)


def test_summarization_and_translation(client, offline):
    options = {"generate_parameters": {"num_beams": 2, "max_new_tokens": 6}, "clean_up_tokenization_spaces": True}
    plain = {"num_beams": 2, "max_new_tokens": 6, "clean_up_tokenization_spaces": True}
    summary = client("summaries").summarization(TEXT, **options)
    assert [{"summary_text": summary.summary_text}] == offline("summaries")(TEXT, **plain)
    translation = client("translations").translation(TEXT, **options)
    assert [{"translation_text": translation.translation_text}] == offline("translations")(TEXT, **plain)


@pytest.mark.parametrize(
    "options", [{}, {"return_full_text": True}, {"stop": ["e"]}, {"repetition_penalty": 1.5}], ids=str
)
def test_text_generation(client, offline, options):
    renamed = {"stop_strings" if name == "stop" else name: value for name, value in options.items()}
    ((expected,),) = [offline("gpt2")(TEXT, **{"return_full_text": False, **GREEDY, **renamed})]
    got = client("gpt2").text_generation(TEXT, **GREEDY, **options)
    assert got == expected["generated_text"]
    if "return_full_text" not in options:
        assert "".join(client("gpt2").text_generation(TEXT, **GREEDY, **options, stream=True)) == got


def test_text_generation_with_details(client, offline):
    got = client("gpt2").text_generation(TEXT, **GREEDY, details=True)
    tokens = offline("gpt2").tokenizer
    (expected,) = offline("gpt2")(TEXT, **GREEDY, return_tensors=True)
    new_ids = expected["generated_token_ids"][len(tokens.encode(TEXT)) :]
    assert [token.id for token in got.details.tokens] == new_ids
    assert got.details.generated_tokens == len(new_ids) == 8
    assert got.details.finish_reason == "length"
    assert "".join(token.text for token in got.details.tokens).startswith(got.generated_text)
    stopped = client("gpt2").text_generation(TEXT, **GREEDY, details=True, stop=[got.generated_text[1:4]])
    assert stopped.details.finish_reason == "stop_sequence"


def test_the_last_event_has_the_whole_text(client):
    *_, last = client("gpt2").text_generation(TEXT, **GREEDY, details=True, stream=True)
    assert last.generated_text == client("gpt2").text_generation(TEXT, **GREEDY)


def test_chat_completion(url, client, offline):
    arguments = {"messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0, "max_tokens": 8}
    ((expected,),) = [offline("chat")(arguments["messages"], **GREEDY, return_full_text=False)]
    got = client("chat").chat_completion(**arguments).choices[0].message.content
    assert got == expected["generated_text"]
    pieces = client("chat").chat_completion(**arguments, stream=True)
    assert "".join(piece.choices[0].delta.content for piece in pieces) == got
    by_name = InferenceClient(base_url=url).chat_completion(**arguments, model="chat")
    assert (by_name.model, by_name.choices[0].message.content) == ("chat", got)


def test_truncate_keeps_the_end_of_a_prompt(client, offline):
    tokenizer = offline("gpt2").tokenizer
    ids = tokenizer.encode(TEXT)[-4:]
    kept = tokenizer.decode(ids)
    assert tokenizer.encode(kept) == ids
    got = client("gpt2").text_generation(TEXT, **GREEDY, truncate=4)
    assert got == client("gpt2").text_generation(kept, **GREEDY)


@pytest.mark.parametrize(
    ("name", "first", "second", "parameters"),
    [
        ("sentiment", TEXT, {"text": "A film.", "text_pair": TEXT}, {"top_k": None}),
        ("answers", CONTEXT, {**CONTEXT, "question": "Who am I?"}, {}),
        ("masks", "A [MASK].", "The [MASK] is a [MASK].", {}),
        ("choices", *[{"prompt": p, "choices": ["One.", "Two."]} for p in ("It rains.", "It snows.")], {}),
        ("ranks", *[{"query": q, "documents": ["One.", "Two."]} for q in ("It rains.", "It snows.")], {}),
    ],
)
def test_a_list_is_answered_with_a_list(url, offline, name, first, second, parameters):
    results = ask(url, name, inputs=[first, second], parameters=parameters).json()
    assert_close(offline(name)([first, second], **parameters), results)
    assert_close(results[:1], ask(url, name, inputs=[first], parameters=parameters).json())


@pytest.mark.parametrize(
    ("name", "body", "status", "message"),
    [
        ("sentimental", {"inputs": TEXT}, 404, "Did you mean 'sentiment'?"),
        ("sentiment", {"inputs": 3}, 422, "of type int, not a string"),
        ("sentiment", {"inputs": TEXT, "parameters": {"topk": 1}}, 422, "Did you mean 'top_k'?"),
        ("sentiment", {"inputs": TEXT, "parameters": {"inputs": 1}}, 422, "has no option 'inputs'"),
        ("features", {"inputs": "", "parameters": {"padding": "max_length", "max_length": 10**9}}, 422, "1000000000"),
        ("summaries", {"inputs": TEXT, "parameters": {"generate_parameters": [1]}}, 422, "is not a mapping"),
        ("gpt2", {"inputs": TEXT, "parameters": {"tokenizer_encode_kwargs": {"a": 1}}}, 422, "not possible over HTTP"),
        (
            "gpt2",
            {"inputs": TEXT, "parameters": {"details": True, "num_return_sequences": 2}},
            422,
            "num_return_sequences=2 is not possible with details",
        ),
        ("sentiment", {"inputs": TEXT, "normalize": True}, 422, "normalize=True is not possible"),
        ("sentiment", {"inputs": TEXT, "stream": True}, 422, "generates no text"),
        ("sentiment", {"input": TEXT}, 400, "unknown field `input`"),
        ("sentiment", {"inputs": TEXT, "parameters": []}, 400, "parameters"),
        ("embeddings", {"inputs": {"sentences": []}}, 422, "source_sentence"),
        ("embeddings", {"inputs": TEXT, "prompt_name": "query"}, 422, "There is no prompt 'query'"),
        ("embeddings", {"inputs": TEXT, "parameters": {"return_tensors": True}}, 422, "return_tensors"),
        ("gpt2", {"inputs": TEXT, "parameters": {"best_of": 2}}, 422, "best_of=2 is not supported"),
        ("gpt2", {"inputs": [TEXT, TEXT], "stream": True}, 422, "2 inputs cannot be streamed"),
        (
            "gpt2",
            {"inputs": TEXT, "stream": True, "parameters": {"num_beams": 2}},
            422,
            "num_beams=2 cannot be streamed",
        ),
        (
            "gpt2",
            {"inputs": [{"role": "user", "content": ""}], "parameters": {"truncate": 2}},
            422,
            "truncate=2 is not possible for a chat",
        ),
    ],
)
def test_errors(url, name, body, status, message):
    answer = ask(url, name, **body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]
    assert answer.json()["error_type"]


def test_the_client_reads_errors(client):
    with pytest.raises(HfHubHTTPError, match=r"top_k=0 is not possible\. Give a number of labels"):
        client("sentiment").text_classification(TEXT, top_k=0)
    with pytest.raises(TextGenerationError, match="best_of=3 is not supported"):
        client("gpt2").text_generation(TEXT, best_of=3)
    with pytest.raises(HfHubHTTPError, match="top_logprobs=2 is not possible here"):
        client("chat").chat_completion([{"role": "user", "content": ""}], top_logprobs=2)


def test_endpoint_info(client):
    assert client("embeddings").get_endpoint_info()["model_type"] == {"embedding": {"pooling": "mean"}}


def test_the_newest_clients_pass_these_tests(folders, newest_clients):
    newest_clients(__file__)

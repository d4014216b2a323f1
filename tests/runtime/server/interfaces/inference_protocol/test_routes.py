import numpy as np
import pytest
from fixtures.server import serving
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from torchless import pipeline

TEXTS = ["I hate this so much!", "A film of quiet power."]
SARAH = ["My name is Sarah and I live in London.", "It rains."]


@pytest.fixture(scope="module")
def folders(tiny, sentiment, embeddings):
    return {
        "sentiment": sentiment,
        "embeddings": embeddings,
        "entities": tiny.export("bert", "token-classification", num_labels=3),
        "answers": tiny.export("bert", "question-answering"),
        "gpt2": tiny.export("gpt2", "text-generation"),
    }


@pytest.fixture(scope="module")
def client(folders):
    with serving(*(f"{name}={folder}" for name, folder in folders.items())) as server:
        client = InferenceServerClient(server.url.removeprefix("http://"))
        yield client
        client.close()


@pytest.fixture(scope="module")
def infer(client):
    """A function that sends the texts of each input, and returns the array of each output."""

    def ask(model, *, outputs=None, binary=True, options=None, **inputs):
        tensors = []
        for name, texts in inputs.items():
            tensors.append(InferInput(name, [len(texts)], "BYTES"))
            tensors[-1].set_data_from_numpy(
                np.array([text.encode() for text in texts], dtype=object), binary_data=binary
            )
        requested = outputs and [InferRequestedOutput(name, binary_data=binary) for name in outputs]
        result = client.infer(model, tensors, outputs=requested, parameters=options, request_id="7")
        assert result.get_response()["id"] == "7"
        return {output["name"]: result.as_numpy(output["name"]) for output in result.get_response()["outputs"]}

    return ask


@pytest.fixture(params=[True, False], ids=["bytes", "JSON"])
def binary(request):
    return request.param


def texts_in(array):
    return [text if isinstance(text, str) else text.decode() for text in array.tolist()]


def test_the_server_and_its_models_are_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sentiment")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]


def test_the_metadata_of_a_model_has_its_inputs_and_outputs(client):
    metadata = client.get_model_metadata("sentiment")
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["text", "text_pair"]
    assert {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in metadata["outputs"]} == {
        "label": ("BYTES", [-1]),
        "score": ("FP32", [-1]),
        "input": ("INT64", [-1]),
        "logits": ("FP32", [-1, 2]),
    }
    assert metadata["parameters"] == {
        "task": "text-classification",
        "dtype": "fp32",
        "labels": ["NEGATIVE", "POSITIVE"],
    }


def test_labels_scores_and_logits(infer, folders, binary):
    classify = pipeline("text-classification", folders["sentiment"])
    got = infer("sentiment", text=TEXTS, outputs=["logits", "label", "score"], binary=binary)
    expected = classify(TEXTS)
    assert list(got) == ["logits", "label", "score"]
    assert texts_in(got["label"]) == [item["label"] for item in expected]
    np.testing.assert_allclose(got["score"], [item["score"] for item in expected], atol=1e-5)
    logits = classify(TEXTS, return_all_scores=True, function_to_apply="none")
    np.testing.assert_allclose(got["logits"], [[label["score"] for label in labels] for labels in logits], atol=1e-5)


def test_options_are_parameters(infer):
    got = infer("sentiment", text=TEXTS, options={"top_k": 2})
    assert got["input"].tolist() == [0, 0, 1, 1]
    assert sorted(texts_in(got["label"][:2])) == ["NEGATIVE", "POSITIVE"]


def test_a_text_and_its_pair(infer, folders):
    got = infer("sentiment", text=TEXTS[:1], text_pair=TEXTS[1:])
    expected = pipeline("text-classification", folders["sentiment"])({"text": TEXTS[0], "text_pair": TEXTS[1]})
    np.testing.assert_allclose(got["score"], [expected["score"]], atol=1e-5)


def test_embeddings(infer, folders, binary):
    embed = pipeline("feature-extraction", folders["embeddings"])
    got = infer("embeddings", text=TEXTS, binary=binary)
    assert list(got) == ["embedding"]
    np.testing.assert_allclose(got["embedding"], embed(TEXTS, pooling="auto"), atol=1e-5)


def test_hidden_states_with_their_lengths(infer, folders):
    embed = pipeline("feature-extraction", folders["embeddings"])
    got = infer("embeddings", text=TEXTS, outputs=["last_hidden_state", "tokens"])
    for text, states, tokens in zip(TEXTS, got["last_hidden_state"], got["tokens"], strict=True):
        np.testing.assert_allclose(states[:tokens], embed(text)[0], atol=1e-5)
        assert not states[tokens:].any()


@pytest.mark.parametrize("strategy", ["none", "simple"])
def test_entities(infer, folders, strategy):
    expected = pipeline("token-classification", folders["entities"], aggregation_strategy=strategy)(SARAH)
    got = infer("entities", text=SARAH, options={"aggregation_strategy": strategy})
    rows = [(index, entity) for index, entities in enumerate(expected) for entity in entities]
    assert rows
    assert got["input"].tolist() == [index for index, _ in rows]
    assert texts_in(got["word"]) == [entity["word"] for _, entity in rows]
    assert texts_in(got["entity"]) == [entity.get("entity") or entity["entity_group"] for _, entity in rows]
    assert got["start"].tolist() == [entity["start"] for _, entity in rows]


def test_answers(infer, folders):
    arguments = {"question": ["Where do I live?"], "context": [SARAH[0]]}
    got = infer("answers", **arguments)
    expected = pipeline("question-answering", folders["answers"])(question=arguments["question"][0], context=SARAH[0])
    assert texts_in(got["answer"]) == [expected["answer"]]
    np.testing.assert_allclose(got["score"], [expected["score"]], atol=1e-5)


def test_generated_text(infer, folders):
    options = {"do_sample": False, "max_new_tokens": 5}
    got = infer("gpt2", text=TEXTS, options=options)
    expected = pipeline("text-generation", folders["gpt2"])(TEXTS, **options)
    assert texts_in(got["generated_text"]) == [result["generated_text"] for (result,) in expected]


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("none", {"text": TEXTS}, "no model 'none'"),
        ("sentiment", {"texts": TEXTS}, "no input 'texts'.*Did you mean 'text'"),
        ("sentiment", {"text": []}, "'text' is missing or empty"),
        ("sentiment", {"text": TEXTS, "text_pair": TEXTS[:1]}, "2 of text, 1 of text_pair"),
        ("sentiment", {"text": TEXTS, "outputs": ["labels"]}, "no output 'labels'"),
        ("sentiment", {"text": TEXTS, "options": {"topk": 2}}, "no option 'topk'"),
        ("embeddings", {"text": TEXTS, "options": {"pooling": None}}, "makes no embedding"),
        ("gpt2", {"text": TEXTS, "options": {"return_tensors": True, "max_new_tokens": 1}}, "no 'generated_text'"),
        (
            "gpt2",
            {"text": TEXTS, "options": {"tokenizer_encode_kwargs": "{'tokenize': false}", "max_new_tokens": 1}},
            "not possible over HTTP",
        ),
        ("answers", {"question": ["Who?"]}, "'context' is missing"),
    ],
)
def test_impossible_requests_have_a_message(infer, model, arguments, message):
    with pytest.raises(InferenceServerException, match=message) as error:
        infer(model, **arguments)
    assert error.value.status() == ("404" if model == "none" else "400")


def test_the_newest_clients_pass_these_tests(folders, newest_clients):
    newest_clients(__file__)

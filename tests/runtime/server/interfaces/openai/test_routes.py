import numpy as np
import openai
import pytest
from fixtures.server import serving

from torchless import pipeline

TEXTS = ["I hate this so much!", "A film of quiet power."]
PROMPT = "It is a film"
ASK = [{"role": "user", "content": "Who are you?"}]
RAW = {"return_full_text": False, "clean_up_tokenization_spaces": False, "do_sample": False}


@pytest.fixture(scope="module")
def folders(tiny, embeddings):
    gpt2 = tiny.export("gpt2", "text-generation")
    qwen3 = tiny.export("qwen3", "text-generation")
    return {"embeddings": embeddings, "gpt2": gpt2, "qwen3": qwen3}


@pytest.fixture(scope="module")
def client(folders):
    with (
        serving(*(f"{name}={folder}" for name, folder in folders.items())) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def offline(folders):
    tasks = {"embeddings": "feature-extraction", "gpt2": "text-generation", "qwen3": "text-generation"}
    return {name: pipeline(task, folders[name]) for name, task in tasks.items()}


def test_models(client):
    assert [model.id for model in client.models.list()] == ["embeddings", "gpt2", "qwen3"]
    assert client.models.retrieve("gpt2").object == "model"


@pytest.mark.parametrize("encoding", ["float", openai.omit], ids=["float", "base64"])
@pytest.mark.parametrize("as_tokens", [False, True], ids=["texts", "tokens"])
def test_embeddings(client, offline, encoding, as_tokens):
    embed = offline["embeddings"]
    tokens = [embed.tokenizer.encode(text) for text in TEXTS]
    answer = client.embeddings.create(
        model="embeddings", input=tokens if as_tokens else TEXTS, encoding_format=encoding
    )
    np.testing.assert_allclose([item.embedding for item in answer.data], embed(TEXTS, pooling="auto"), atol=1e-5)
    assert [item.index for item in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(map(len, tokens))


def test_an_embedding_with_fewer_dimensions(client, offline):
    (answer,) = client.embeddings.create(model="embeddings", input=TEXTS[0], dimensions=8).data
    first = np.array(offline["embeddings"](TEXTS[0], pooling="auto")[:8])
    np.testing.assert_allclose(answer.embedding, first / np.linalg.norm(first), atol=1e-5)


def test_a_completion(client, offline):
    answer = client.completions.create(model="gpt2", prompt=PROMPT, temperature=0, max_tokens=12)
    (expected,) = offline["gpt2"](PROMPT, max_new_tokens=12, **RAW, return_details=True)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == (expected["generated_text"], "length")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (expected["prompt_tokens"], expected["generated_tokens"])
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_prompts_as_texts_and_as_tokens_have_equal_answers(client, offline):
    arguments = {"model": "gpt2", "temperature": 0, "max_tokens": 5, "echo": True}
    prompts = [PROMPT, "Dull"]
    texts = [choice.text for choice in client.completions.create(prompt=prompts, **arguments).choices]
    assert texts == [
        result["generated_text"]
        for (result,) in offline["gpt2"](prompts, max_new_tokens=5, **RAW | {"return_full_text": True})
    ]
    tokens = [offline["gpt2"].tokenizer.encode(prompt) for prompt in prompts]
    assert [choice.text for choice in client.completions.create(prompt=tokens, **arguments).choices] == texts
    streamed = ["", ""]
    for chunk in client.completions.create(prompt=prompts, stream=True, **arguments):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == texts


@pytest.mark.parametrize("size", [1, 3])
def test_a_stop_is_not_part_of_the_text(client, size):
    arguments = {"model": "gpt2", "prompt": PROMPT, "temperature": 0, "max_tokens": 30}
    whole = client.completions.create(**arguments).choices[0].text
    stop = whole[5 : 5 + size]
    answer = client.completions.create(**arguments, stop=[stop, "never written"])
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (whole[: whole.index(stop)], "stop")
    *pieces, last = client.completions.create(**arguments, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in (*pieces, last)) == answer.choices[0].text
    assert {chunk.choices[0].finish_reason for chunk in pieces} <= {None}
    assert last.choices[0].finish_reason == "stop"


def test_samples_are_repeatable_and_different(client):
    arguments = {
        "model": "gpt2",
        "prompt": PROMPT,
        "n": 3,
        "seed": 5,
        "max_tokens": 8,
        "top_p": 0.9,
        "temperature": 1.5,
    }
    first, again = (client.completions.create(**arguments) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in again.choices]
    assert len(set(texts)) == 3
    assert first.usage.completion_tokens == 24


def test_a_biased_token_is_always_generated(client, offline):
    token = offline["gpt2"].tokenizer.encode("e")[0]
    answer = client.completions.create(model="gpt2", prompt=PROMPT, logit_bias={str(token): 100}, max_tokens=4)
    assert answer.choices[0].text == "eeee"


def test_a_chat(client, offline):
    arguments = {"model": "qwen3", "messages": ASK, "temperature": 0, "max_completion_tokens": 8}
    answer = client.chat.completions.create(**arguments)
    (expected,) = offline["qwen3"](ASK, max_new_tokens=8, **RAW, return_details=True)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", expected["generated_text"])
    assert answer.usage.prompt_tokens == expected["prompt_tokens"]
    chunks = list(client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True}))
    *pieces, usage = chunks
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content for chunk in pieces) == choice.message.content
    assert pieces[-1].choices[0].finish_reason == choice.finish_reason
    assert usage.usage == answer.usage
    assert not usage.choices


def test_the_parts_of_a_message_are_joined(client):
    arguments = {"model": "qwen3", "temperature": 0, "max_tokens": 4}
    parts = [{"type": "text", "text": "Who are "}, {"type": "text", "text": "you?"}]
    split, whole = (
        client.chat.completions.create(messages=[{"role": "user", "content": content}], **arguments)
        for content in (parts, ASK[0]["content"])
    )
    assert split.choices[0].message == whole.choices[0].message
    assert split.usage == whole.usage


def test_an_answer_without_a_limit_ends_at_the_limit_of_the_model(client, offline):
    answer = client.chat.completions.create(model="qwen3", messages=ASK, temperature=0)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == offline["qwen3"].max_tokens


REFUSED = [
    ("completions", {"prompt": PROMPT, "presence_penalty": 0.5}, "presence_penalty=0.5", "presence_penalty"),
    ("completions", {"prompt": PROMPT, "frequency_penalty": 1}, "frequency_penalty=1", "frequency_penalty"),
    ("completions", {"prompt": PROMPT, "logprobs": 2}, "logprobs=2", "logprobs"),
    ("completions", {"prompt": PROMPT, "best_of": 4}, "best_of=4", "best_of"),
    ("completions", {"prompt": PROMPT, "n": 2, "temperature": 0}, "n=2", "n"),
    ("completions", {"prompt": PROMPT, "n": 2, "stream": True}, "n=2", "n"),
    ("completions", {"model": "gpt2", "prompt": PROMPT, "max_tokens": 10_000}, "10000 new tokens", "prompt"),
    ("completions", {"model": "gpt2", "prompt": PROMPT, "max_tokens": 10_000, "stream": True}, "10000 new tokens", "prompt"),
    ("completions", {"prompt": PROMPT, "max_tokens": 0}, "max_tokens", "max_tokens"),
    ("completions", {"prompt": PROMPT, "temperature": 3}, "temperature", "temperature"),
    ("completions", {"prompt": PROMPT, "logit_bias": {"e": 1}}, "logit_bias", "logit_bias"),
    ("completions", {"prompt": PROMPT, "extra_body": {"top_q": 1}}, "top_q", "top_q"),
    ("completions", {"prompt": [1, 10**9]}, "no token 1000000000", "prompt"),
    ("completions", {"prompt": [-1]}, "prompt", "prompt"),
    ("completions", {"prompt": PROMPT, "logit_bias": {"1000000": 1}}, "token 1000000", "logit_bias"),
    ("completions", {"prompt": ["a", [1]]}, "different kinds", "prompt"),
    ("completions", {"prompt": []}, "0 inputs", "prompt"),
    ("chat.completions", {"messages": []}, "no messages", "messages"),
    ("chat.completions", {"messages": ASK, "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools=", "tools"),
    ("chat.completions", {"messages": ASK, "logprobs": True}, "logprobs=True", "logprobs"),
    ("chat.completions", {"messages": ASK, "extra_body": {"chat_template_kwargs": {"tokenize": False}}}, "'tokenize'", "chat_template_kwargs"),
    ("chat.completions", {"messages": ASK, "response_format": {"type": "json_object"}}, "json_object", "response_format"),
    ("chat.completions", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "image_url", "messages"),
    ("embeddings", {"input": "a"}, "'qwen3' is for text-generation", "model"),
]  # fmt: skip


@pytest.mark.parametrize(("interface", "arguments", "message", "parameter"), REFUSED, ids=lambda value: str(value)[:40])
def test_impossible_values_have_a_message_and_a_parameter(client, interface, arguments, message, parameter):
    resource = client
    for part in interface.split("."):
        resource = getattr(resource, part)
    with pytest.raises(openai.BadRequestError, match=message) as error:
        resource.create(**{"model": "qwen3"} | arguments)
    assert (error.value.type, error.value.param) == ("invalid_request_error", parameter)


def test_impossible_embeddings_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="dimensions=1000 is not possible"):
        client.embeddings.create(model="embeddings", input="a", dimensions=1000)
    with pytest.raises(openai.BadRequestError, match="602 tokens, and this model takes 512"):
        client.embeddings.create(model="embeddings", input="a " * 600)


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-9'") as error:
        client.completions.create(model="gpt-9", prompt=PROMPT)
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_a_wrong_key_is_refused(embeddings):
    with (
        serving(f"embeddings={embeddings}", TORCHLESS_API_KEY="right") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as error,
    ):
        client.models.list()
    assert error.value.code == "invalid_api_key"


def test_each_model_has_its_address(client):
    def at(name):
        return client.with_options(base_url=str(client.base_url).replace("/v1/", f"/models/{name}/v1"))

    chat = {"messages": ASK, "temperature": 0, "max_tokens": 8}
    by_name = client.chat.completions.create(model="qwen3", **chat)
    by_path = at("qwen3").chat.completions.create(model="another", **chat)
    assert (by_path.model, by_path.choices) == ("qwen3", by_name.choices)
    pieces = at("qwen3").chat.completions.create(model="another", **chat, stream=True)
    assert "".join(chunk.choices[0].delta.content for chunk in pieces) == by_name.choices[0].message.content
    text = at("gpt2").completions.create(model="another", prompt=PROMPT, temperature=0)
    assert text.choices == client.completions.create(model="gpt2", prompt=PROMPT, temperature=0).choices
    assert at("embeddings").embeddings.create(model="another", input="a").model == "embeddings"
    assert [model.id for model in at("gpt2").models.list()] == ["gpt2"]
    assert at("gpt2").models.retrieve("gpt2").id == "gpt2"
    with pytest.raises(openai.NotFoundError, match="the address of gpt2"):
        at("gpt2").models.retrieve("qwen3")
    with pytest.raises(openai.BadRequestError, match="names no model") as error:
        client.completions.create(model=None, prompt=PROMPT)
    assert error.value.param == "model"


def test_the_newest_clients_pass_these_tests(folders, newest_clients):
    newest_clients(__file__)

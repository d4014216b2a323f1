from itertools import islice

import pytest
from fixtures.chat_templates import CHATML, GEMMA, MISTRAL
from fixtures.comparison import assert_same
from parity.contracts.contract import CUT
from parity.contracts.text_generation import ASK, FAMILIES, GREEDY, TEXTS

from torchless.errors import OptionError

CHAT = [{"role": "system", "content": "Be brief."}, *ASK, {"role": "assistant", "content": "A model"}]


@pytest.fixture(scope="module")
def both(both_on):
    """Both pipelines of a family, by its configuration."""
    return lambda family="gpt2", **settings: both_on(family, "text-generation", **settings)


@pytest.mark.filterwarnings(CUT)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options",
    [
        {"return_full_text": False},
        {"return_full_text": True},
        {"return_tensors": True},
        {"return_tensors": False},
        {"return_text": True},
        {"clean_up_tokenization_spaces": False},
        {"skip_special_tokens": False},
        {"add_special_tokens": False},
        {"prefix": "So: "},
        {"prefix": "So: ", "return_full_text": False},
        {"truncation": True, "tokenizer_encode_kwargs": {"max_length": 4}},
        {"num_beams": 3, "num_return_sequences": 2, "return_tensors": True},
        {"num_beams": 2, "length_penalty": 2.0, "early_stopping": True},
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
        {"stop_sequence": "e"},
        {"stop_strings": ["a"], "return_tensors": True},
        {"max_new_tokens": None, "max_length": 60},
        {"min_new_tokens": 7, "eos_token_id": [5, 260]},
    ],
    ids=str,
)
def test_options(both, family, options):
    pipes = both(family)
    needed = {"tokenizer": pipes.reference.tokenizer} if "stop_strings" in options else {}
    expected = pipes.reference(TEXTS, **GREEDY | options, **needed)
    assert_same(expected, pipes.ours(TEXTS, **GREEDY | options))


def test_a_hole(both):
    both().assert_same(TEXTS[0], do_sample=False, max_new_tokens=507, handle_long_generation="hole")


@pytest.mark.parametrize("template", [CHATML, GEMMA, MISTRAL], ids=["chatml", "gemma", "mistral"])
@pytest.mark.parametrize("chat", [ASK, CHAT, [ASK, ASK], [ASK, CHAT[1:]]], ids=["asks", "continues", "two", "mixed"])
def test_chats(both, template, chat):
    pipes = both("llama")
    pipes.reference.tokenizer.chat_template = pipes.ours.tokenizer.chat_template = template
    for options in ({}, {"return_full_text": False}, {"return_tensors": True}):
        pipes.assert_same(chat, **GREEDY, **options)


def test_a_chat_is_continued_or_answered(both):
    pipes = both("qwen3")
    for continued in (True, False):
        pipes.assert_same(CHAT, **GREEDY, continue_final_message=continued)
    pipes.assert_same(lambda: (chat for chat in [ASK, CHAT]), **GREEDY)
    pipes.assert_same(ASK, **GREEDY, tokenizer_encode_kwargs={"chat_template": MISTRAL})


@pytest.mark.parametrize(
    "params",
    [
        {"max_length": 30},
        {"do_sample": False, "max_new_tokens": 4},
        {"num_beams": 2, "prefix": "So: ", "max_new_tokens": 5},
    ],
    ids=str,
)
def test_task_specific_params(both, params):
    pipes = both(task_specific_params={"text-generation": {"do_sample": False, **params}})
    pipes.assert_same(TEXTS, max_new_tokens=6)
    pipes.assert_same(TEXTS[0], **({} if "max_new_tokens" in params else {"max_new_tokens": 6}))


@pytest.mark.parametrize(
    "values", [{"max_length": 60}, {"num_beams": 2}, {"eos_token_id": [0, 260]}, {"top_k": 3}], ids=str
)
def test_the_generation_config_of_the_checkpoint(both_configured, values):
    both_configured("gpt2", "text-generation", generation_config=values).assert_same(
        TEXTS, do_sample=False, **({} if "max_length" in values else {"max_new_tokens": 6})
    )


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"max_length": 60},
        {"max_new_tokens": 9},
        {"temperature": 0.5, "do_sample": True, "top_p": 0.9},
    ],
    ids=str,
)
def test_the_defaults_of_the_checkpoint_and_of_the_task(both_configured, values):
    pipes = both_configured("gpt2", "text-generation", generation_config=values)
    expected, got = pipes.reference.generation_config, pipes.ours.generation_config
    names = ("max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "pad_token_id", "eos_token_id")
    assert {name: getattr(expected, name) for name in names} == {name: getattr(got, name) for name in names}


def test_an_empty_prompt(both):
    for family in ("gpt2", "qwen3"):
        pipes = both(family, **({"bos_token_id": 5} if family == "qwen3" else {}))
        pipes.assert_same("", **GREEDY)
        pipes.assert_same("", **GREEDY, return_tensors=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"prefix": "So: "}, {"skip_special_tokens": False}, {"num_beams": 1}], ids=str)
def test_a_stream_is_the_text(both, family, options):
    ours = both(family).ours
    for text in (*TEXTS, ""):
        if not text and family != "gpt2":
            continue
        (answer,) = ours(text, **GREEDY | {"max_new_tokens": 20}, **options, return_full_text=False)
        pieces = list(ours.stream(text, **GREEDY | {"max_new_tokens": 20}, **options))
        assert "".join(pieces) == answer["generated_text"]
        assert len(pieces) > 1
        assert all(pieces)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({}, "length"), ({"stop_strings": ["e"]}, "stop_sequence"), ({"eos_token_id": list(range(3, 600))}, "eos_token")],
    ids=["length", "text", "token"],
)
def test_details_of_an_answer(both, options, reason):
    ours = both("gpt2").ours
    options = GREEDY | {"max_new_tokens": 30} | options
    (tokens,) = ours(TEXTS[0], **options, return_tensors=True)
    (text,) = ours(TEXTS[0], **options, return_full_text=False)
    (answer,) = ours(TEXTS[0], **options, return_full_text=False, return_details=True)
    prompt = len(ours.tokenizer.encode(TEXTS[0]))
    details = {
        "generated_tokens": len(tokens["generated_token_ids"]) - prompt,
        "finish_reason": reason,
        "prompt_tokens": prompt,
    }
    assert answer == {**text, **details}
    *pieces, last = ours.stream(TEXTS[0], **options, return_details=True)
    assert [piece["generated_tokens"] for piece in pieces] == list(range(1, len(pieces) + 1))
    assert "".join(piece["text"] for piece in (*pieces, last)) == text["generated_text"]
    assert last == {**details, "text": last["text"]}


def test_sequences_of_one_prompt_end_independently(both):
    ours = both("gpt2").ours
    options = {"do_sample": True, "seed": 3, "num_return_sequences": 4, "max_new_tokens": 30, "stop_strings": ["e"]}
    answers = ours(TEXTS[0], **options, return_full_text=False, return_details=True)
    counts = [answer["generated_tokens"] for answer in answers]
    assert len(set(counts)) > 1
    for answer, count in zip(answers, counts, strict=True):
        assert (count < 30) <= (answer["finish_reason"] == "stop_sequence")
        assert answer["generated_text"].count("e") <= 2


def test_a_chat_streams(both):
    ours = both("qwen3").ours
    (answer,) = ours(ASK, **GREEDY, return_full_text=False)
    assert "".join(ours.stream(ASK, **GREEDY)) == answer["generated_text"]


def test_a_stream_stops_with_its_caller(both, monkeypatch):
    ours = both("gpt2").ours
    steps = []
    run = ours.model.session.run
    monkeypatch.setattr(ours.model.session, "run", lambda *arguments: steps.append(1) or run(*arguments))
    list(islice(ours.stream(TEXTS[0], do_sample=False, max_new_tokens=200), 3))
    assert len(steps) < 20
    assert ours(TEXTS[0], **GREEDY)


def test_draws_with_a_seed_are_the_same_in_a_list(both):
    ours = both("gpt2").ours
    options = {"do_sample": True, "seed": 7, "max_new_tokens": 8, "num_return_sequences": 2}
    assert ours(TEXTS, **options) == [ours(text, **options) for text in TEXTS]
    assert ours(TEXTS, **options) != ours(TEXTS, **options | {"seed": 8})


@pytest.mark.parametrize("options", [{"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}], ids=str)
def test_what_cannot_be_streamed(both, options):
    with pytest.raises(OptionError, match="cannot be streamed"):
        both("gpt2").ours.stream("It is", **GREEDY | options)

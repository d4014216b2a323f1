from functools import cache

import pytest
from fixtures.comparison import assert_same
from fixtures.texts import LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.multiple_choice import ARCHITECTURES, HARD, RAIN, REAL, reference

import torchless

TASK = "multiple-choice"


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def reference_on(tiny):
    """The reference on an architecture; each is loaded once."""
    return cache(lambda architecture: reference(TASK, tiny.checkpoint(architecture, TASK)))


@pytest.fixture(scope="module")
def choose(tiny):
    return torchless.pipeline(TASK, tiny.export("bert", TASK), threads=1)


def test_hard_texts_and_real_ones(architecture, reference_on, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1)
    questions = [*HARD, *REAL]
    assert_same([reference_on(architecture)(question) for question in questions], ours(questions))


@pytest.mark.filterwarnings(CUT)
def test_long_text(architecture, reference_on, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1)
    for question in (
        {"prompt": "What is it?", "choices": ["A text.", LONG_TEXT[:4000]]},
        {"prompt": LONG_TEXT[:4000], "choices": ["It ends.", LONG_TEXT[7:4000]]},
    ):
        assert_same(reference_on(architecture)(question, truncation=True), ours(question, truncation=True))
        with pytest.raises(torchless.InputError, match=r"this model takes 512[\s\S]*truncation=True"):
            ours(question)


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": True},
        {"truncation": True, "max_length": 10},
        {"truncation": "longest_first", "max_length": 9},
        {"truncation": "only_first", "max_length": 14},
        {"truncation": "only_second", "max_length": 20},
        {"truncation": False},
        {"truncation": "do_not_truncate", "max_length": 10},
        {"add_special_tokens": False},
        {"add_special_tokens": False, "truncation": True, "max_length": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.filterwarnings("ignore:`max_length` is ignored when `padding`=`True`")
@pytest.mark.filterwarnings(CUT)
def test_options(architecture, built, options, reference_on, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1, **(options if built else {}))
    assert_same(reference_on(architecture)(RAIN, **options), ours(RAIN, **({} if built else options)))


def test_a_single_choice_has_the_whole_score(choose):
    assert choose(prompt="It rains.", choices=["I know."]) == [{"choice": "I know.", "index": 0, "score": 1.0}]


def test_equal_choices_keep_their_order(choose):
    answers = choose(prompt="It rains.", choices=["Yes.", "No.", "Yes.", "No."])
    assert [answer["index"] for answer in answers] in ([0, 2, 1, 3], [1, 3, 0, 2])
    assert sum(answer["score"] for answer in answers) == pytest.approx(1)


@settings(max_examples=200, deadline=None)
@given(prompt=st.text(min_size=1, max_size=40), choices=st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_text(prompt, choices, reference_on, choose):
    expected = reference_on("bert")({"prompt": prompt, "choices": choices})
    got = choose(prompt=prompt, choices=choices)
    # choices that become the same tokens have equal scores: the order between those is rounding
    assert_same(*(sorted(answers, key=lambda answer: answer["index"]) for answers in (expected, got)))
    assert [answer["score"] for answer in got] == sorted((answer["score"] for answer in got), reverse=True)


def test_a_choice_that_cannot_be_cut(choose):
    with pytest.raises(torchless.InputError, match=r"cannot encode this[\s\S]*truncation='longest_first'"):
        choose(RAIN, truncation="only_second", max_length=8)

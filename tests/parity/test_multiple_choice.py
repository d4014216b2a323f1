import pytest
import torch
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import assert_same
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

import torchless
from torchless_export.sample import sample_texts

TASK = "multiple-choice"
ARCHITECTURES = [name for name in CONFIGS if name != "modernbert"]  # which has no head for it
RAIN = {"prompt": "It rains. What do you take?", "choices": ["An umbrella.", "A spoon.", "My time, and some more."]}
EATING = {"prompt": "A man eats.", "choices": ["Someone is eating.", "Nobody is."]}
HARD = [
    {"prompt": "What is it?", "choices": list(HARD_TEXTS.values())},
    *({"prompt": text, "choices": ["One.", "Another one.", "…"]} for text in HARD_TEXTS.values() if text),
]
REAL = [{"prompt": text, "choices": sample_texts(4)} for text in sample_texts(6)]
cut_on_purpose = pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(scope="module")
def by_hand(tiny):
    """What the documentation of AutoModelForMultipleChoice does: each choice is a pair with the prompt."""
    loaded = {}

    def load(architecture):
        checkpoint = tiny.checkpoint(architecture, TASK)
        model = transformers.AutoModelForMultipleChoice.from_pretrained(checkpoint).eval()
        return transformers.AutoTokenizer.from_pretrained(checkpoint), model

    def answer(architecture, question, **options):
        if architecture not in loaded:
            loaded[architecture] = load(architecture)
        tokenizer, model = loaded[architecture]
        choices = question["choices"]
        inputs = tokenizer([question["prompt"]] * len(choices), choices, padding=True, return_tensors="pt", **options)
        with torch.inference_mode():
            (scores,) = model(**{name: tensor[None] for name, tensor in inputs.items()}).logits.softmax(-1).tolist()
        every = [
            {"choice": choice, "index": index, "score": score}
            for index, (choice, score) in enumerate(zip(choices, scores, strict=True))
        ]
        return sorted(every, key=lambda one: -one["score"])

    return answer


@pytest.fixture(scope="module")
def choose(tiny):
    return torchless.pipeline(TASK, tiny.export("bert", TASK), threads=1)


def test_hard_texts_and_real_ones(architecture, by_hand, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1)
    questions = [*HARD, *REAL]
    assert_same([by_hand(architecture, question) for question in questions], ours(questions))


@cut_on_purpose
def test_long_text(architecture, by_hand, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1)
    for question in (
        {"prompt": "What is it?", "choices": ["A text.", LONG_TEXT[:4000]]},
        {"prompt": LONG_TEXT[:4000], "choices": ["It ends.", LONG_TEXT[7:4000]]},
    ):
        assert_same(by_hand(architecture, question, truncation=True), ours(question, truncation=True))
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
@cut_on_purpose
def test_options(architecture, built, options, by_hand, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1, **(options if built else {}))
    assert_same(by_hand(architecture, RAIN, **options), ours(RAIN, **({} if built else options)))


@cut_on_purpose
def test_options_of_the_call_are_stronger(by_hand, tiny):
    ours = torchless.pipeline(TASK, tiny.export("bert", TASK), threads=1, truncation=True, max_length=8)
    assert_same(by_hand("bert", RAIN, truncation=True, max_length=10), ours(RAIN, max_length=10))
    assert_same(by_hand("bert", RAIN), ours(RAIN, truncation=False, max_length=None))
    assert_same(by_hand("bert", RAIN), ours(RAIN, truncation=False, padding=True))


def test_shapes_of_inputs(by_hand, choose):
    rain, eating = by_hand("bert", RAIN), by_hand("bert", EATING)
    assert_same(rain, choose(RAIN))
    assert_same(rain, choose(**RAIN))
    assert_same(rain, choose(prompt=RAIN["prompt"], choices=tuple(RAIN["choices"])))
    assert_same([rain], choose([RAIN]))
    assert_same([rain, eating], choose([RAIN, EATING]))
    prompts, choices = [RAIN["prompt"], EATING["prompt"]], [RAIN["choices"], EATING["choices"]]
    assert_same([rain, eating], choose(prompt=prompts, choices=choices))
    assert_same([rain], choose(prompt=prompts[:1], choices=choices[:1]))
    assert_same([rain, eating], list(choose(question for question in (RAIN, EATING))))
    assert choose([]) == []
    assert list(choose(iter([]))) == []
    one = {"prompt": "It rains.", "choices": ["I know."]}
    assert choose(one) == [{"choice": "I know.", "index": 0, "score": 1.0}]


def test_an_iterator_is_read_only_as_far_as_needed(choose):
    answers = choose(question for question in [RAIN, None])
    assert next(answers)[0]["choice"] in RAIN["choices"]
    with pytest.raises(torchless.InputError, match="The input is None"):
        next(answers)


def test_equal_choices_keep_their_order(choose):
    answers = choose(prompt="It rains.", choices=["Yes.", "No.", "Yes.", "No."])
    assert [one["index"] for one in answers] in ([0, 2, 1, 3], [1, 3, 0, 2])
    assert sum(one["score"] for one in answers) == pytest.approx(1)


def test_batch_size_changes_no_answer(architecture, tiny):
    ours = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1)
    questions = [*HARD, *REAL]
    alone = [ours(question, batch_size=1) for question in questions]
    for batch_size in (1, 3, 32):
        assert_same(alone, ours(questions, batch_size=batch_size), tolerance=1e-5)
        built = torchless.pipeline(TASK, tiny.export(architecture, TASK), threads=1, batch_size=batch_size)
        assert_same(alone[-3:], built(questions[-3:]), tolerance=1e-5)


@settings(max_examples=200, deadline=None)
@given(prompt=st.text(min_size=1, max_size=40), choices=st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_text(prompt, choices, by_hand, choose):
    expected = by_hand("bert", {"prompt": prompt, "choices": choices})
    got = choose(prompt=prompt, choices=choices)
    # choices that become the same tokens have equal scores: the order between those is rounding
    assert_same(*(sorted(answers, key=lambda one: one["index"]) for answers in (expected, got)))
    assert [one["score"] for one in got] == sorted((one["score"] for one in got), reverse=True)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("It rains.", r"input is 'It rains.', of type str[\s\S]*Give \{\"prompt\": …, \"choices\": …\}"),
        (1, r"input is 1, of type int[\s\S]*Give \{\"prompt\""),
        ([RAIN, "It rains."], r"input is 'It rains.', of type str[\s\S]*Give \{\"prompt\""),
        ({"prompt": "It rains."}, r"has no choices[\s\S]*Give \{\"prompt\""),
        ({"choices": ["Yes."]}, r"has no prompt[\s\S]*Give \{\"prompt\""),
        ({"prompt": None, "choices": ["Yes."]}, r"has no prompt[\s\S]*Give \{\"prompt\""),
        ({"prompt": "", "choices": ["Yes."]}, r"prompt of the input is empty: ''[\s\S]*Give \{\"prompt\""),
        ({"prompt": "It rains.", "choices": []}, r"choices of the input is empty: \[\][\s\S]*Give \{\"prompt\""),
        ({"prompt": "It rains.", "choices": "Yes."}, r"choices are 'Yes.', not a list[\s\S]*Give a list of strings"),
        ({"prompt": "It rains.", "choices": [1]}, r"A choice is 1, of type int, not a string[\s\S]*Give a string"),
        ({"prompt": "It rains.", "choices": ["A", None]}, r"A choice is None[\s\S]*Give a string"),
        ({"prompt": 1, "choices": ["Yes."]}, r"The prompt is 1, of type int, not a string[\s\S]*Give a string"),
    ],
    ids=str,
)
def test_wrong_inputs(choose, inputs, message):
    with pytest.raises(torchless.InputError, match=message):
        choose(inputs)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, r"gives nothing[\s\S]*Give prompt=…, choices=…"),
        ({"prompt": "It rains."}, r"gives prompt[\s\S]*Give prompt=…, choices=…"),
        ({"choices": ["Yes."]}, r"gives choices[\s\S]*Give prompt=…, choices=…"),
        (
            {"inputs": RAIN, "prompt": "It rains."},
            r"gives prompt in addition to its inputs[\s\S]*Give prompt=…, choices=…",
        ),
        ({"inputs": RAIN, **EATING}, r"gives prompt, choices in addition to its inputs[\s\S]*Give prompt=…, choices=…"),
        (
            {"prompt": ["A", "B"], "choices": [["Yes."]]},
            r"differ in length: 2 prompt, 1 choices[\s\S]*lists of the same length",
        ),
        ({"prompt": ["A", "B"], "choices": ["Yes.", "No."]}, r"choices are 'Yes.', not a list"),
    ],
    ids=str,
)
def test_wrong_calls(choose, named, message):
    with pytest.raises(torchless.InputError, match=message):
        choose(**named)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 1}, r"no option 'top_k'[\s\S]*Valid: add_special_tokens, max_length, padding, truncation"),
        ({"truncate": True}, r"no option 'truncate'[\s\S]*Did you mean 'truncation'"),
        ({"batch_size": 0}, r"batch_size=0[\s\S]*Give a number of rows"),
    ],
    ids=str,
)
def test_wrong_options(choose, tiny, built, options, message):
    with pytest.raises(torchless.OptionError, match=message):
        torchless.pipeline(TASK, tiny.export("bert", TASK), threads=1, **options) if built else choose(RAIN, **options)


@pytest.mark.parametrize("options", [{"truncation": "longest"}, {"truncation": True, "max_length": -1}], ids=str)
def test_wrong_truncation(choose, options):
    with pytest.raises(torchless.OptionError, match="'longest'|max_length=-1"):
        choose(RAIN, **options)


def test_a_choice_that_cannot_be_cut(choose):
    with pytest.raises(torchless.InputError, match=r"cannot encode this[\s\S]*truncation='longest_first'"):
        choose(RAIN, truncation="only_second", max_length=8)


def test_a_warning_where_something_was_cut(choose):
    with pytest.warns(torchless.TruncationWarning, match="1 of 2 inputs were cut to 20 tokens"):
        choose([RAIN, {"prompt": LONG_TEXT, "choices": ["Yes.", "No."]}], truncation=True, max_length=20)

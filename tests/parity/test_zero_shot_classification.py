import json
import shutil
from functools import cache, partial

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import Both, assert_same
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import torchless
from torchless_export.sample import sample_texts

TASK, GRAPH = "zero-shot-classification", "text-classification"
LABELS = ["politics", "sport", "a film, or a book", "education"]
TEXT = "Who are you voting for this year?"
TEXTS = [*filter(None, HARD_TEXTS.values()), *sample_texts(6)]
CUT = "ignore::torchless.TruncationWarning"


def labelled(*names):
    """The configuration of a model whose logits stand for these labels."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


NLI = labelled("contradiction", "neutral", "entailment")


@pytest.fixture(scope="module")
def on(both_on):
    """Both sides on an architecture, each loaded once."""
    return cache(partial(both_on, task=TASK, **NLI))


@pytest.fixture(params=CONFIGS)
def both(request, on):
    return on(request.param)


@pytest.fixture
def bert(on):
    return on("bert")


def test_hard_and_real_texts(both):
    both.assert_same(TEXTS, candidate_labels=LABELS)


@pytest.mark.parametrize("texts", [[], [TEXT], [TEXT, "A film.", TEXT]], ids=len)
def test_a_list_and_a_generator(bert, texts):
    bert.assert_same(texts, candidate_labels=LABELS)
    bert.assert_same(lambda: (text for text in texts), candidate_labels=LABELS)


@pytest.mark.parametrize(
    "candidate_labels",
    [
        LABELS,
        tuple(LABELS),
        ["politics"],
        "politics",
        "politics, sport",
        " politics ,, sport,a film ,",
        [" politics ", "sport, or not"],
        ["politics", ""],
        ["politics", "politics"],
        ["é", "政治", "🌈", "[MASK]", "{}", "{0}", "a {label}"],
        [f"label {number}" for number in range(40)],
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"hypothesis_template": "{}"}], ids=str)
def test_candidate_labels(bert, candidate_labels, options):
    bert.assert_same(TEXT, candidate_labels=candidate_labels, **options)
    bert.assert_same(TEXT, candidate_labels, **options)


@pytest.mark.parametrize(
    "template",
    ["{}", "{0}", "{} ", "{0}, or {0}", "{{}} {}", "{{", "{{}}", "{!r}", "{:>12}", "{:.2}", "{} 政治 é 🌈", "[SEP] {}"],
)
@pytest.mark.parametrize("multi_label", [False, True])
def test_hypothesis_template(bert, template, multi_label):
    bert.assert_same([TEXT, "A film."], LABELS, hypothesis_template=template, multi_label=multi_label)


@pytest.mark.parametrize(
    ("built", "called"),
    [
        ({"candidate_labels": "politics, sport"}, {}),
        ({"candidate_labels": ("politics", "sport")}, {"multi_label": True}),
        ({"candidate_labels": ("politics", "sport")}, {"candidate_labels": LABELS}),
        ({"hypothesis_template": "About {}."}, {"candidate_labels": LABELS}),
        ({"hypothesis_template": "About {}."}, {"candidate_labels": LABELS, "hypothesis_template": "{}"}),
        ({"multi_label": True}, {"candidate_labels": LABELS}),
        ({"multi_label": True}, {"candidate_labels": LABELS, "multi_label": False}),
        ({"multi_label": True, "candidate_labels": "politics"}, {"hypothesis_template": "{}?"}),
        ({"batch_size": 2}, {"candidate_labels": LABELS}),
    ],
    ids=str,
)
def test_options_of_the_constructor_and_the_call(both_on, built, called):
    both = both_on("roberta", TASK, built=built, **NLI)
    both.assert_same(TEXT, **called)
    both.assert_same([TEXT, "A film."], **called)


@pytest.fixture
def with_labels(tiny, tmp_path):
    """The folders of a checkpoint and of its export, their labels renamed."""

    def rename(*names):
        config = NLI if len(names) == 3 else {"num_labels": len(names)}
        for folder in (make("roberta", GRAPH, **config) for make in (tiny.checkpoint, tiny.export)):
            renamed = shutil.copytree(folder, tmp_path / folder.name)
            values = json.loads((renamed / "config.json").read_text(encoding="utf-8"))
            values |= {name: value for name, value in labelled(*names).items() if name != "num_labels"}
            (renamed / "config.json").write_text(json.dumps(values), encoding="utf-8")
            yield renamed

    return rename


@pytest.mark.parametrize(
    "names",
    [
        ("entailment", "neutral", "contradiction"),
        ("contradiction", "entailment", "neutral"),
        ("CONTRADICTION", "NEUTRAL", "Entailment"),
        ("entails", "neutral", "contradicts"),
        ("neutral", "entails", "entailment"),
        ("no", "maybe", "yes"),
        ("entailment", "not_entailment"),
        ("not_entailment", "entailment"),
        ("entailment",),
    ],
    ids=", ".join,
)
@pytest.mark.filterwarnings("ignore:No label of this model means entailment")
def test_which_label_means_entailment(with_labels, names):
    checkpoint, exported = with_labels(*names)
    both = Both(transformers.pipeline(TASK, model=str(checkpoint), device="cpu"), torchless.pipeline(TASK, exported))
    for multi_label in (False, True):
        both.assert_same([TEXT, "A film."], LABELS, multi_label=multi_label)
    both.assert_same(TEXT, "politics")


def test_no_label_means_entailment(with_labels):
    _, exported = with_labels("no", "maybe", "yes")
    with pytest.warns(
        UserWarning, match=r"means entailment: no, maybe, yes\. The last label is used instead"
    ) as caught:
        torchless.pipeline(TASK, exported)
    assert [warning.filename for warning in caught] == [__file__]


def test_batch_size_changes_no_answer(both):
    alone = [both.ours(text, LABELS) for text in TEXTS]
    for batch_size in (1, 3, 32):
        assert_same(alone, both.ours(TEXTS, LABELS, batch_size=batch_size), tolerance=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
def test_equal_hypotheses_keep_the_order_of_the_reference(bert, multi_label):
    labels = ["sport", "Sport", "politics", "a label that is much longer than the others", "SPORT", "Politics"]
    for times in (1, 3, 8):
        bert.assert_same(TEXT, labels * times, multi_label=multi_label)


def postprocessed(both, logits, *, multi_label, shift=0.0):
    """The reference's answer to logits, and ours to the same, raised by `shift`."""
    labels = [f"label {number}" for number in range(len(logits))]
    outputs = [
        {"candidate_label": label, "sequence": TEXT, "logits": torch.tensor([row])}
        for label, row in zip(labels, logits, strict=True)
    ]
    options = both.ours.with_options(both.ours.options, {"candidate_labels": labels, "multi_label": multi_label})
    rows = both.ours.preprocess(TEXT, options)
    shifted = [(np.array(row, dtype=np.float32) + np.float32(shift),) for row in logits]
    return both.reference.postprocess(outputs, multi_label=multi_label), both.ours.postprocess(
        TEXT, rows, shifted, options
    )


@pytest.mark.parametrize("multi_label", [False, True])
@settings(max_examples=100, deadline=None)
@given(kinds=st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_ties(on, kinds, multi_label):
    logits = [[0.5 * kind, 1.0, -0.25 * kind * kind] for kind in kinds]
    assert_same(*postprocessed(on("bert"), logits, multi_label=multi_label))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_logits_whose_exponentials_have_no_float(bert, multi_label, shift):
    logits = [[1.5, 0.0, -2.0], [-0.5, 1.0, 3.0], [0.25, -1.0, 0.75]]
    assert_same(*postprocessed(bert, logits, multi_label=multi_label, shift=shift))


@pytest.mark.filterwarnings(CUT)
def test_a_long_text_is_cut_but_no_hypothesis(both):
    both.assert_same([LONG_TEXT, LONG_TEXT[:2500], TEXT], LABELS, multi_label=True)


@pytest.mark.filterwarnings(CUT)
def test_truncated_tells_which_texts_were_cut(bert):
    answers = bert.ours([LONG_TEXT, TEXT], LABELS, return_truncated=True)
    assert [answer["truncated"] for answer in answers] == [True, False]


@pytest.mark.filterwarnings(CUT)
def test_a_hypothesis_that_leaves_little_room_or_none(on):
    both = on("modernbert")  # its positions have no end, so both answer
    longest = both.ours.tokenizer.model_max_length
    for words in (longest - 12, *range(longest - 7, longest + 2), 2 * longest):
        both.assert_same("A film that is on at nine.", ["the" + " the" * (words - 1)], hypothesis_template="{}")


def test_a_hypothesis_that_is_longer_than_the_model_takes(bert):
    with pytest.raises(RuntimeError):
        bert.reference(TEXT, ["politics", "sport " * 600])
    with pytest.raises(
        torchless.InputError, match=r"has 61\d tokens.* takes 512\.\n  Give a shorter text, label, or hyp"
    ):
        bert.ours(TEXT, ["politics", "sport " * 600])


@pytest.mark.parametrize("text", ["", ["A film.", ""]], ids=repr)
def test_an_empty_text(bert, text):
    with pytest.raises(ValueError, match="at least one sequence"):
        bert.reference(text, LABELS)
    with pytest.raises(torchless.InputError, match=r"The text is empty\.\n  Give a text"):
        bert.ours(text, LABELS)


@pytest.mark.parametrize("text", [None, 1, b"A film.", ("a", "b"), {"text": "a"}, [["a", "b"]], ["a", None]], ids=repr)
def test_wrong_inputs(bert, text):
    with pytest.raises(torchless.InputError, match=r"The input is .*, of type .*\n  Give a string"):
        bert.ours(text, LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"There are no candidate_labels\.\n  Give them: candidate_labels=\['sports'"),
        ({"candidate_labels": []}, r"There are no candidate_labels\.\n  Give at least one label"),
        ({"candidate_labels": ""}, "There are no candidate_labels"),
        ({"candidate_labels": " , ,"}, "There are no candidate_labels"),
        ({"candidate_labels": [1, 2]}, r"candidate_labels=\[1, 2\] is not possible\.\n  Give a list of strings"),
        ({"candidate_labels": {"a": "b"}}, "candidate_labels={'a': 'b'} is not possible"),
        (
            {"candidate_label": "a"},
            r"no option 'candidate_label'\.\n  Did you mean 'candidate_labels'\? Valid: .*multi",
        ),
        ({"candidate_labels": "a", "multi_class": True}, r"no option 'multi_class'\.\n  Did you mean 'multi_label'"),
        ({"candidate_labels": "a", "truncation": True}, "no option 'truncation'"),
        ({"candidate_labels": "a", "batch_size": 0}, "batch_size=0 is not possible"),
    ],
    ids=str,
)
def test_wrong_options(bert, options, message):
    with pytest.raises(torchless.OptionError, match=message):
        bert.ours(TEXT, **options)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("This example.", r"='This example.' has no place for a label\.\n  Put {} where the label goes"),
        ("", "='' has no place for a label"),
        ("}", r"='}' cannot be filled with 'label': ValueError.*\n  Put {} where the label goes"),
        ("{", "='{' cannot be filled"),
        ("{label}", "='{label}' cannot be filled with 'label': KeyError"),
        ("{} {}", "='{} {}' cannot be filled with 'label': IndexError"),
        ("{1}", r"='{1\}' cannot be filled"),
        ("{:d}", "='{:d}' cannot be filled"),
        ("{0.name}", "='{0.name}' cannot be filled with 'label': AttributeError"),
        ("{0[a]}", r"='{0\[a\]}' cannot be filled with 'label': TypeError"),
        ("{0[3]}", r"='{0\[3\]}' cannot be filled with 'a': IndexError"),
        (None, "=None cannot be filled"),
        (5, "=5 cannot be filled"),
    ],
)
def test_templates_that_no_label_fits_into(bert, template, message):
    with pytest.raises((ValueError, KeyError, IndexError, AttributeError, TypeError)):
        bert.reference(TEXT, ["a", "b"], hypothesis_template=template)
    with pytest.raises(torchless.OptionError, match="hypothesis_template" + message):
        bert.ours(TEXT, ["a", "b"], hypothesis_template=template)


def test_the_steps_are_separate(tiny):
    classify = torchless.pipeline(TASK, tiny.export("bert", GRAPH, **NLI), candidate_labels=LABELS)
    rows = classify.preprocess(TEXT)
    assert len(rows) == len(LABELS)
    assert classify.postprocess(TEXT, rows, classify.forward(rows)) == classify(TEXT)


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(min_size=1, max_size=60),
    labels=st.lists(st.text(max_size=12), min_size=1, max_size=4),
    multi_label=st.booleans(),
)
def test_any_text_and_labels(text, labels, multi_label, on):
    assume(labels[0] != "{}")  # the reference finds no placeholder then
    on("bert").assert_same(text, labels, multi_label=multi_label)

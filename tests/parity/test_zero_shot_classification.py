import json
import shutil
from functools import cache, partial

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.comparison import Both, assert_same
from fixtures.texts import LONG_TEXT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.zero_shot_classification import LABELS, NLI, TEXT, TEXTS, labelled

import torchless

TASK, GRAPH = "zero-shot-classification", "text-classification"


@pytest.fixture(scope="module")
def on(both_on):
    """Both sides on an architecture; each is loaded once."""
    return cache(partial(both_on, task=TASK, **NLI))


@pytest.fixture(params=CONFIGS)
def both(request, on):
    return on(request.param)


@pytest.fixture
def bert(on):
    return on("bert")


def test_hard_and_real_texts(both):
    both.assert_same(TEXTS, candidate_labels=LABELS)


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
    ["{}", "{0}", "{} ", "{0}, or {0}", "{{}} {}", "{{", "{{}}", "{} 政治 é 🌈", "[SEP] {}"],
)
@pytest.mark.parametrize("multi_label", [False, True])
def test_hypothesis_template(bert, template, multi_label):
    bert.assert_same([TEXT, "A film."], LABELS, hypothesis_template=template, multi_label=multi_label)


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
def test_truncated_marks_the_texts_that_were_cut(bert):
    answers = bert.ours([LONG_TEXT, TEXT], LABELS, return_truncated=True)
    assert [answer["truncated"] for answer in answers] == [True, False]


@pytest.mark.filterwarnings(CUT)
def test_a_hypothesis_that_leaves_little_room_or_none(on):
    both = on("modernbert")  # its positions have no end, so both answer
    max_tokens = both.ours.tokenizer.model_max_length
    for words in (max_tokens - 12, *range(max_tokens - 7, max_tokens + 2), 2 * max_tokens):
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


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("This example.", r"='This example.' has no place for a label\.\n  Put {} where the label goes"),
        ("", "='' has no place for a label"),
        ("}", r"='}' cannot be filled: Single '}'.*\n  Put {} where the label goes"),
        ("{", "='{' cannot be filled"),
        ("{label}", "='{label}' cannot be filled: only {} can be filled"),
        ("{} {}", "='{} {}' cannot be filled"),
        ("{} {0}", r"='{} {0\}' cannot be filled"),
        ("{1}", r"='{1\}' cannot be filled"),
        ("{:d}", "='{:d}' cannot be filled"),
        ("{0.name}", "='{0.name}' cannot be filled"),
        ("{0[a]}", r"='{0\[a\]}' cannot be filled"),
        ("{0[3]}", r"='{0\[3\]}' cannot be filled"),
        (None, "=None cannot be filled"),
        (5, "=5 cannot be filled"),
    ],
)
def test_templates_without_a_place_for_a_label(bert, template, message):
    with pytest.raises((ValueError, KeyError, IndexError, AttributeError, TypeError)):
        bert.reference(TEXT, ["a", "b"], hypothesis_template=template)
    with pytest.raises(torchless.OptionError, match="hypothesis_template" + message):
        bert.ours(TEXT, ["a", "b"], hypothesis_template=template)


@pytest.mark.parametrize("template", ["{!r}", "{:>12}", "{:.2}", "{:>20000000}", "{:{}}", "{0.__class__}", "{0}" * 9])
def test_templates_that_the_reference_fills_and_a_client_must_not(bert, template):
    with pytest.raises(torchless.OptionError, match="cannot be filled: only {} can be filled"):
        bert.ours(TEXT, ["a", "b"], hypothesis_template=template)


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(min_size=1, max_size=60),
    labels=st.lists(st.text(max_size=12), min_size=1, max_size=4),
    multi_label=st.booleans(),
)
def test_any_text_and_labels(text, labels, multi_label, on):
    assume(labels[0] != "{}")  # the reference finds no placeholder then
    on("bert").assert_same(text, labels, multi_label=multi_label)

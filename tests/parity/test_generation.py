"""Generation in NumPy, against `generate` of transformers on the same model, token for token."""

import numpy as np
import pytest
import torch
import transformers
from fixtures.generation import EOS, OTHER_EOS, PROMPTS, VOCABULARY, Pair, tiny_model
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import logits_processors, normalised
from torchless.generation.sampling import warpers
from torchless.generation.stopping import Stopping

FAMILIES = ["gpt2", "bart"]
ENDS = [EOS, 5, 16, 25, 39]  # several ends, so that rows end at different lengths

ALWAYS = [
    {},
    {"eos_token_id": None},
    {"eos_token_id": ENDS},
    {"eos_token_id": ENDS, "pad_token_id": 9},
    {"eos_token_id": ENDS, "min_new_tokens": 4},
    {"eos_token_id": ENDS, "min_length": 8},
    {"repetition_penalty": 1.7},
    {"encoder_repetition_penalty": 1.7},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 2},
    {"bad_words_ids": [[16], [10], [6, 6], [18, 18, 8]]},
    {"sequence_bias": [[[16], -4.0], [[18, 18], 3.0], [[6, 41], -8.0]]},
    {"suppress_tokens": [16, 10, 6], "begin_suppress_tokens": [23, 39]},
    {"forced_bos_token_id": 7, "forced_eos_token_id": 5},
    {"forced_bos_token_id": 7, "begin_suppress_tokens": [39, 25]},
    {"eos_token_id": ENDS, "exponential_decay_length_penalty": (2, 1.6)},
    {"remove_invalid_values": True, "renormalize_logits": True, "bad_words_ids": [[16]]},
]
BEAMS = [
    {"num_return_sequences": 3},
    {"eos_token_id": ENDS, "num_return_sequences": 3, "length_penalty": 2.0},
    {"eos_token_id": ENDS, "length_penalty": -1.0, "early_stopping": True},
    {"eos_token_id": ENDS, "length_penalty": 0.3, "early_stopping": "never", "num_return_sequences": 3},
    {"eos_token_id": ENDS, "early_stopping": True, "no_repeat_ngram_size": 2, "min_new_tokens": 3},
    {"eos_token_id": None, "pad_token_id": None, "num_return_sequences": 2},
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", ALWAYS)
def test_greedy(family, options):
    Pair(tiny_model(family)).assert_alike(max_new_tokens=10, **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [*ALWAYS, *BEAMS])
def test_beams(family, options):
    Pair(tiny_model(family, seed=1)).assert_alike(max_new_tokens=10, num_beams=3, **options)


@pytest.mark.parametrize(
    "options", [{}, {"max_length": 12}, {"max_length": 20}, {"max_length": 9, "max_new_tokens": 2}]
)
def test_lengths(options):
    Pair(tiny_model("gpt2")).assert_alike(**options)


def test_a_models_positions_cap_the_default_length():
    Pair(tiny_model("gpt2"), [[7, 11] * 30, [9] * 5]).assert_alike()


COMBINATIONS = st.fixed_dictionaries(
    {"num_beams": st.integers(1, 4)},
    optional={
        "eos_token_id": st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=6, unique=True),
        "length_penalty": st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.5]),
        "early_stopping": st.sampled_from([True, False, "never"]),
        "no_repeat_ngram_size": st.integers(1, 3),
        "encoder_no_repeat_ngram_size": st.integers(1, 3),
        "repetition_penalty": st.sampled_from([0.8, 1.3, 2.0]),
        "encoder_repetition_penalty": st.sampled_from([0.8, 1.3]),
        "min_length": st.integers(0, 9),
        "min_new_tokens": st.integers(0, 7),
        "bad_words_ids": st.lists(
            st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=3), min_size=1, max_size=9
        ),
        "forced_bos_token_id": st.integers(0, VOCABULARY - 1),
        "forced_eos_token_id": st.integers(0, VOCABULARY - 1),
        "renormalize_logits": st.booleans(),
    },
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_combinations(family, data):
    options = data.draw(COMBINATIONS)
    if options.get("forced_bos_token_id") in options.get("eos_token_id", ()):
        del options["forced_bos_token_id"]  # all beams would end at once, and continue with equal scores
    options["num_return_sequences"] = data.draw(st.integers(1, options["num_beams"]))
    Pair(tiny_model(family, data.draw(st.integers(0, 3)))).assert_alike(max_new_tokens=8, **options)


SAMPLING = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.8, "top_k": 0},
    {"top_k": 5},
    {"top_k": 0, "top_p": 0.7},
    {"top_p": 0.95, "temperature": 2.0},
    {"min_p": 0.1},
    {"typical_p": 0.6, "top_k": 0},
    {"typical_p": 0.2},
    {"epsilon_cutoff": 0.03},
    {"eta_cutoff": 0.05},
    {"top_k": 20, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.95, "epsilon_cutoff": 0.001, "temperature": 0.8},
    {"top_p": 0.5, "renormalize_logits": True, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("options", SAMPLING)
def test_the_distribution_that_is_drawn_from(options, num_beams):
    """The reference's processors and warpers beside ours, on the same scores."""
    model, random = tiny_model("gpt2"), np.random.default_rng(0)
    ids = np.array(PROMPTS[:1] * 6)
    scores = (3 * random.normal(size=(6, VOCABULARY))).astype(np.float32)
    options_of_both = {"do_sample": True, "num_beams": num_beams, "eos_token_id": [EOS, OTHER_EOS], **options}
    reference = transformers.GenerationConfig(**options_of_both)
    reference._eos_token_tensor = torch.tensor([EOS, OTHER_EOS])
    expected = model._get_logits_processor(reference, ids.shape[1], torch.tensor(ids))(
        torch.tensor(ids), torch.tensor(scores)
    )
    config = GenerationConfig(**options_of_both)
    got = scores.copy()
    processors = [*logits_processors(config, prompt_length=5, max_length=20, encoder_ids=ids), *warpers(config)]
    for process in processors + [normalised] * config.renormalize_logits:
        got = process(ids, got)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_samples_are_as_frequent(num_beams):
    """The first two tokens of 600 answers of each side are two samples of one distribution."""
    pair = Pair(tiny_model("gpt2", seed=3), [PROMPTS[0]] * 600)
    options = {"do_sample": True, "num_beams": num_beams, "top_k": 4, "temperature": 3.0, "max_new_tokens": 2}
    torch.manual_seed(0)
    sides = pair.reference(**options).sequences[:, -2:].numpy(), pair.ours(**options, seed=0)[1][:, -2:]
    counts = np.array([np.bincount(side @ [VOCABULARY, 1], minlength=VOCABULARY**2) for side in sides])
    counts = counts[:, counts.sum(axis=0) >= 10]  # rare ones have no statistics
    assert counts.shape[1] > 5
    chi_square = ((counts[0] - counts[1]) ** 2 / counts.sum(axis=0)).sum()
    assert chi_square < counts.shape[1] + 4 * (2 * counts.shape[1]) ** 0.5


def test_stop_strings(tiny):
    """The reference looks at its vocabulary's strings, we decode: rows end alike."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.checkpoint("gpt2", "text-generation"))
    rows = [
        tokenizer.encode(text) for text in ("It rains.\n\nAnd then it stops", "a bad film, a good film", "one, two;")
    ]
    for stops in (["\n\n"], [" film"], ["ood", "two"], ["n t", "ms"], [", "], ["e"]):
        reference = transformers.StopStringCriteria(tokenizer, stops)
        ours = Stopping(
            GenerationConfig(stop_strings=stops),
            max_length=1000,
            decode=lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False),
        )
        for row in rows:
            ids = np.array([row[:length] for length in range(1, len(row) + 1)], dtype=object)
            expected = [bool(reference(torch.tensor([part]), None)) for part in ids]
            got = [bool(ours.ended(np.array(part[-1:]), len(part), np.array([part]))[0]) for part in ids]
            assert got == expected, (stops, tokenizer.convert_ids_to_tokens(row))


@pytest.mark.parametrize(
    "checkpoint",
    [
        {},
        {"max_length": 60},
        {"max_length": 20},
        {"temperature": 0.5, "num_beams": 6, "top_p": 0.9},
        {"max_new_tokens": 7},
    ],
)
def test_a_pipelines_defaults(checkpoint, tiny):
    """They win over the checkpoint's values, but for a length."""
    folder = tiny.checkpoint("gpt2", "text-generation")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config = transformers.GenerationConfig(**checkpoint)
    reference = transformers.pipeline(
        "text-generation", model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder)
    )
    config = GenerationConfig.from_configs({}, checkpoint).with_defaults(
        max_new_tokens=256, do_sample=True, temperature=0.7
    )
    for name in ("max_new_tokens", "do_sample", "temperature", "num_beams", "top_p", "top_k"):
        assert getattr(config, name) == getattr(reference.generation_config, name), name
    assert config.max_length in {None, reference.generation_config.max_length}


def test_a_row_of_a_batch_is_what_it_is_alone():
    pair = Pair(tiny_model("gpt2"))
    together = pair.ours(max_new_tokens=8, eos_token_id=ENDS)[0].sequences
    alone = [Pair(pair.model, [row]).ours(max_new_tokens=8, eos_token_id=ENDS)[0].sequences[0] for row in PROMPTS]
    assert [row.tolist() for row in together] == [row.tolist() for row in alone]

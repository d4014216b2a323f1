import pytest

from torchless.errors import CheckpointError, OptionError
from torchless.generation.config import GenerationConfig


@pytest.mark.parametrize(
    "option",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": 2.5},
        {"max_length": True},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"temperature": 0.0, "do_sample": True},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 10**400, "do_sample": True},
        {"length_penalty": 10**400},
        {"max_time": 10**400},
        {"min_p": 2},
        {"typical_p": 0},
        {"repetition_penalty": 0},
        {"num_beams": 0},
        {"num_beams": None},
        {"early_stopping": "always"},
        {"do_sample": 1},
        {"bad_words_ids": [5]},
        {"bad_words_ids": [[]]},
        {"sequence_bias": {(): 1.0}},
        {"sequence_bias": [[[5], "much"]]},
        {"exponential_decay_length_penalty": 5},
        {"stop_strings": ""},
        {"stop_strings": ["a", ""]},
        {"eos_token_id": "</s>"},
        {"eos_token_id": [2**31]},
        {"pad_token_id": 2**63},
        {"forced_bos_token_id": 10**30},
        {"forced_eos_token_id": [2**31]},
        {"decoder_start_token_id": 2**31},
        {"suppress_tokens": [2**63]},
        {"num_return_sequences": 2},
    ],
)
def test_impossible_values(option):
    (name, value), *_ = option.items()
    with pytest.raises(OptionError) as error:
        GenerationConfig().updated(**option)
    assert f"{name}={value!r}" in error.value.problem
    assert "=" in error.value.hint


def test_more_sequences_than_beams():
    with pytest.raises(OptionError, match="num_return_sequences=3 is more than num_beams=2"):
        GenerationConfig().updated(num_beams=2, num_return_sequences=3)
    assert GenerationConfig().updated(do_sample=True, num_return_sequences=3).num_return_sequences == 3


def test_an_unknown_option():
    with pytest.raises(OptionError, match="no option 'max_tokens'") as error:
        GenerationConfig().updated(max_tokens=5)
    assert "max_new_tokens" in error.value.hint


@pytest.mark.parametrize(
    ("option", "mode"),
    [
        ({"penalty_alpha": 0.6}, "Contrastive search"),
        ({"num_beam_groups": 2}, "Group beam search"),
        ({"diversity_penalty": 0.5}, "Group beam search"),
        ({"assistant_model": "another"}, "Assisted generation"),
        ({"force_words_ids": [[5]]}, "Constrained generation"),
        ({"dola_layers": "high"}, "DoLa"),
        ({"guidance_scale": 2.0}, "Classifier-free guidance"),
    ],
)
def test_generation_modes_that_are_not_supported(option, mode):
    with pytest.raises(OptionError, match=mode):
        GenerationConfig().updated(**option)
    config = GenerationConfig.from_configs({}, option)
    with pytest.raises(OptionError, match=f"generation settings cannot be used: {mode}") as error:
        config.check_supported()
    (name,) = option
    assert f"Override it in the call: {name}=None" in error.value.hint
    replaced = config.updated(**{name: None})
    replaced.check_supported()
    assert replaced == GenerationConfig()


def test_neutral_values_of_these_modes_are_accepted():
    neutral = {"num_beam_groups": 1, "diversity_penalty": 0.0, "guidance_scale": None, "penalty_alpha": None}
    assert GenerationConfig().updated(**neutral) == GenerationConfig()


def test_the_files_of_a_folder():
    config = {"model_type": "bart", "num_beams": 4, "eos_token_id": 2, "forced_eos_token_id": None}
    assert GenerationConfig.from_configs(config, None) == GenerationConfig(num_beams=4, eos_token_id=2)
    assert GenerationConfig.from_configs(config, {"eos_token_id": [3, 5], "transformers_version": "4.57.6"}) == (
        GenerationConfig(eos_token_id=[3, 5])
    )


def test_an_impossible_value_in_a_file_is_an_error_until_a_call_replaces_it():
    config = GenerationConfig.from_configs({}, {"top_p": 7, "num_beams": 2})
    assert config.num_beams == 2
    with pytest.raises(OptionError, match=r"generation settings cannot be used: top_p=7 is not possible") as error:
        config.updated(top_k=5).check_supported()
    assert "top_p=0.95" in error.value.hint
    config.updated(top_p=0.5).check_supported()


def test_values_of_a_file_that_contradict_each_other():
    with pytest.raises(
        CheckpointError, match=r"generation_config.json: num_return_sequences=3 is more than num_beams=2"
    ):
        GenerationConfig.from_configs({}, {"num_beams": 2, "num_return_sequences": 3})


def test_a_temperature_of_zero_without_sampling():
    assert GenerationConfig().updated(temperature=0.0, do_sample=False).temperature == 0


def test_values_in_files_that_mean_nothing():
    values = {
        "max_length": 20,
        "temperature": 0,
        "do_sample": True,
        "num_beams": None,
        "top_k": None,
        "eos_token_id": -1,
    }
    config = GenerationConfig.from_configs({}, values)
    assert config == GenerationConfig(top_k=None, eos_token_id=-1)
    assert config.eos_token_ids == ()


def test_values_of_the_caller_take_precedence():
    config = GenerationConfig.from_configs({}, {"num_beams": 6, "temperature": 0.3})
    assert config.with_defaults(num_beams=4).updated(num_beams=2) == GenerationConfig(num_beams=2, temperature=0.3)


def test_the_length_of_a_folder_takes_precedence_over_the_length_of_a_pipeline():
    defaults = {"max_new_tokens": 256}
    assert GenerationConfig.from_configs({}, {"max_length": 60}).with_defaults(**defaults).max_total_length(10) == 60
    assert GenerationConfig.from_configs({}, {"max_length": 20}).with_defaults(**defaults).max_total_length(10) == 266


@pytest.mark.parametrize(
    ("options", "max_total_length"),
    [({}, 30), ({"max_length": 20}, 20), ({"max_new_tokens": 5}, 15), ({"max_length": 20, "max_new_tokens": 5}, 15)],
)
def test_max_total_length(options, max_total_length):
    assert GenerationConfig(**options).max_total_length(10) == max_total_length


def test_positions_of_a_model_limit_only_the_default_length():
    assert GenerationConfig().max_total_length(10, max_positions=16) == 16
    assert GenerationConfig(max_new_tokens=20).max_total_length(10, max_positions=16) == 30


def test_min_total_length():
    assert GenerationConfig(min_length=12).min_total_length(10) == 12
    assert GenerationConfig(min_length=12, min_new_tokens=5).min_total_length(10) == 15

"""`generate` of generative models, against that of the classes of the same names in transformers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import DECODERS, ENCODER_DECODERS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import torchless
from torchless import CheckpointError, InputError, OptionError
from torchless_export.sample import sample_texts

TEXTS = ["A film.", *sample_texts(2)]
TASKS = dict.fromkeys(DECODERS, "text-generation") | dict.fromkeys(ENCODER_DECODERS, "text2text-generation")


def both_of(family, tiny):
    """The reference's model and tokenizer, and ours."""
    task = TASKS[family]
    name = torchless.tasks.find_task(task).auto_class
    return [
        SimpleNamespace(
            model=getattr(package, name).from_pretrained(folder),
            tokenizer=package.AutoTokenizer.from_pretrained(folder),
            side="left" if task == "text-generation" else "right",
        )
        for package, folder in (
            (transformers, tiny.checkpoint(family, task)),
            (torchless, tiny.export(family, task)),
        )
    ]


@pytest.fixture(scope="module", params=TASKS)
def both(request, tiny):
    return both_of(request.param, tiny)


@pytest.fixture(scope="module")
def llama(tiny):
    return both_of("llama", tiny)


@pytest.fixture(scope="module")
def gpt2(tiny):
    return both_of("gpt2", tiny)


@pytest.fixture(scope="module")
def bart(tiny):
    return both_of("bart", tiny)


def inputs_of(side, texts=TEXTS):
    tensors = "pt" if isinstance(side.model, torch.nn.Module) else "np"
    inputs = side.tokenizer(texts, padding=True, padding_side=side.side, return_tensors=tensors)
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def generated(side, inputs=None, **options):
    with torch.inference_mode():
        return np.asarray(side.model.generate(**(inputs_of(side) if inputs is None else inputs), **options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_new_tokens": 16},
        {"max_new_tokens": 12, "num_beams": 4},
        {"max_new_tokens": 8, "num_beams": 4, "num_return_sequences": 3, "length_penalty": 2.0},
        {"max_new_tokens": 8, "num_beams": 3, "early_stopping": True, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 8, "repetition_penalty": 1.5, "min_new_tokens": 4},
        {"max_new_tokens": 12, "eos_token_id": list(range(0, 1000, 3)), "pad_token_id": 5},
    ],
    ids=str,
)
def test_the_same_tokens(both, options):
    expected, got = (generated(side, **options) for side in both)
    np.testing.assert_array_equal(expected, got)
    assert got.dtype == np.int64


COMBINATIONS = st.fixed_dictionaries(
    {"max_new_tokens": st.integers(7, 9), "num_beams": st.integers(1, 4)},
    optional={
        "eos_token_id": st.lists(st.integers(1, 700), min_size=2, max_size=200, unique=True),
        "length_penalty": st.sampled_from([-1.0, 0.0, 0.5, 2.5]),
        "early_stopping": st.sampled_from([True, False, "never"]),
        "no_repeat_ngram_size": st.integers(1, 3),
        "repetition_penalty": st.sampled_from([0.8, 1.3, 2.0]),
        "min_new_tokens": st.integers(0, 7),
        "bad_words_ids": st.lists(st.lists(st.integers(0, 700), min_size=1, max_size=2), min_size=1, max_size=9),
        "renormalize_logits": st.booleans(),
    },
)


@settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(options=COMBINATIONS)
def test_any_combination_gives_the_same_tokens(both, options):
    expected, got = (generated(side, pad_token_id=3, **options) for side in both)
    np.testing.assert_array_equal(expected, got)


def test_a_text_does_not_depend_on_its_batch(both):
    _, ours = both
    together = generated(ours, max_new_tokens=6, min_new_tokens=6)
    for index, text in enumerate(TEXTS):
        alone = generated(ours, inputs_of(ours, [text]), max_new_tokens=6, min_new_tokens=6)
        np.testing.assert_array_equal(alone[0, -6:], together[index, -6:])


def test_a_stream_is_the_same_tokens_one_at_a_time(both):
    _, ours = both
    whole = generated(ours, max_new_tokens=7, min_new_tokens=7)
    steps = list(ours.model.stream(**inputs_of(ours), max_new_tokens=7, min_new_tokens=7))
    np.testing.assert_array_equal(np.stack(steps, axis=1), whole[:, -7:])


def test_a_stream_that_is_closed_stops_the_work(llama, monkeypatch):
    _, ours = llama
    runs, run = [], ours.model.session.run
    monkeypatch.setattr(ours.model.session, "run", lambda *arguments: runs.append(arguments) or run(*arguments))
    stream = ours.model.stream(**inputs_of(ours), max_new_tokens=50)
    for _ in range(3):
        next(stream)
    stream.close()
    assert len(runs) == 3
    generated(ours, max_new_tokens=1)


def test_an_interrupt_leaves_the_model_usable(both, monkeypatch):
    _, ours = both
    expected, run, runs = generated(ours, max_new_tokens=6), ours.model.session.run, []

    def interrupted(*arguments):
        runs.append(arguments)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return run(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(ours.model.session, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generated(ours, max_new_tokens=6)
    np.testing.assert_array_equal(generated(ours, max_new_tokens=6), expected)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_padding_is_known_by_its_token(family, tiny):
    ids = np.array([[0, 0, 0, 40, 41, 42], [50, 51, 52, 53, 54, 55]])  # 0 pads, and 9 ends
    ids = ids if family == "llama" else ids[:, ::-1].copy()
    options = {"pad_token_id": 0, "eos_token_id": 9, "max_new_tokens": 8}
    reference, ours = both_of(family, tiny)
    expected, got = (
        generated(reference, {"input_ids": torch.tensor(ids)}, **options),
        generated(ours, {"input_ids": ids}, **options),
    )
    np.testing.assert_array_equal(expected, got)


def test_nothing_to_continue(llama):
    reference, ours = llama
    np.testing.assert_array_equal(generated(reference, {}, max_new_tokens=8), generated(ours, {}, max_new_tokens=8))


def test_nothing_to_begin_with(llama):
    _, ours = llama
    with pytest.raises(InputError, match=r"neither the checkpoint nor the call says bos_token_id[\s\S]*bos_token_id=0"):
        ours.model.generate(bos_token_id=None)


def test_stop_strings(llama):
    _, ours = llama
    whole = generated(ours, max_new_tokens=20)
    stop = ours.tokenizer.decode(whole[0, -12:-10].tolist())
    expected, got = (
        generated(side, max_new_tokens=20, stop_strings=[stop], tokenizer=side.tokenizer) for side in llama
    )
    np.testing.assert_array_equal(expected, got)
    assert got.shape[1] < whole.shape[1] or got.tolist() != whole.tolist()


def test_logits_of_an_encoder_decoder(bart):
    reference, ours = bart
    decoder_input_ids = np.random.default_rng(0).integers(3, 900, (len(TEXTS), 5))
    with torch.inference_mode():
        expected = reference.model(
            **inputs_of(reference), decoder_input_ids=torch.tensor(decoder_input_ids)
        ).logits.numpy()
    got = ours.model(**inputs_of(ours), decoder_input_ids=decoder_input_ids).logits
    assert np.abs(expected - got).max() <= 1e-4 * np.abs(expected).max()
    first = ours.model(**inputs_of(ours)).logits
    start = np.full((len(TEXTS), 1), ours.model.config.decoder_start_token_id)
    np.testing.assert_array_equal(first, ours.model(**inputs_of(ours), decoder_input_ids=start).logits)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"decoder_input_ids": [[1, 2]]}, "decoder_input_ids has 1 texts, input_ids has 2"),
        ({"token_type_ids": [[1, 1], [1, 1]]}, "takes no token_type_ids"),
        ({"decoder_input_ids": [[1] * 513] * 2}, "has 513 tokens, and this model takes 512"),
        ({"attention_mask": [[1, 1]]}, r"attention_mask has the shape \(1, 2\), input_ids has \(2, 2\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arrays_that_do_not_fit(bart, arrays, message):
    with pytest.raises(InputError, match=message):
        bart[1].model([[3, 4], [5, 6]], **arrays)


def test_as_many_tokens_as_there_are_positions(gpt2):
    reference, ours = gpt2
    ids = np.random.default_rng(0).integers(3, 900, (1, 500))
    options = {"max_new_tokens": 13, "eos_token_id": None, "pad_token_id": 0}  # the last is followed by nothing
    expected, got = (
        generated(reference, {"input_ids": torch.tensor(ids)}, **options),
        generated(ours, {"input_ids": ids}, **options),
    )
    np.testing.assert_array_equal(expected, got)
    assert got.shape == (1, 513)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (513, {}, "has 513 tokens, and this model takes 512"),
        (
            500,
            {"max_new_tokens": 14},
            r"14 new tokens after 500 [\s\S]*max_new_tokens=13",
        ),
    ],
)
def test_more_tokens_than_positions(gpt2, tokens, options, message):
    with pytest.raises(InputError, match=message):
        gpt2[1].model.generate(np.ones((1, tokens), np.int64), **options)


def test_more_tokens_than_an_encoder_decoder_has_positions(bart):
    model = bart[1].model
    with pytest.raises(InputError, match="has 513 tokens, and this model takes 512"):
        model.generate(np.ones((1, 513), np.int64))
    with pytest.raises(InputError, match=r"513 new tokens after 1 [\s\S]*max_new_tokens=512"):
        model.generate([[5, 6]], max_new_tokens=513)


def test_padding_on_the_wrong_side(llama):
    with pytest.raises(InputError, match=r'padded on the right[\s\S]*padding_side="left"'):
        llama[1].model.generate([[5, 6], [7, 0]], [[1, 1], [1, 0]])


def test_an_option_that_does_not_exist(llama):
    with pytest.raises(OptionError, match="max_new_tokens"):
        llama[1].model.generate([[5, 6]], max_new_token=3)


def test_a_text_without_tokens(llama):
    with pytest.raises(InputError, match=r"shape \(1, 0\)"):
        llama[1].model.generate(np.zeros((1, 0), np.int64))


def test_the_wrong_class(tiny):
    with pytest.raises(CheckpointError, match="AutoModelForSeq2SeqLM"):
        torchless.AutoModelForCausalLM.from_pretrained(tiny.export("bart", "text2text-generation"))
    with pytest.raises(CheckpointError, match="AutoModelForCausalLM"):
        torchless.AutoModelForSeq2SeqLM.from_pretrained(tiny.export("llama", "text-generation"))
    with pytest.raises(OptionError, match="names one graph, and an encoder-decoder has two"):
        torchless.AutoModelForSeq2SeqLM.from_pretrained(
            tiny.export("bart", "text2text-generation"), file_name="onnx/encoder_model.onnx"
        )

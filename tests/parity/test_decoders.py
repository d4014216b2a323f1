"""The steps of a decoder's graph, against PyTorch, which reads the whole text again at each step."""

import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers
from fixtures.checkpoints import DECODERS, ENCODER_DECODERS
from onnxruntime.transformers.float16 import convert_float_to_float16
from optimum.exporters.onnx import onnx_export_from_model

from torchless import CheckpointError, InputError
from torchless.generation.decoders import DecoderSteps
from torchless.ort.session import Session

# The parents of the rows at each step, from three prompts: rows continue, are repeated, reordered and dropped.
PARENTS = [
    None,
    [0, 0, 1, 1, 2, 2],
    [1, 0, 2, 2, 5, 4],
    None,
    [1, 1, 3, 3, 4, 4],
    [0, 4, 5],
    None,
    [2, 1],
    [0, 0, 1, 0],
    [3, 2, 1, 0],
    [1],
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module", params=DECODERS)
def decoder(request, tiny):
    """The reference's model, and our session."""
    checkpoint, folder = (
        tiny.checkpoint(request.param, "text-generation"),
        tiny.export(request.param, "text-generation"),
    )
    return transformers.AutoModelForCausalLM.from_pretrained(checkpoint), Session(folder / "onnx/model.onnx")


@pytest.fixture(scope="module", params=ENCODER_DECODERS)
def encoder_decoder(request, tiny, tmp_path_factory):
    """The reference's model, and our sessions of its encoder and its decoder, from the graphs that optimum exports."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = tiny.checkpoint(request.param, "text2text-generation")

    def load():  # twice: the exporter changes its model
        return transformers.AutoModelForSeq2SeqLM.from_pretrained(checkpoint)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's
        onnx_export_from_model(load(), output=folder, task="text2text-generation-with-past", do_validation=False)
    return load(), Session(folder / "encoder_model.onnx"), Session(folder / "decoder_model_merged.onnx")


def prompts(rng, *, side):
    """Three prompts of up to nine tokens: ids and mask."""
    ids, mask = rng.integers(3, 99, (3, 9)), np.ones((3, 9), np.int64)
    mask[1, :4] = mask[2, :8] = 0
    return (ids, mask) if side == "left" else (ids, mask[:, ::-1].copy())


def last_logits(model, ids, mask):
    positions = (mask.cumsum(-1) - 1).clip(0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    with torch.inference_mode():
        return model(**{name: torch.tensor(array) for name, array in inputs.items()}).logits[:, -1].numpy()


def assert_close(got, expected, tolerance=1e-5):
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    assert got.flags.writeable
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


def walk(model, steps, rng, tolerance=1e-5):
    """Take all steps with both, and compare the logits."""
    ids, mask = prompts(rng, side="left")
    before = ids.copy(), mask.copy()
    assert_close(steps.begin(ids, mask), last_logits(model, ids, mask), tolerance)
    arrays = ids, mask
    for indices in PARENTS:
        parents = np.arange(len(ids)) if indices is None else np.array(indices)
        tokens = rng.integers(3, 99, len(parents))
        ids = np.concatenate([ids[parents], tokens[:, None]], axis=1)
        mask = np.concatenate([mask[parents], np.ones((len(parents), 1), np.int64)], axis=1)
        logits = steps.advance(tokens, None if indices is None else parents)
        assert_close(logits, last_logits(model, ids, mask), tolerance)
        logits[:] = np.nan  # the caller may write to it
    np.testing.assert_array_equal(arrays, before)


def test_a_decoder(decoder, rng):
    model, session = decoder
    walk(model, DecoderSteps(session), rng)


def test_a_cache_in_float16(tiny, rng, tmp_path):
    graph = onnx.load(tiny.export("llama", "text-generation") / "onnx/model.onnx")
    onnx.save(convert_float_to_float16(graph, disable_shape_infer=True), tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx")
    assert session.inputs["past_key_values.0.key"].dtype == np.float16
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.checkpoint("llama", "text-generation"))
    walk(model, DecoderSteps(session), rng, tolerance=1e-2)


def encoded(encoder, ids, mask):
    (hidden,) = encoder.run({"input_ids": ids, "attention_mask": mask})
    return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}


def test_an_encoder_decoder(encoder_decoder, rng):
    model, encoder, decoder = encoder_decoder
    inputs, mask = prompts(rng, side="right")
    ids = np.full((3, 1), model.config.decoder_start_token_id)

    def expected():
        arrays = {"input_ids": inputs, "attention_mask": mask, "decoder_input_ids": ids}
        with torch.inference_mode():
            return model(**{name: torch.tensor(array) for name, array in arrays.items()}).logits[:, -1].numpy()

    steps = DecoderSteps(decoder, encoded=encoded(encoder, inputs, mask))
    assert_close(steps.begin(ids, np.ones_like(ids)), expected())
    for indices in PARENTS:
        parents = np.arange(len(ids)) if indices is None else np.array(indices)
        tokens = rng.integers(3, 99, len(parents))
        ids = np.concatenate([ids[parents], tokens[:, None]], axis=1)
        inputs, mask = inputs[parents], mask[parents]
        assert_close(steps.advance(tokens, None if indices is None else parents), expected())


def test_a_decoder_that_begins_with_several_tokens(encoder_decoder, rng):
    _, encoder, decoder = encoder_decoder
    inputs, mask = prompts(rng, side="right")
    steps = DecoderSteps(decoder, encoded=encoded(encoder, inputs, mask))
    ids = rng.integers(3, 99, (3, 4))
    at_once = steps.begin(ids, np.ones_like(ids))
    steps.begin(ids[:, :1], np.ones((3, 1), np.int64))
    one_by_one = [steps.advance(ids[:, index]) for index in range(1, 4)][-1]
    assert_close(one_by_one, at_once)
    with pytest.raises(InputError, match="padded, and its graph takes no mask"):
        steps.begin(ids, np.array([[1] * 4, [0, 1, 1, 1], [1] * 4]))


def test_steps_after_other_steps_of_the_same_graph(decoder, rng):
    _, session = decoder
    ids, mask = prompts(rng, side="left")
    first, second = DecoderSteps(session), DecoderSteps(session)
    alone = first.begin(ids, mask), first.advance(ids[:, 0]), first.advance(ids[:, 1])
    interleaved = second.begin(ids, mask), first.begin(ids, mask), second.advance(ids[:, 0]), second.advance(ids[:, 1])
    for expected, got in zip(alone, (interleaved[0], *interleaved[2:]), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_more_tokens_than_positions(decoder, rng):
    _, session = decoder
    ids, mask = prompts(rng, side="left")
    steps = DecoderSteps(session, limit=10)
    steps.begin(ids, mask)
    steps.advance(ids[:, 0])
    with pytest.raises(InputError, match="has 11 tokens, and this model takes 10"):
        steps.advance(ids[:, 0])
    steps.advance(ids[1:, 0], np.array([1, 2]))  # padding takes no position
    with pytest.raises(InputError, match="has 9 tokens, and this model takes 8"):
        DecoderSteps(session, limit=8).begin(ids, mask)


def test_an_interrupt_leaves_the_graph_usable(decoder, rng, monkeypatch):
    _, session = decoder
    ids, mask = prompts(rng, side="left")
    steps, run = DecoderSteps(session), session._run_session
    steps.begin(ids, mask)
    expected = steps.advance(ids[:, 0])

    def interrupted(*_):
        raise KeyboardInterrupt

    steps.begin(ids, mask)
    monkeypatch.setattr(session, "_run_session", interrupted)
    with pytest.raises(KeyboardInterrupt):
        steps.advance(ids[:, 0])
    monkeypatch.setattr(session, "_run_session", run)
    again = DecoderSteps(session)
    again.begin(ids, mask)
    np.testing.assert_array_equal(again.advance(ids[:, 0]), expected)


def test_only_the_last_logits_are_computed(tiny, rng, monkeypatch):
    session = Session(tiny.export("llama", "text-generation") / "onnx/model.onnx")
    assert "num_logits_to_keep" in session.optional_inputs
    logits, run = [], session.run

    def watched(*arguments):
        arrays = run(*arguments)
        logits.append(arrays[0].shape)
        return arrays

    monkeypatch.setattr(session, "run", watched)
    ids, mask = prompts(rng, side="left")
    steps = DecoderSteps(session)
    steps.begin(ids, mask)
    steps.advance(ids[:, 0])
    assert [shape[:2] for shape in logits] == [(3, 1)] * 2


def test_a_graph_without_a_past(tiny):
    with pytest.raises(CheckpointError, match="its inputs are input_ids, attention_mask"):
        DecoderSteps(Session(tiny.export("llama", "feature-extraction") / "onnx/model.onnx"))


def test_memory_does_not_grow_with_calls(decoder, rng):
    _, session = decoder

    def call(tokens):
        ids = rng.integers(3, 99, (4, tokens))
        steps = DecoderSteps(session)
        steps.begin(ids, np.ones_like(ids))
        for parents in (None, np.array([0, 0, 1, 2]), np.array([3, 1])):
            steps.advance(ids[: 4 if parents is None else len(parents), 0], parents)

    for tokens in (400, 7, 400):  # the largest call reserves the memory that the rest need
        call(tokens)
    before = resident_mb()
    for tokens in rng.integers(1, 100, 200):
        call(tokens)
    assert resident_mb() - before < 10


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

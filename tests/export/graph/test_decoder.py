"""Decoders' graphs with constant shapes, before and after the optimization."""

import shutil
from collections import Counter

import numpy as np
import onnx
import pytest

import torchless_export.converters.optimum
from torchless.ort.session import Session
from torchless.tasks import find_task
from torchless_export.converters.optimum import convert
from torchless_export.graph.decoder import KEPT_LOGITS, optimize_decoder
from torchless_export.source.loading import load
from torchless_export.source.source import find_source

TASK = "text-generation"
HEADS = {"gpt2": (2, 2), "llama": (4, 2), "qwen3": (4, 2)}  # of queries, of keys


@pytest.fixture(params=HEADS, scope="module")
def graphs(request, tiny, tmp_path_factory):
    """(the family, its graph before the optimization, its graph after it)."""
    out = tmp_path_factory.mktemp(request.param)

    def keep_both(path):
        shutil.copy(path, out / "before.onnx")
        optimize_decoder(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchless_export.converters.optimum, "optimize_decoder", keep_both)
        convert(load(find_source(str(tiny.checkpoint(request.param, TASK))), find_task(TASK)), find_task(TASK), out)
    return request.param, out / "before.onnx", out / "onnx/model.onnx"


def feeds(session, rows, tokens, past):
    """Random tokens after a random past; the later rows begin with padding."""
    rng = np.random.default_rng(rows)
    mask = np.ones((rows, past + tokens), np.int64)
    for row in range(1, rows):
        mask[row, :row] = 0
    inputs = {"input_ids": rng.integers(0, 1000, (rows, tokens)), "attention_mask": mask}
    inputs["position_ids"] = np.maximum(mask.cumsum(axis=-1) - 1, 0)[:, past:]
    for name, tensor in session.inputs.items():
        if name.startswith("past"):
            _, heads, _, width = tensor.shape
            inputs[name] = rng.standard_normal((rows, heads, past, width)).astype(np.float32)
    return {name: inputs[name] for name in session.inputs}, mask[:, past:] == 1


@pytest.mark.parametrize(("rows", "tokens", "past"), [(1, 9, 0), (3, 9, 0), (1, 1, 5), (4, 1, 6), (2, 3, 4)])
def test_answers_stay_the_same(graphs, rows, tokens, past):
    _, *paths = graphs
    before, after = (Session(path) for path in paths)
    assert (before.inputs, before.outputs) == (after.inputs, after.outputs)
    inputs, seen = feeds(before, rows, tokens, past)
    expected, got = (dict(zip(session.outputs, session.run(inputs), strict=True)) for session in (before, after))
    counts = inputs["attention_mask"] == 1
    for name in expected:
        # The values of padding are not used.
        ours, theirs = (
            outputs[name][seen] if name == "logits" else outputs[name].swapaxes(1, 2)[counts]
            for outputs in (got, expected)
        )
        assert np.abs(ours - theirs).max() <= 2e-6 * np.abs(theirs).max()


def test_only_the_concatenation_copies_the_past(graphs):
    """Nothing scales or repeats keys and values; a transposed key goes straight into its product."""
    family, before, after = graphs
    (old, _), (new, consumers) = (parts(path) for path in (before, after))
    layers = 2
    assert old["Mul"] - new["Mul"] >= layers
    assert new["Gemm"] == 0
    assert new["IsNaN"] == 0
    assert new["Slice"] == old["Slice"] - layers + 1  # the slice of the last tokens before the head
    if HEADS[family][0] != HEADS[family][1]:
        assert old["Expand"] - new["Expand"] == 2 * layers
    for layer in range(layers):
        for kind, takers in (("key", {"Transpose"}), ("value", {"MatMul"})):
            nodes = [node for node in consumers.get(f"present.{layer}.{kind}", []) if node.op_type != "Shape"]
            assert {node.op_type for node in nodes} == takers
            for transpose in nodes if kind == "key" else ():
                assert [node.op_type for node in consumers[transpose.output[0]]] == ["MatMul"]


def test_gpt2_keeps_its_rows(graphs):
    """The graph before the optimization flattens and parts the tokens for four products in each of two layers."""
    family, *paths = graphs
    if family == "gpt2":
        (old, _), (new, _) = (parts(path) for path in paths)
        assert new["Reshape"] == old["Reshape"] - 2 * 4 * 2 + 1  # the reshape of the number of logits


def parts(path):
    """The number of nodes of each operator, and the nodes that use each value."""
    graph = onnx.load(path).graph
    consumers = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    return Counter(node.op_type for node in graph.node), consumers


@pytest.mark.parametrize(("kept", "tokens"), [(None, 9), (0, 9), (1, 1), (4, 4)])
def test_logits_of_the_last_tokens(graphs, kept, tokens):
    """The input for the number of tokens is optional."""
    session = Session(graphs[2])
    assert KEPT_LOGITS not in session.inputs
    inputs, _ = feeds(session, 2, 9, 3)
    (all_logits,) = session.run(inputs, ["logits"])
    (got,) = session.run(inputs if kept is None else {**inputs, KEPT_LOGITS: np.array(kept)}, ["logits"])
    np.testing.assert_allclose(got, all_logits[:, -tokens:], rtol=0, atol=1e-6)

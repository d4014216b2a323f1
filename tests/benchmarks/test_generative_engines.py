"""The engines of generative models: all generate the same tokens of a tiny model, and the exact number of tokens."""

import pytest
from benchmarks.generative_engines import optimum_generator, pytorch_generator, torchless_generator, torchless_profiled

ROWS = [[5, 6, 7, 8], [9, 10, 11, 12]]
NEW_TOKENS = 5


@pytest.mark.parametrize(
    ("model_type", "task", "beams"), [("gpt2", "text-generation", 1), ("bart", "text2text-generation", 4)]
)
def test_engines_generate_the_same_tokens_and_the_exact_number(tiny, model_type, task, beams):
    settings = {"threads": 1, "new_tokens": NEW_TOKENS, "beams": beams}
    reference = pytorch_generator(str(tiny.checkpoint(model_type, task)), **settings).answer(ROWS, None)
    tokens = torchless_generator(str(tiny.export(model_type, task)), **settings).answer(ROWS, None)
    assert [len(row) for row in tokens] == [NEW_TOKENS] * 2
    assert tokens == reference


def test_optimum_generates_the_same_tokens_from_the_graph_of_torchless(tiny):
    folder = str(tiny.export("gpt2", "text-generation"))
    engines = (engine(folder, threads=1, new_tokens=NEW_TOKENS) for engine in (optimum_generator, torchless_generator))
    reference, tokens = (engine.answer(ROWS, None) for engine in engines)
    assert tokens == reference


def test_a_profile_has_a_share_of_time_and_a_memory_size(tiny, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime.InferenceSession, "run", onnxruntime.InferenceSession.run
    )  # restored after the test
    loaded = torchless_profiled(str(tiny.export("gpt2", "text-generation")), threads=1, new_tokens=NEW_TOKENS)
    answer = loaded.answer(ROWS[:1], None)
    assert 0 < answer["outside"] < 1
    assert answer["resident_bytes"] > 1e6

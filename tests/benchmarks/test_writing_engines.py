"""The engines that write: on one tiny model all write the same, and exactly as much as they are told to."""

import pytest
from benchmarks.writing_engines import optimum_writer, pytorch_writer, torchless_watched, torchless_writer

ROWS = [[5, 6, 7, 8], [9, 10, 11, 12]]
NEW_TOKENS = 5


@pytest.mark.parametrize(
    ("model_type", "task", "beams"), [("gpt2", "text-generation", 1), ("bart", "text2text-generation", 4)]
)
def test_engines_write_the_same_tokens_as_many_as_told(tiny, model_type, task, beams):
    told = {"threads": 1, "new_tokens": NEW_TOKENS, "beams": beams}
    theirs = pytorch_writer(str(tiny.checkpoint(model_type, task)), **told).answer(ROWS, None)
    ours = torchless_writer(str(tiny.export(model_type, task)), **told).answer(ROWS, None)
    assert [len(row) for row in ours] == [NEW_TOKENS] * 2
    assert ours == theirs


def test_optimum_writes_the_same_on_our_own_graph(tiny):
    folder = str(tiny.export("gpt2", "text-generation"))
    writers = (writer(folder, threads=1, new_tokens=NEW_TOKENS) for writer in (optimum_writer, torchless_writer))
    theirs, ours = (writer.answer(ROWS, None) for writer in writers)
    assert ours == theirs


def test_what_a_call_costs_besides_is_a_share_and_a_size(tiny, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", onnxruntime.InferenceSession.run)  # put back afterwards
    loaded = torchless_watched(str(tiny.export("gpt2", "text-generation")), threads=1, new_tokens=NEW_TOKENS)
    answer = loaded.answer(ROWS[:1], None)
    assert 0 < answer["outside"] < 1
    assert answer["resident_bytes"] > 1e6

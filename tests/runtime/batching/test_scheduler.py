import numpy as np
import pytest

from torchless import AutoModel, AutoTokenizer
from torchless.batching.scheduler import Scheduler
from torchless.rows import Row
from torchless_export.sample import sample_texts


@pytest.fixture(scope="module")
def parts(tiny):
    folder = tiny.export("bert", "feature-extraction")
    return AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_come_back_in_order_without_padding(parts, side):
    model, tokenizer = parts
    tokenizer.padding_side = side
    rows = [Row(encoding) for encoding in tokenizer.encode_batch(sample_texts(40))]
    outputs = Scheduler(model, tokenizer, max_batch_tokens=200).run(rows)
    tokenizer.padding_side = "right"
    for row, (hidden,) in zip(rows, outputs, strict=True):
        assert hidden.shape == (len(row), model.config.hidden_size)
        alone = model([row.encoding.ids], [row.encoding.attention_mask]).last_hidden_state[0]
        np.testing.assert_allclose(hidden, alone, atol=1e-5)


def test_no_rows(parts):
    assert Scheduler(*parts).run([]) == []

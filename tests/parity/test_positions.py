import numpy as np
import pytest
import torch
import transformers

from torchless.folder.config import ModelConfig
from torchless.models.positions import position_ids

SIZES = {
    "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "max_position_embeddings": 24, "attention_window": [4],
}  # fmt: skip
FROM_PADDING = [
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
]  # fmt: skip
FROM_TWO = ["mra", "nystromformer", "yoso"]
FROM_ZERO = ["albert", "bert", "electra", "ernie", "mobilebert", "convbert"]


def positions_of_reference(model_type, ids, mask, **config):
    """What the reference looks up in its table of positions."""
    reference = transformers.AutoConfig.for_model(model_type, **SIZES, **config)
    model = transformers.AutoModel.from_config(reference).eval()
    table = next(module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    seen = []
    table.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].expand(len(ids), -1).numpy()))
    with torch.inference_mode():
        model.embeddings(torch.tensor(ids), **({"attention_mask": torch.tensor(mask)} if model_type == "esm" else {}))
    return seen[0], reference


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("model_type", [*FROM_PADDING, *FROM_TWO, *FROM_ZERO])
def test_positions(model_type, padding):
    ids = np.array([[5, 6, 7, 8, 9], [5, 6, 1, 7, padding], [8, 9, padding, padding, padding]])
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])  # a text may hold the padding token
    expected, reference = positions_of_reference(model_type, ids, mask, pad_token_id=padding)
    config = ModelConfig(reference.to_dict())
    got = position_ids(ids, mask, config)
    np.testing.assert_array_equal(np.where(mask, expected, 0), np.where(mask, got, 0))
    if (
        model_type in FROM_PADDING and model_type != "mpnet"
    ):  # which knows one padding id, whatever its configuration says
        np.testing.assert_array_equal(expected, got)  # padding's, too


@pytest.mark.parametrize("model_type", [*FROM_PADDING, *FROM_TWO, *FROM_ZERO])
def test_the_longest_text_fits_the_table(model_type):
    config = ModelConfig(transformers.AutoConfig.for_model(model_type, **SIZES, pad_token_id=3).to_dict())
    assert config.max_tokens is not None
    ids = np.full((1, config.max_tokens), 5)
    positions, _ = positions_of_reference(model_type, ids, np.ones_like(ids), pad_token_id=3)
    rows = SIZES["max_position_embeddings"] + 2 * (model_type in FROM_TWO)
    assert positions.max() == rows - 1 if model_type not in FROM_PADDING else positions.max() <= rows - 1


def test_padding_on_the_left_changes_no_position():
    ids, mask = np.array([[4, 4, 5, 6]]), np.array([[0, 0, 1, 1]])
    for model_type, first in (("roberta", 2), ("bert", 0), ("nystromformer", 2)):
        assert position_ids(ids, mask, ModelConfig({"model_type": model_type}))[0, 2:].tolist() == [first, first + 1]

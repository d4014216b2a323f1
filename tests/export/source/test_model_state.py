import torch
import transformers

from torchless_export.source.model_state import ModelState


class Changing(torch.nn.Module):
    """A model that changes itself with each text, in each of the ways that models of transformers do."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.register_buffer("frequencies", torch.ones(2), persistent=False)
        self.longest = 0

    def forward(self, texts):
        self.longest = len(texts)
        self.layer = torch.nn.Linear(2, 2)
        self.register_buffer("frequencies", torch.zeros(2), persistent=False)
        return texts


def test_a_model_is_put_back():
    model = Changing()
    layer, weight = model.layer, model.layer.weight
    state = ModelState(model)
    model([1, 2])
    assert (model.longest, model.frequencies.sum()) == (2, 0)
    state.restore()
    assert (model.longest, model.frequencies.sum()) == (0, 2)
    assert model.layer is layer
    assert model.layer.weight is weight


def test_big_bird_stays_sparse_for_long_texts_after_a_short_text():
    torch.manual_seed(0)
    config = transformers.BigBirdConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        block_size=8, num_random_blocks=1, max_position_embeddings=256,
    )  # fmt: skip
    model = transformers.BigBirdModel(config).eval()
    state = ModelState(model)
    long, short = torch.arange(128)[None] % 90 + 5, torch.arange(8)[None] + 5

    def answer(ids):
        with torch.inference_mode():
            return model(ids).last_hidden_state

    first = answer(long)
    answer(short)
    assert not torch.allclose(answer(long), first, atol=1e-3)
    state.restore()
    assert torch.allclose(answer(long), first)

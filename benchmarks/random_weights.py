"""Random weights that take as long as trained weights, and give answers that differ as clearly."""

import torch


def randomise(model: torch.nn.Module, *, seed: int) -> None:
    """Replace a model's weights by random ones that no graph optimiser can remove, and with answers that differ between texts.

    Newly initialised models have biases of zero and LayerNorm weights of one, which graph optimisers remove.

    Args:
        model: The model, changed in place.
        seed: The same seed gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name or "layer_norm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.2 * noise)
            elif "classifier" in name or "out_proj" in name:
                parameter.copy_(0.4 * noise)
            else:
                parameter.copy_(noise * (0.5 if "embedding" in name else parameter.shape[-1] ** -0.5))

"""Rotary embeddings whose frequencies depend on the length of a text, in a form that a tracer keeps.

transformers chooses such frequencies with Python branches, and stores them in the module: a trace keeps those of its example.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torchless.errors import ExportError

__all__ = ["traceable_rotary"]


@contextmanager
def traceable_rotary(model: Any) -> Iterator[None]:
    """Within the context, rotary modules compute the frequencies of each row from its positions.

    A row is one of a batch: its frequencies follow from its last position, and not from that of a longer row beside it.

    Args:
        model: The model in PyTorch.

    Raises:
        ExportError: A module combines its frequencies in an unknown way.

    Source: `dynamic_rope_update` in transformers 4.57.6, modeling_rope_utils.py.
    """
    modules = [module for module in model.modules() if _depends_on_length(module)]
    for module in modules:
        module.forward = _traceable_forward(module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward  # the method of the class is left


def _depends_on_length(module: Any) -> bool:
    rope_type = str(getattr(module, "rope_type", ""))
    return hasattr(module, "rope_init_fn") and ("dynamic" in rope_type or rope_type == "longrope")


def _traceable_forward(module: Any) -> Callable[..., Any]:
    """Return the forward step of a module, once it is known to give what the class gives."""
    import torch

    frequencies = _long_frequencies(module) if module.rope_type == "longrope" else _dynamic_frequencies(module)
    example, positions = torch.zeros(1, 1), torch.arange(4)[None]
    expected = module.forward(example, positions)
    for repeated in (_halves, _pairs):
        forward = partial(_forward, module, frequencies, repeated)
        found = forward(example, positions)
        if all(
            first.shape == second.shape and torch.allclose(first, second)
            for first, second in zip(found, expected, strict=True)
        ):
            return forward
    raise ExportError(
        f"{type(module).__name__} with rope_type {module.rope_type!r} changes its frequencies with the length of a text, in a "
        "way that no ONNX graph keeps yet.",
        hint="This checkpoint cannot be exported.",
    )


def _forward(
    module: Any, frequencies: Callable[[Any], Any], repeated: Callable[[Any], Any], x: Any, position_ids: Any
) -> tuple[Any, Any]:
    """Return cosines and sines, (rows, tokens, dimensions)."""
    last = position_ids.amax(dim=-1, keepdim=True) + 1  # (rows, 1)
    angles = repeated(position_ids[:, :, None].float() * frequencies(last)[:, None, :])
    cosines, sines = ((wave * module.attention_scaling).to(x.dtype) for wave in (angles.cos(), angles.sin()))
    return cosines, sines


def _halves(angles: Any) -> Any:
    import torch

    return torch.cat((angles, angles), dim=-1)


def _pairs(angles: Any) -> Any:
    return angles.repeat_interleave(2, dim=-1)


def _dynamic_frequencies(module: Any) -> Callable[[Any], Any]:
    return lambda lengths: module.rope_init_fn(module.config, lengths.device, seq_len=lengths)[
        0
    ]  # (rows, dimensions / 2)


def _long_frequencies(module: Any) -> Callable[[Any], Any]:
    import torch

    config = module.config
    limit = getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
    short, long = (module.rope_init_fn(config, "cpu", seq_len=length)[0][None] for length in (limit, limit + 1))
    return lambda lengths: torch.where(lengths > limit, long, short)  # (rows, dimensions / 2)

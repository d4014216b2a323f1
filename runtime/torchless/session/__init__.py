"""A graph, loaded and run: the one package that imports onnxruntime."""

from torchless.session.session import Session, Tensor, beside_others

__all__ = ["Session", "Tensor", "beside_others"]

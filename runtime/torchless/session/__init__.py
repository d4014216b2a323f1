"""A graph, loaded and run: the one package that imports onnxruntime."""

from torchless.session.session import Session, Tensor

__all__ = ["Session", "Tensor"]

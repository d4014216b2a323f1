"""A graph, loaded and run: the one package that imports onnxruntime."""

import os

# Its builds report their use to Microsoft, and keep an identifier in the home folder, unless told not to before they load.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from torchless.session.session import Session, Tensor, beside_others

__all__ = ["Session", "Tensor", "beside_others"]

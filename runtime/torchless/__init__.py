"""`transformers.pipeline()` without PyTorch: exported text models, answered by ONNX Runtime and NumPy."""

from torchless.auto import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from torchless.errors import (
    CheckpointError,
    ExportError,
    InputError,
    MissingExtraError,
    OptionError,
    TaskError,
    TorchlessError,
)
from torchless.numerics import log_softmax, sigmoid, softmax
from torchless.pipelines import pipeline

__version__ = "0.1.0"

__all__ = [
    "AutoModel",
    "AutoModelForSequenceClassification",
    "AutoTokenizer",
    "CheckpointError",
    "ExportError",
    "InputError",
    "MissingExtraError",
    "OptionError",
    "TaskError",
    "TorchlessError",
    "__version__",
    "log_softmax",
    "pipeline",
    "sigmoid",
    "softmax",
]

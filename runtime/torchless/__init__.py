"""`transformers.pipeline()` without PyTorch: exported text models, answered by ONNX Runtime and NumPy."""

from torchless.errors import (
    CheckpointError,
    ExportError,
    ExportWarning,
    InputError,
    MissingExtraError,
    OptionError,
    TaskError,
    TorchlessError,
    TruncationWarning,
)
from torchless.models.auto import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)
from torchless.numerics import log_softmax, sigmoid, softmax
from torchless.pipelines import pipeline
from torchless.pipelines.windows import Windows

__version__ = "0.1.0"

__all__ = [
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForQuestionAnswering",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "CheckpointError",
    "ExportError",
    "ExportWarning",
    "InputError",
    "MissingExtraError",
    "OptionError",
    "TaskError",
    "TorchlessError",
    "TruncationWarning",
    "Windows",
    "__version__",
    "log_softmax",
    "pipeline",
    "sigmoid",
    "softmax",
]

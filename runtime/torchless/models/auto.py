"""The lower-level API: `AutoTokenizer`, and a model class for each kind of head."""

from os import PathLike

from torchless.models.generative import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from torchless.models.model import Model, ModelOutput
from torchless.tasks import find_task
from torchless.tokenization.tokenizer import Tokenizer

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
    "Model",
    "ModelOutput",
]


class AutoTokenizer:
    """The tokenizer of an exported folder or of a name on the Hub."""

    @staticmethod
    def from_pretrained(source: str | PathLike[str], *, revision: str | None = None) -> Tokenizer:
        """Load it; see `Tokenizer.from_pretrained`."""
        return Tokenizer.from_pretrained(source, revision=revision)


class AutoModel(Model):
    """A model without a head: `last_hidden_state`, float, (texts, tokens, hidden)."""

    task = find_task("feature-extraction")


class AutoModelForMaskedLM(Model):
    """A model that fills masks: `logits`, float, (texts, tokens, vocabulary)."""

    task = find_task("fill-mask")


class AutoModelForMultipleChoice(Model):
    """A model that scores choices: `logits`, float, (texts, choices)."""

    task = find_task("multiple-choice")


class AutoModelForQuestionAnswering(Model):
    """A model that scores spans: `start_logits` and `end_logits`, float, (texts, tokens)."""

    task = find_task("question-answering")


class AutoModelForSequenceClassification(Model):
    """A model that scores a whole text: `logits`, float, (texts, labels)."""

    task = find_task("text-classification")


class AutoModelForTokenClassification(Model):
    """A model that scores each token: `logits`, float, (texts, tokens, labels)."""

    task = find_task("token-classification")

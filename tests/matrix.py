"""`make matrix`: export every architecture for every task in every dtype, verify each, and write down what came out.

The models are tiny and random, so that many labels are near-ties: the agreements of quantised variants here are lower than
those of a trained model. What the page shows is that each combination converts, runs, and is near.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
import transformers
from fixtures.checkpoints import CONFIGS, DECODERS, ENCODER_DECODERS, TinyModels

from torchless.errors import ExportError
from torchless.folder.manifest import Manifest, Verification
from torchless.tasks import TASKS, Task, find_task
from torchless_export.converters.optimum import check_supported
from torchless_export.export import Silent, export
from torchless_export.quantization.variants import VARIANTS
from torchless_export.sample import sample_texts

# Model type, task, further settings, and the length up to which it can be exported.
CHANGING: tuple[tuple[str, str, dict[str, Any], int | None], ...] = (
    ("big_bird", "text-classification", {}, 144),
    *((model_type, "text-classification", {}, None) for model_type in ("convbert", "mobilebert", "nystromformer")),
    (
        "llama",
        "text-generation",
        {"max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        None,
    ),
    ("phi3", "text-generation", {}, None),
    ("longt5", "text2text-generation", {}, None),
)
PAGE = Path(__file__).parents[1] / "docs" / "verified.md"
HEAD = """# What is verified

`make matrix` writes this page. For each architecture and each of its tasks, it exports a tiny model with random weights in every
dtype. It verifies each variant against PyTorch on {texts} texts, as `torchless export` does, and on [texts that the export
adds](exporting.md#the-texts-of-the-verification): pairs, and texts of the lengths in the column `lengths`, which cross each window
and switch of the model. The column `batch` says whether rows of different lengths share a batch: they do not where padding
changes an answer, which the export measures.

The column `fp32` shows the largest |Δ| of any score. fp32 agrees on every answer; without that, there is no row. The other columns
show the agreement of the final answers with PyTorch. With random weights, many answers are near-ties, so a trained model agrees on
more answers. [Variants](variants.md#the-gate) shows the figures of a trained model. Versions: torch {torch}, transformers {transformers}.

"""
CHANGING_HEAD = """
## Models that change their way

Beyond a length, or beside other rows, these compute an answer in another way: BigBird attends sparsely above 144 tokens here, so
it is exported for shorter texts (`--max-tokens`); llama has rotary frequencies of the type `dynamic` with a context of 64 tokens,
and phi3 of the type `longrope` with a switch at 64.

"""
REFUSED_HEAD = """
The export refuses:

"""


def main() -> None:
    torch.set_num_threads(1)
    texts = sample_texts(60)
    with TemporaryDirectory() as scratch:
        tiny = TinyModels(Path(scratch))
        texts_file = Path(scratch) / "texts.txt"
        texts_file.write_text("\n".join(texts), encoding="utf-8")
        changing, refused = [], []
        for model_type, task_name, config, max_tokens in CHANGING:
            task = find_task(task_name)
            try:
                changing.append(row(model_type, task, tiny, texts_file, max_tokens=max_tokens, **config))
            except ExportError as error:
                refused.append(f"- {model_type}, {task_name}: {error.problem}\n")
        rows = [
            row(model_type, task, tiny, texts_file)
            for model_type in [*CONFIGS, *DECODERS, *ENCODER_DECODERS]
            for task in TASKS
            if task.graph == task.name and has_head(model_type, task)
        ]
    head = HEAD.format(
        texts=len(texts), torch=torch.__version__.partition("+")[0], transformers=transformers.__version__
    )
    PAGE.write_text(
        head + table(rows) + CHANGING_HEAD + table(changing) + REFUSED_HEAD + "".join(refused), encoding="utf-8"
    )


def table(rows: Sequence[str]) -> str:
    """The rows of a table under its head."""
    head = ("architecture", "task", "lengths", "batch", *VARIANTS)
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *rows]) + "\n"


def has_head(model_type: str, task: Task) -> bool:
    """Whether `transformers` has the task's head for an architecture, and optimum's exporter knows it."""
    config = transformers.AutoConfig.for_model(model_type)
    families = ENCODER_DECODERS if task.encoder_decoder else DECODERS if task.cached else CONFIGS
    known = type(config) in getattr(transformers, task.auto_class)._model_mapping.keys()  # noqa: SIM118 - lazy
    try:
        check_supported(model_type, task)
    except ExportError:
        return False
    return known and model_type in families


def row(
    model_type: str, task: Task, tiny: TinyModels, texts: Path, *, max_tokens: int | None = None, **config: Any
) -> str:
    """Export in all dtypes at once, and return the page's row."""
    checkpoint = tiny.checkpoint(model_type, task.name, **config)
    out = checkpoint.with_name(f"{checkpoint.name}-all")
    manifest, _ = export(
        str(checkpoint),
        out,
        Silent(),
        task=task.name,
        dtypes=tuple(VARIANTS),
        verify_with=texts,
        min_agreement=0,
        max_tokens=max_tokens,
    )
    cells = " | ".join(cell(manifest, dtype) for dtype in VARIANTS)
    lengths = ", ".join(map(str, verification(manifest, "fp32").lengths))
    batch = "one row" if manifest.variants["fp32"].batch_dependent else "shared"
    line = f"| {model_type} | {task.name} | {lengths} | {batch} | {cells} |"
    print(line, flush=True)
    return line


def cell(manifest: Manifest, dtype: str) -> str:
    """Return the figure of a variant."""
    measured = verification(manifest, dtype)
    return f"{measured.max_abs_diff:.0e}" if dtype == "fp32" else f"{measured.agreement:.0%}"


def verification(manifest: Manifest, dtype: str) -> Verification:
    """Return the verification of a variant."""
    measured = manifest.variants[dtype].verification
    assert measured is not None
    return measured


if __name__ == "__main__":
    main()

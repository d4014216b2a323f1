"""Makes the checkpoints of models that write: random weights in known shapes, one tokenizer for all, and their conversions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.checkpoints import folder
from benchmarks.random_weights import randomise
from torchless_export.export import Silent, export
from torchless_export.sample import sample_texts

__all__ = ["DTYPES", "MAKERS", "SHAPES", "Shape"]

DTYPES = ("fp32", "q8", "q4")
_BOS, _PAD, _EOS, _UNKNOWN = "<s>", "<pad>", "</s>", "<unk>"
_SPECIAL = (_BOS, _PAD, _EOS, _UNKNOWN)
_TEXTS = 4  # to verify on; every token of them is compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's architecture and sizes.

    Attributes:
        type: The architecture.
        config: What its configuration says, beside the special tokens.
        task: What it is exported for.
    """

    type: str
    config: Mapping[str, Any]
    task: str


SHAPES = {
    # 124 million parameters.
    "gpt2": Shape(type="gpt2", config={}, task="text-generation"),
    # 107 million, with three queries to a key.
    "llama": Shape(
        type="llama",
        config={
            "hidden_size": 768,
            "intermediate_size": 2048,
            "max_position_embeddings": 2048,
            "num_attention_heads": 12,
            "num_hidden_layers": 12,
            "num_key_value_heads": 4,
            "tie_word_embeddings": True,
            "vocab_size": 32000,
        },
        task="text-generation",
    ),
    # T5-small's.
    "t5": Shape(type="t5", config={"decoder_start_token_id": _SPECIAL.index(_PAD)}, task="summarization"),
    # BART-base's. No token is forced at the end, which not every peer can do.
    "bart": Shape(
        type="bart",
        config={
            "d_model": 768,
            "decoder_attention_heads": 12,
            "decoder_ffn_dim": 3072,
            "decoder_layers": 6,
            "decoder_start_token_id": _SPECIAL.index(_EOS),
            "encoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "encoder_layers": 6,
            "forced_eos_token_id": None,
            "normalize_before": False,  # as published checkpoints say, which CTranslate2 reads
        },
        task="summarization",
    ),
}
"""By a checkpoint's name."""


def _checkpoint(shape: Shape, out: Path) -> None:
    """A model with random weights, and a tokenizer with a name for each of its tokens."""
    ids = {f"{name}_token_id": _SPECIAL.index(token) for name, token in (("bos", _BOS), ("pad", _PAD), ("eos", _EOS))}
    config = transformers.AutoConfig.for_model(shape.type, **ids, **shape.config)
    written = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = written.from_config(config)
    randomise(model, seed=0)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):  # else one token is the likeliest after any other
            module.weight.data /= module.weight.data.std()
    if shape.type == "t5":  # whose queries are small instead of scaled; larger ones would magnify every rounding
        for name, weights in model.named_parameters():
            if name.endswith(".q.weight"):
                weights.data *= config.d_kv**-0.5
    model.save_pretrained(out)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(config.vocab_size),
        bos_token=_BOS,
        pad_token=_PAD,
        eos_token=_EOS,
        unk_token=_UNKNOWN,
        model_max_length=512,
    )
    tokenizer.save_pretrained(out)


def _byte_level(size: int) -> Tokenizer:
    """Return a byte-level BPE of the sample's texts, filled up to a size with tokens that no text has."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=8000,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample_texts(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([f"<unused{index}>" for index in range(tokenizer.get_vocab_size(), size)])
    return tokenizer


def _torchless(name: str, out: Path) -> None:
    with TemporaryDirectory() as scratch:
        texts = Path(scratch) / "texts.txt"
        texts.write_text("\n".join(sample_texts(_TEXTS)), encoding="utf-8")
        # Random weights make near-ties of most tokens: a variant's agreement says nothing there.
        export(
            str(folder(name)),
            out,
            Silent(),
            task=SHAPES[name].task,
            dtypes=DTYPES,
            verify_with=texts,
            calibrate_with=texts,
            min_agreement=0,
        )


def _optimum(name: str, out: Path) -> None:
    """Optimum's own export."""
    from optimum.onnxruntime import ORTModelForCausalLM

    ORTModelForCausalLM.from_pretrained(folder(name), export=True).save_pretrained(out)


def _ctranslate2(name: str, out: Path) -> None:
    """CTranslate2's conversion, in float32; what it computes in is chosen when it is loaded."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder(name))).convert(str(out))


MAKERS: Mapping[str, Callable[[Path], None]] = {
    **{name: partial(_checkpoint, shape) for name, shape in SHAPES.items()},
    **{f"{name}-torchless": partial(_torchless, name) for name in SHAPES},
    **{f"{name}-ctranslate2": partial(_ctranslate2, name) for name in SHAPES},
    **{f"{name}-optimum": partial(_optimum, name) for name in ("gpt2", "llama")},
}
"""By the names of `checkpoints.CHECKPOINTS`."""

"""Makes the checkpoints of generative models, with known shapes, random weights and a shared tokenizer, and converts them."""

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
_VERIFICATION_TEXTS = 4  # the export compares every token of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's architecture and sizes.

    Attributes:
        type: The architecture.
        config: The configuration, except the special tokens.
        task: The task of the export.
    """

    type: str
    config: Mapping[str, Any]
    task: str


SHAPES = {
    # 124 million parameters.
    "gpt2": Shape(type="gpt2", config={}, task="text-generation"),
    # 107 million parameters, with three queries per key.
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
    # The shape of T5-small.
    "t5": Shape(type="t5", config={"decoder_start_token_id": _SPECIAL.index(_PAD)}, task="summarization"),
    # The shape of BART-base. No token is forced at the end, because some peers do not support it.
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
            "normalize_before": False,  # as in published checkpoints; CTranslate2 reads it
        },
        task="summarization",
    ),
}
"""The shapes by name of the checkpoint."""


def _checkpoint(shape: Shape, out: Path) -> None:
    """Make a model with random weights, and a tokenizer with a name for each token of the model."""
    ids = {f"{name}_token_id": _SPECIAL.index(token) for name, token in (("bos", _BOS), ("pad", _PAD), ("eos", _EOS))}
    config = transformers.AutoConfig.for_model(shape.type, **ids, **shape.config)
    auto_class = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = auto_class.from_config(config)
    randomise(model, seed=0)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):  # without this, the same token is the likeliest after any other
            module.weight.data /= module.weight.data.std()
    if shape.type == "t5":  # T5 has small queries instead of scaled ones; large queries would magnify rounding
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
    """Return a byte-level BPE trained on the sample, filled up to a size with unused tokens."""
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
        texts.write_text("\n".join(sample_texts(_VERIFICATION_TEXTS)), encoding="utf-8")
        # With random weights most tokens are near-ties, so the agreement of a variant has no meaning.
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
    """Make the export of optimum."""
    from optimum.onnxruntime import ORTModelForCausalLM

    ORTModelForCausalLM.from_pretrained(folder(name), export=True).save_pretrained(out)


def _ctranslate2(name: str, out: Path) -> None:
    """Convert to CTranslate2 in float32. The compute type is chosen when the model is loaded."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder(name))).convert(str(out))


MAKERS: Mapping[str, Callable[[Path], None]] = {
    **{name: partial(_checkpoint, shape) for name, shape in SHAPES.items()},
    **{f"{name}-torchless": partial(_torchless, name) for name in SHAPES},
    **{f"{name}-ctranslate2": partial(_ctranslate2, name) for name in SHAPES},
    **{f"{name}-optimum": partial(_optimum, name) for name in ("gpt2", "llama")},
}
"""The functions that make the checkpoints, by the names of `checkpoints.CHECKPOINTS`."""

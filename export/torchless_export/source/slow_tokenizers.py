"""Checkpoints that bring no `tokenizer.json`: their slow tokenizer becomes a fast one, and is compared with it."""

import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from torchless.errors import ExportError, MissingExtraError
from torchless_export.sample import sample_texts

__all__ = ["HARD_TEXTS", "check_same", "load_tokenizer"]

HARD_TEXTS = (
    "",
    "a",
    "Spaces   between  the words",
    "Two\nlines and a\ttab",
    "“Naïve” café — 50 % off: €5.50, 3,000 things!",
    "Straße, señor, Łódź, Ελλάδα, Москва",
    "我爱这部电影。とても良い",
    "I ❤️ it 🎬👩‍👩‍👧",
    "ALL CAPITALS and don't, won't, they'll",
    "https://example.org/a_b?c=1&d=2",
)
"""What real texts seldom hold, compared beside the sample. Spaces at the end are left out: ALBERT's own two disagree."""

_SENTENCEPIECE_FILES = ("*.model", "*.spm")
_UNIGRAM = 1
_NORMAL, _USER_DEFINED = 1, 4
_SPACE = "▁"
# A character that no vocabulary has.
_UNKNOWN = "\ufffd"


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Load the fast tokenizer of a checkpoint; where there is only a slow one, convert that.

    Args:
        folder: The checkpoint's.
        trust_remote_code: The tokenizer may be code that the checkpoint brings.

    Raises:
        ExportError: The slow tokenizer has no fast version, or the fast one answers differently.
        MissingExtraError: A package that reads the checkpoint's files is not installed.
    """
    import transformers

    written = folder / "tokenizer.json"
    if not written.is_file() and any(path for pattern in _SENTENCEPIECE_FILES for path in folder.glob(pattern)):
        _require("sentencepiece", "google.protobuf")
    load = partial(transformers.AutoTokenizer.from_pretrained, folder, trust_remote_code=trust_remote_code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what conversions warn of is compared below
        tokenizer = load()
        if tokenizer.is_fast and written.is_file():
            return tokenizer
        slow = load(use_fast=False) if tokenizer.is_fast else tokenizer
        fast = tokenizer if tokenizer.is_fast else _converted(slow, written)
    check_same(slow, fast)
    return fast


def check_same(slow: Any, fast: Any) -> None:
    """Raise unless two tokenizers give the same ids for the sample's texts and for hard ones.

    Args:
        slow: What the checkpoint brings.
        fast: What it was converted to.

    Raises:
        ExportError: They differ on a text.
    """
    for text in (*HARD_TEXTS, *sample_texts()):
        expected, got = (tokenizer(text)["input_ids"] for tokenizer in (slow, fast))
        if expected != got:
            first = next((at for at, ids in enumerate(zip(expected, got, strict=False)) if ids[0] != ids[1]), 0)
            raise ExportError(
                f"The fast tokenizer for {type(slow).__name__} differs from it on {text!r}: "
                f"at token {first} {got[first : first + 8]}, and the checkpoint's gives {expected[first : first + 8]}.",
                hint="Put the tokenizer.json of the model's authors beside the weights.",
            )


def _require(*packages: str) -> None:
    for package in packages:
        # A name in a package that is missing raises, instead of answering None.
        parents = [package.rpartition(".")[0]] if "." in package else []
        if any(find_spec(name) is None for name in [*parents, package]):
            raise MissingExtraError("Converting a sentencepiece tokenizer", extra="export")


def _converted(slow: Any, written: Path) -> Any:
    """Return the fast version of a tokenizer whose class has none: what was written by hand comes first."""
    import transformers
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    name = type(slow).__name__
    if written.is_file():
        backend = Tokenizer.from_file(str(written))
    elif name in _CONVERTERS:
        backend = _CONVERTERS[name](slow)
    elif name in SLOW_TO_FAST_CONVERTERS:
        backend = SLOW_TO_FAST_CONVERTERS[name](slow).converted()
    else:
        raise ExportError(
            f"{name} has no fast version, which writes the tokenizer.json that the runtime reads.",
            hint="Put a tokenizer.json that gives the same ids beside the weights, or choose another checkpoint.",
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=slow.model_max_length,
        model_input_names=slow.model_input_names,
        padding_side=slow.padding_side,
        truncation_side=slow.truncation_side,
        clean_up_tokenization_spaces=slow.clean_up_tokenization_spaces,
        added_tokens_decoder={
            index: token
            for index, token in slow.added_tokens_decoder.items()
            if backend.token_to_id(token.content) is None
        },
        **slow.special_tokens_map,
    )


def _marian(slow: Any) -> Tokenizer:
    """Return what encodes as Marian's source model does, and decodes as its target model.

    Two sentencepiece models share one vocabulary. A piece of the target's alone must never be found in a text: it gets a
    space in front, which the pre-tokenizer leaves in no text, and which the decoder takes off. But a lone character that
    the source does not know is looked up in the whole vocabulary, so pieces of one character stay as they are; a run of
    unknown characters is one unknown token.

    Source: `MarianTokenizer` of transformers 4.57.6, models/marian/tokenization_marian.py.
    """
    from transformers.convert_slow_tokenizer import import_protobuf

    source = import_protobuf().ModelProto.FromString(Path(slow.spm_files[0]).read_bytes())
    if slow.separate_vocabs or source.trainer_spec.model_type != _UNIGRAM:
        kind = "two vocabularies" if slow.separate_vocabs else "a sentencepiece model that is not a unigram model"
        raise ExportError(
            f"This MarianTokenizer has {kind}, which no tokenizer.json of one vocabulary can hold.",
            hint="Choose a checkpoint with one shared unigram vocabulary, as those of Helsinki-NLP/opus-mt are.",
        )
    ids: Mapping[str, int] = slow.encoder
    # Language codes are one token wherever they stand; the slow one takes them at the start alone.
    whole = dict.fromkeys(slow.supported_language_codes, False)
    whole |= {token.content: token.special for _, token in sorted(slow.added_tokens_decoder.items())}

    scores = {piece.piece: piece.score for piece in source.pieces if piece.type in {_NORMAL, _USER_DEFINED}}
    lowest = min(scores.values())
    pieces = [
        (piece if piece in scores or piece in whole or len(piece) == 1 else f" {piece}", scores.get(piece, lowest))
        for piece in sorted(ids, key=ids.__getitem__)
    ]
    known = "".join(re.escape(piece) for piece in sorted(scores) if len(piece) == 1)
    charsmap = source.normalizer_spec.precompiled_charsmap
    steps = [
        *([normalizers.Precompiled(charsmap)] if charsmap else []),
        normalizers.Strip(),
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Replace(Regex(rf"[^\s{known}]{{2,}}"), _UNKNOWN),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=ids[slow.unk_token]))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {slow.eos_token}",
        pair=f"$A $B {slow.eos_token}",
        special_tokens=[(slow.eos_token, slow.eos_token_id)],
    )
    tokenizer.decoder = _marian_decoder(slow)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=special) for token, special in whole.items()])
    return tokenizer


def _marian_decoder(slow: Any) -> decoders.Decoder:
    """Return what joins pieces: a space follows each special token, and stands on both sides of a token that was added."""
    spaces = {token.content: " " * (index >= slow.vocab_size) for index, token in slow.added_tokens_decoder.items()}
    spaced = [
        decoders.Replace(Regex(f"{before and ' ?'}{re.escape(token)} ?"), f"{before}{token} ")
        for token, before in spaces.items()
    ]
    return decoders.Sequence(
        [
            decoders.Replace(" ", ""),
            decoders.Metaspace(_SPACE),
            decoders.Fuse(),
            *spaced,
            decoders.Replace(Regex(r"^\s+|\s+$"), ""),
        ]
    )


def _m2m100(slow: Any) -> Tokenizer:
    """Return what encodes as M2M100's sentencepiece model does, with the ids of `vocab.json`.

    The tokens of its languages follow that vocabulary, and stand before each text.

    Source: `M2M100Tokenizer` of transformers 4.57.6, models/m2m_100/tokenization_m2m_100.py.
    """
    from transformers.convert_slow_tokenizer import SpmConverter

    class Converter(SpmConverter):  # type: ignore[misc]
        """The pieces of a sentencepiece model, in the order of another vocabulary."""

        def vocab(self, proto: Any) -> list[tuple[str, float]]:
            scores = {piece.piece: piece.score for piece in proto.pieces}
            lowest = min(scores.values())
            return [(piece, scores.get(piece, lowest)) for piece in sorted(slow.encoder, key=slow.encoder.__getitem__)]

        def unk_id(self, _proto: Any) -> int:
            return int(slow.unk_token_id)

    tokenizer: Tokenizer = Converter(SimpleNamespace(vocab_file=slow.spm_file)).converted()
    languages = sorted(slow.lang_token_to_id, key=slow.lang_token_to_id.__getitem__)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in languages])
    language = slow.get_lang_token(slow.src_lang)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[language, "$A", slow.eos_token],
        pair=[language, "$A", "$B", slow.eos_token],
        special_tokens=[(language, slow.get_lang_id(slow.src_lang)), (slow.eos_token, slow.eos_token_id)],
    )
    return tokenizer


_CONVERTERS: Mapping[str, Callable[[Any], Tokenizer]] = {"M2M100Tokenizer": _m2m100, "MarianTokenizer": _marian}

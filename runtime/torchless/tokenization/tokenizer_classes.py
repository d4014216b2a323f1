"""What the tokenizer classes of `transformers` say where a folder's files are silent, and which class a model has.

A class is known by its name without `Tokenizer` and `Fast`: `Bert` is `BertTokenizerFast`.

Source: the signatures and attributes of the classes in transformers 4.57.6, models/*/tokenization_*.py, and
    `TOKENIZER_MAPPING_NAMES` in models/auto/tokenization_auto.py. Where a class has a fast version, that one counts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torchless.folder.config import ModelConfig

__all__ = ["ROLES", "TokenizerClass", "class_name_of", "tokenizer_class"]

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The special tokens that have a name, in the order of `SpecialTokensMixin.SPECIAL_TOKENS_ATTRIBUTES`."""

_ALL_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
_NO_TYPES = ("input_ids", "attention_mask")

# How a class adds a token that its files give as a string: a mask takes the space before it along. What has no row is added
# only where the vocabulary does not have it as a token yet.
_MASK = {"mask_token": {"lstrip": True}}
_NORMALIZED_MASK = {"mask_token": {"lstrip": True, "normalized": True}}
_ADDED: dict[str, dict[str, bool]] = {role: {} for role in ROLES}
_ALL_AND_MASK = _ADDED | _MASK


class TokenizerClass(NamedTuple):
    """The defaults of a class.

    Attributes:
        special_tokens: The token of each role, in the order of `ROLES`; `-` where there is none.
        model_input_names: What a call returns.
        settings: The defaults of other values of `tokenizer_config.json`.
        flags: How tokens of some roles are added, by role: the fields of `tokenizers.AddedToken`.
        pad_token_type_id: The token type of padding.
    """

    special_tokens: str = "- - - - - - -"
    model_input_names: tuple[str, ...] = _ALL_INPUTS
    settings: Mapping[str, Any] = {}
    flags: Mapping[str, Mapping[str, bool]] = {}
    pad_token_type_id: int = 0

    def defaults(self) -> dict[str, Any]:
        """Return the defaults, by their names in `tokenizer_config.json`."""
        pairs = zip(ROLES, self.special_tokens.split(), strict=True)
        named = {role: None if content == "-" else content for role, content in pairs}
        return {**named, "model_input_names": list(self.model_input_names), **self.settings}


_BERT_TOKENS = "- - [UNK] [SEP] [PAD] [CLS] [MASK]"
_ROBERTA_TOKENS = "<s> </s> <unk> </s> <pad> <s> <mask>"
_ALBERT_TOKENS = "[CLS] [SEP] <unk> [SEP] <pad> [CLS] [MASK]"
_DEBERTA_TOKENS = "[CLS] [SEP] [UNK] [SEP] [PAD] [CLS] [MASK]"
_GPT2_TOKENS = "<|endoftext|> <|endoftext|> <|endoftext|> - - - -"
_T5_TOKENS = "- </s> <unk> - <pad> - -"
_XLNET_TOKENS = "<s> </s> <unk> <sep> <pad> <cls> <mask>"
_XLM_TOKENS = "<s> - <unk> </s> <pad> </s> <special1>"
_BLOOM_TOKENS = "<s> </s> <unk> - <pad> - -"
_M2M_TOKENS = "<s> </s> <unk> </s> <pad> - -"
_CLIP_TOKENS = "<|startoftext|> <|endoftext|> <|endoftext|> - <|endoftext|> - -"

_UNCASED = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None}
_NO_PREFIX_SPACE = {"add_prefix_space": False}
_TRIMMED = {"add_prefix_space": False, "trim_offsets": True}
_BEGINS = {"padding_side": "left", "add_bos_token": True, "add_eos_token": False, "add_prefix_space": None}
_XLM_SPECIAL = {"additional_special_tokens": [f"<special{index}>" for index in range(10)]}
_XLNET_SPECIAL = {"additional_special_tokens": ["<eop>", "<eod>"]}

_GENERIC = TokenizerClass()
_BERT = TokenizerClass(_BERT_TOKENS, settings=_UNCASED)
_DISTILBERT = TokenizerClass(_BERT_TOKENS, _NO_TYPES, _UNCASED)
_ROBERTA = TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, _TRIMMED, _MASK)
_BART = TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, _TRIMMED, _NORMALIZED_MASK)
_XLM_ROBERTA = TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, flags=_MASK)
_T5 = TokenizerClass(_T5_TOKENS, _NO_TYPES, {"add_prefix_space": None})
_GPT2 = TokenizerClass(_GPT2_TOKENS, _NO_TYPES, _NO_PREFIX_SPACE)
_LLAMA = TokenizerClass("<s> </s> <unk> - - - -", _NO_TYPES, _BEGINS)

_CLASSES: Mapping[str, TokenizerClass] = {
    "Albert": TokenizerClass(_ALBERT_TOKENS, flags=_MASK),
    "Bart": _BART,
    "Barthez": _XLM_ROBERTA,
    "Bert": _BERT,
    "BigBird": TokenizerClass("<s> </s> <unk> [SEP] <pad> [CLS] [MASK]", _NO_TYPES, flags=_ALL_AND_MASK),
    "Blenderbot": _ROBERTA,
    "BlenderbotSmall": TokenizerClass(_GPT2_TOKENS, settings=_NO_PREFIX_SPACE),
    "Bloom": TokenizerClass(_BLOOM_TOKENS, _NO_TYPES, _NO_PREFIX_SPACE),
    "CLIP": TokenizerClass(_CLIP_TOKENS, _NO_TYPES),
    "Camembert": TokenizerClass(
        _ROBERTA_TOKENS,
        _NO_TYPES,
        {"additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]},
        _MASK,
    ),
    "CodeGen": _GPT2,
    "CodeLlama": TokenizerClass("<s> </s> <unk> - - - -", _NO_TYPES, {**_BEGINS, "add_prefix_space": False}),
    "Cohere": TokenizerClass(
        "<BOS_TOKEN> <|END_OF_TURN_TOKEN|> <UNK> - - - -", _NO_TYPES, {**_BEGINS, "add_prefix_space": False}
    ),
    "ConvBert": _BERT,
    "Cpm": TokenizerClass(_XLNET_TOKENS, settings=_XLNET_SPECIAL, flags=_MASK, pad_token_type_id=3),
    "DPRContextEncoder": _BERT,
    "DPRQuestionEncoder": _BERT,
    "DPRReader": _DISTILBERT,
    "Deberta": TokenizerClass(_DEBERTA_TOKENS, ("input_ids", "attention_mask", "token_type_ids"), _NO_PREFIX_SPACE),
    "DebertaV2": TokenizerClass(_DEBERTA_TOKENS),
    "DistilBert": _DISTILBERT,
    "Electra": _BERT,
    "FNet": TokenizerClass(
        "- - <unk> [SEP] <pad> [CLS] [MASK]",
        ("input_ids", "token_type_ids"),
        flags={"sep_token": {}, "cls_token": {}, **_MASK},
    ),
    "Funnel": TokenizerClass(_XLNET_TOKENS, settings=_UNCASED),
    "GPT2": _GPT2,
    "GPTNeoX": TokenizerClass(
        _GPT2_TOKENS, _NO_TYPES, {**_NO_PREFIX_SPACE, "add_bos_token": False, "add_eos_token": False}
    ),
    "Gemma": TokenizerClass("<bos> <eos> <unk> - <pad> - -", _NO_TYPES, {**_BEGINS, "add_prefix_space": False}),
    "Herbert": TokenizerClass("- - <unk> </s> <pad> <s> <mask>"),
    "LED": _BART,
    "LayoutLM": _BERT,
    "LayoutLMv2": _BERT,
    "LayoutLMv3": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, {"add_prefix_space": True, "trim_offsets": True}),
    "LayoutXLM": _XLM_ROBERTA,
    "Llama": _LLAMA,
    "Longformer": _ROBERTA,
    "Lxmert": _BERT,
    "MBart": _XLM_ROBERTA,
    "MBart50": TokenizerClass("- </s> <unk> </s> <pad> <s> <mask>", _NO_TYPES, flags=_MASK),
    "MPNet": TokenizerClass("<s> </s> [UNK] </s> <pad> <s> <mask>", _NO_TYPES, _UNCASED, _ALL_AND_MASK),
    "MT5": _T5,
    "MarkupLM": TokenizerClass(_ROBERTA_TOKENS, settings=_NO_PREFIX_SPACE, flags=_ALL_AND_MASK),
    "MobileBert": _BERT,
    "Mvp": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, _TRIMMED, _ALL_AND_MASK),
    "Nllb": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, flags=_NORMALIZED_MASK),
    "Nougat": TokenizerClass(_BLOOM_TOKENS, _NO_TYPES),
    "OpenAIGPT": TokenizerClass("- - <unk> - - - -", _NO_TYPES),
    "Parakeet": _GENERIC,
    "Pegasus": TokenizerClass("- </s> <unk> - <pad> - <mask_2>", _NO_TYPES),
    "PreTrained": _GENERIC,
    "Qwen2": TokenizerClass("- <|endoftext|> <|endoftext|> - <|endoftext|> - -", _NO_TYPES, flags=_ADDED),
    "Realm": _BERT,
    "Reformer": TokenizerClass("- </s> <unk> - - - -", _NO_TYPES),
    "RemBert": TokenizerClass(_ALBERT_TOKENS, flags=_MASK),
    "RetriBert": _DISTILBERT,
    "RoFormer": _BERT,
    "Roberta": _ROBERTA,
    "SeamlessM4T": TokenizerClass("<s> </s> <unk> </s> <pad> <s> -", _NO_TYPES),
    "Splinter": TokenizerClass(_BERT_TOKENS, settings={**_UNCASED, "additional_special_tokens": ["[QUESTION]"]}),
    "SqueezeBert": _BERT,
    "T5": _T5,
    "TokenizersBackend": TokenizerClass(model_input_names=_NO_TYPES),  # of transformers 5
    "Udop": TokenizerClass("- </s> <unk> </s> <pad> - -", _NO_TYPES),
    "Whisper": TokenizerClass(_GPT2_TOKENS, _NO_TYPES, _NO_PREFIX_SPACE, _ADDED),
    "XGLM": TokenizerClass("<s> </s> <unk> </s> <pad> <s> -", _NO_TYPES),
    "XLMRoberta": _XLM_ROBERTA,
    "XLNet": TokenizerClass(
        _XLNET_TOKENS,
        settings={**_XLNET_SPECIAL, "padding_side": "left"},
        flags=_MASK,
        pad_token_type_id=3,
    ),
    # Those that have no fast version, whose tokenizer.json others made.
    "Bartpho": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES),
    "BertGeneration": TokenizerClass("<s> </s> <unk> <::::> <pad> - -", _NO_TYPES),
    "BertJapanese": TokenizerClass(_BERT_TOKENS),
    "Bertweet": TokenizerClass(_ROBERTA_TOKENS),
    "BioGpt": TokenizerClass(_M2M_TOKENS, _NO_TYPES),
    "ByT5": TokenizerClass(_T5_TOKENS, _NO_TYPES),
    "CTRL": TokenizerClass("- - <unk> - - - -"),
    "CpmAnt": TokenizerClass(_BLOOM_TOKENS, _NO_TYPES),
    "Esm": TokenizerClass("- <eos> <unk> - <pad> <cls> <mask>", _NO_TYPES),
    "FSMT": TokenizerClass("<s> - <unk> </s> <pad> - -", _NO_TYPES),
    "Flaubert": TokenizerClass(_XLM_TOKENS, settings=_XLM_SPECIAL),
    "GPTNeoXJapanese": TokenizerClass(_CLIP_TOKENS, _NO_TYPES),
    "Luke": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, _NO_PREFIX_SPACE),
    "M2M100": TokenizerClass(_M2M_TOKENS, _NO_TYPES),
    "MLuke": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES),
    "Marian": TokenizerClass(_T5_TOKENS, _NO_TYPES),
    "MyT5": TokenizerClass(_T5_TOKENS, _NO_TYPES),
    "PLBart": TokenizerClass(_ROBERTA_TOKENS, _NO_TYPES, {"clean_up_tokenization_spaces": True}),
    "Phobert": TokenizerClass(_ROBERTA_TOKENS),
    "ProphetNet": TokenizerClass("- - [UNK] [SEP] [PAD] - [MASK]", _NO_TYPES, {"clean_up_tokenization_spaces": True}),
    "RoCBert": TokenizerClass(_BERT_TOKENS),
    "Siglip": TokenizerClass("- </s> <unk> - </s> - -", _NO_TYPES),
    "Tapas": TokenizerClass(_BERT_TOKENS, settings={"clean_up_tokenization_spaces": True}),
    "XLM": TokenizerClass(_XLM_TOKENS, settings=_XLM_SPECIAL),
    "XLMProphetNet": TokenizerClass("[SEP] [SEP] [UNK] [SEP] [PAD] [CLS] [MASK]", _NO_TYPES),
}

# Model types that share the class of another. Most others are called as their class is.
_MODEL_TYPES: Mapping[str, str] = {
    "Albert": "albert nystromformer yoso",
    "Bart": "bart",
    "Barthez": "barthez",
    "Bartpho": "bartpho",
    "Bert": "align bark bert blip bros chinese_clip ernie git grounding-dino megatron-bert mm-grounding-dino nezha "
    "qdqbert tvp vilt visual_bert",
    "BertGeneration": "bert-generation",
    "BertJapanese": "bert-japanese",
    "Bertweet": "bertweet",
    "BigBird": "big_bird",
    "BioGpt": "biogpt",
    "Blenderbot": "blenderbot",
    "Bloom": "bloom",
    "ByT5": "byt5",
    "CLIP": "aimv2 clip clipseg groupvit omdet-turbo oneformer owlv2 owlvit xclip",
    "CTRL": "ctrl",
    "Camembert": "camembert",
    "CodeGen": "codegen phi",
    "CodeLlama": "code_llama",
    "Cohere": "aya_vision cohere cohere2",
    "ConvBert": "convbert",
    "Cpm": "cpm",
    "CpmAnt": "cpmant",
    "DPRQuestionEncoder": "dpr",
    "Deberta": "deberta",
    "DebertaV2": "deberta-v2",
    "DistilBert": "distilbert",
    "Electra": "electra",
    "Esm": "esm",
    "FNet": "fnet",
    "FSMT": "fsmt",
    "Flaubert": "flaubert",
    "Funnel": "funnel",
    "GPT2": "blip-2 dbrx emu3 exaone4 flex_olmo gpt2 gpt_bigcode gpt_neo gptj granite granitemoe granitemoehybrid "
    "granitemoeshared instructblip instructblipvideo minimax olmo3 opt starcoder2",
    "GPTNeoX": "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmo2 olmoe rwkv stablelm xlstm",
    "GPTNeoXJapanese": "gpt_neox_japanese",
    "Gemma": "gemma gemma2 gemma3 gemma3_text gemma3n gemma3n_text recurrent_gemma shieldgemma2 siglip2 t5gemma",
    "Herbert": "herbert",
    "LED": "led",
    "LayoutLM": "layoutlm",
    "LayoutLMv2": "layoutlmv2",
    "LayoutLMv3": "layoutlmv3 lilt",
    "LayoutXLM": "layoutxlm",
    "Llama": "arcee aria chameleon colpali deepseek_v2 deepseek_v3 deepseek_vl deepseek_vl_hybrid diffllama ernie4_5 "
    "ernie4_5_moe idefics idefics2 idefics3 jamba janus jetmoe llama llama4 llama4_text llava llava_next "
    "llava_next_video llava_onevision ministral mistral mistral3 mixtral mllama paligemma persimmon phi3 phimoe "
    "video_llava vipllava zamba zamba2",
    "Longformer": "longformer",
    "Luke": "luke",
    "Lxmert": "lxmert",
    "M2M100": "m2m_100",
    "MBart": "mbart",
    "MBart50": "mbart50",
    "MLuke": "mluke",
    "MPNet": "mpnet",
    "MT5": "mt5",
    "Marian": "marian",
    "MobileBert": "mobilebert",
    "Mvp": "mvp",
    "MyT5": "myt5",
    "Nllb": "nllb nllb-moe",
    "OpenAIGPT": "openai-gpt",
    "PLBart": "plbart",
    "Pegasus": "bigbird_pegasus pegasus pegasus_x",
    "Phobert": "phobert",
    "ProphetNet": "prophetnet",
    "Qwen2": "colqwen2 internvl qwen2 qwen2_5_omni qwen2_5_vl qwen2_audio qwen2_moe qwen2_vl qwen3 qwen3_moe "
    "qwen3_next qwen3_omni_moe qwen3_vl qwen3_vl_moe",
    "Realm": "realm",
    "Reformer": "reformer",
    "RemBert": "rembert",
    "RetriBert": "retribert",
    "RoCBert": "roc_bert",
    "RoFormer": "roformer",
    "Roberta": "bridgetower clap data2vec-text ibert mega mra roberta roberta-prelayernorm",
    "SeamlessM4T": "seamless_m4t seamless_m4t_v2",
    "Siglip": "siglip",
    "Splinter": "splinter",
    "SqueezeBert": "squeezebert",
    "T5": "longt5 musicgen musicgen_melody pix2struct switch_transformers t5 umt5",
    "Tapas": "tapas",
    "Udop": "udop",
    "Whisper": "whisper",
    "XGLM": "xglm",
    "XLM": "xlm",
    "XLMProphetNet": "xlm-prophetnet",
    "XLMRoberta": "kosmos-2 metaclip_2 xlm-roberta xlm-roberta-xl xmod",
    "XLNet": "xlnet",
}


def class_name_of(declared: Mapping[str, Any], config: ModelConfig) -> str:
    """Return the name of a tokenizer's class, without `Tokenizer` and `Fast`; empty where no file says it.

    Args:
        declared: The values of `tokenizer_config.json`.
        config: The model's configuration, which says it by `tokenizer_class` or the model's type.
    """
    name = declared.get("tokenizer_class") or config.get("tokenizer_class")
    if name:
        return str(name).removesuffix("Fast").removesuffix("Tokenizer")
    model_type = config.get("model_type")
    if model_type == "encoder-decoder":
        model_type = (config.get("encoder") or {}).get("model_type")
    return next((name for name, types in _MODEL_TYPES.items() if model_type in types.split()), "")


def tokenizer_class(name: str) -> TokenizerClass:
    """Return the defaults of a class; of one that is not known, those of `PreTrainedTokenizerFast`."""
    return _CLASSES.get(name, _GENERIC)

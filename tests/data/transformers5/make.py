"""Write the tiny checkpoints of this folder, with the logits and the token ids that transformers 5.24 answers.

It needs an environment of its own: pip install torch==2.13.0 transformers==5.24.0
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HERE = Path(__file__).parent
TEXTS = ["A film of quiet power.", "<|im_start|>user\nIs it dull?<|im_end|>", "naïve café, 3,000 €!"]
LENGTHS = (8, 150)
SPECIAL = {"vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {
    **SPECIAL,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
BERT = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
T5 = {"vocab_size": 300, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3}
T5_TOKENS = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}
LAYERS = ("full_attention", "sliding_attention")


def default(theta):
    return {"rope_type": "default", "rope_theta": theta}


def byte_tokenizer():
    """A byte-level tokenizer of a plain class, with two more special tokens."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )


def word_tokenizer():
    """A tokenizer of BERT's own class."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "power", "dull", *letters]
    words += [f"##{letter}" for letter in letters if letter.isalpha()]
    return transformers.BertTokenizer(vocab={word: index for index, word in enumerate(words)}, do_lower_case=True)


def checkpoints():
    llama, qwen, phi = transformers.LlamaConfig, transformers.Qwen3Config, transformers.Phi3Config
    scaled = {
        **default(500000.0),
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    yield (
        "llama",
        transformers.LlamaForCausalLM(
            llama(**LLAMA, rope_parameters={**scaled, "original_max_position_embeddings": 64})
        ),
    )
    yarn = {"rope_type": "yarn", "rope_theta": 20000.0, "factor": 4.0, "original_max_position_embeddings": 64}
    yield "llama_yarn", transformers.LlamaForCausalLM(llama(**LLAMA, rope_parameters=yarn))
    yield "qwen3", transformers.Qwen3ForCausalLM(qwen(**LLAMA, head_dim=8, rope_parameters=default(1000000.0)))
    by_layer = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": default(2e4),
    }
    gemma = transformers.Gemma3TextConfig(
        **LLAMA, head_dim=8, sliding_window=16, layer_types=list(LAYERS[::-1]), rope_parameters=by_layer
    )
    yield "gemma3_text", transformers.Gemma3ForCausalLM(gemma)
    partial = {**default(5000.0), "partial_rotary_factor": 0.5}
    yield (
        "gpt_neox",
        transformers.GPTNeoXForCausalLM(
            transformers.GPTNeoXConfig(**{**BERT, **SPECIAL}, max_position_embeddings=256, rope_parameters=partial)
        ),
    )
    yield "phi3", transformers.Phi3ForCausalLM(phi(**LLAMA, rope_parameters=partial))
    yield (
        "gpt2",
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=300, n_embd=24, n_layer=2, n_head=4, n_positions=200, bos_token_id=1, eos_token_id=2
            )
        ),
    )
    yield "t5", transformers.T5ForConditionalGeneration(transformers.T5Config(**T5, **T5_TOKENS))
    yield (
        "t5_v1_1",
        transformers.T5ForConditionalGeneration(
            transformers.T5Config(**T5, **T5_TOKENS, tie_word_embeddings=False, feed_forward_proj="gated-gelu")
        ),
    )
    yield "mt5", transformers.MT5ForConditionalGeneration(transformers.MT5Config(**T5, **T5_TOKENS))
    yield "bert", transformers.BertForSequenceClassification(transformers.BertConfig(**BERT, num_labels=3))
    modern = transformers.ModernBertConfig(
        **{**BERT, **SPECIAL, "cls_token_id": 1, "sep_token_id": 2, "num_labels": 3},
        max_position_embeddings=256,
        local_attention=32,
        global_attn_every_n_layers=2,
        rope_parameters={"full_attention": default(5000.0), "sliding_attention": default(200.0)},
    )
    yield "modernbert", transformers.ModernBertForSequenceClassification(modern)


def main():
    for name, model in checkpoints():
        torch.manual_seed(0)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        folder, tokenizer = HERE / name, word_tokenizer() if name == "bert" else byte_tokenizer()
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        answers = {}
        for length in LENGTHS:
            ids = (torch.arange(length) % 250 + 10)[None]
            inputs = {"decoder_input_ids": ids[:, :7]} if model.config.is_encoder_decoder else {}
            with torch.inference_mode():
                answers[f"logits_{length}"] = model(ids, **inputs).logits[:, -7:].numpy()
        np.savez_compressed(folder / "logits.npz", **answers)
        encoded = [tokenizer(text)["input_ids"] for text in TEXTS]
        (folder / "token_ids.json").write_text(json.dumps(encoded) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

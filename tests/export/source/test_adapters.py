"""Adapters over models that generate."""

import peft
import torch
import transformers

import torchless
from torchless_export.export import Silent, export
from torchless_export.source.source import ReadOptions


def test_an_adapter_that_added_tokens_to_the_vocabulary(tiny, tmp_path):
    base = tiny.checkpoint("llama", "text-generation")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"])
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path / "adapter")

    out = tmp_path / "out"
    options = ReadOptions(base_model=str(base))
    export(str(tmp_path / "adapter"), out, Silent(), read_options=options, verify_with=tiny.few_texts())
    ids = tokenizer("<|im_start|>A film", return_tensors="pt").input_ids
    assert len(tokenizer) - 2 in ids[0].tolist()
    merged = adapted.merge_and_unload().eval()
    expected = merged.generate(ids, do_sample=False, max_new_tokens=8, eos_token_id=None).tolist()
    model = torchless.AutoModelForCausalLM.from_pretrained(out)
    assert model.generate(ids.numpy(), do_sample=False, max_new_tokens=8, eos_token_id=None).tolist() == expected

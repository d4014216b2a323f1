"""Adapters over models that generate."""

import peft
import pytest
import torch
import transformers

import torchless
from torchless.errors import ExportError, ExportWarning
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


def grown(tiny, folder, *, tied, save_embedding_layers="auto", **lora):
    """An adapter over a llama with two more tokens: its merged model, its tokenizer, and the options that read it."""
    base = folder / "base"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.checkpoint("llama", "text-generation"))
    config = transformers.AutoConfig.from_pretrained(tiny.checkpoint("llama", "text-generation"))
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    config.vocab_size = len(tokenizer)
    transformers.LlamaForCausalLM(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **lora))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0, 0.3)
    adapted.save_pretrained(folder / "adapter", save_embedding_layers=save_embedding_layers)
    tokenizer.save_pretrained(folder / "adapter")
    return adapted.merge_and_unload().eval(), tokenizer, ReadOptions(base_model=str(base))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("tied", "lora"),
    [
        (True, {"target_modules": ["q_proj", "embed_tokens"]}),
        (False, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}),
        (False, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}),
        (True, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    ],
)
def test_an_adapter_that_changes_grown_embeddings(tiny, tmp_path, tied, lora):
    merged, tokenizer, options = grown(tiny, tmp_path, tied=tied, **lora)
    out = tmp_path / "out"
    export(str(tmp_path / "adapter"), out, Silent(), read_options=options, verify_with=tiny.few_texts())
    ids = tokenizer("<|im_start|>A film", return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = merged(ids).logits.numpy()
    logits = torchless.AutoModelForCausalLM.from_pretrained(out)(ids.numpy()).logits
    assert logits == pytest.approx(expected, abs=float(1e-4 * abs(expected).max()))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_grown_head_that_an_adapter_does_not_bring_is_refused(tiny, tmp_path):
    _, _, options = grown(tiny, tmp_path, tied=False, target_modules=["q_proj", "embed_tokens"])
    with pytest.raises(ExportError, match=r"has no weights for text-generation: lm_head\.weight"):
        export(
            str(tmp_path / "adapter"), tmp_path / "out", Silent(), read_options=options, verify_with=tiny.few_texts()
        )


def test_tokens_without_embeddings_are_named(tiny, tmp_path):
    _, _, options = grown(tiny, tmp_path, tied=False, target_modules=["q_proj"], save_embedding_layers=False)
    with pytest.warns(ExportWarning, match=r"lack: <\|im_end\|>, <\|im_start\|>"):
        export(
            str(tmp_path / "adapter"), tmp_path / "out", Silent(), read_options=options, verify_with=tiny.few_texts()
        )
    pipe = torchless.pipeline(model=tmp_path / "out")
    with pytest.raises(torchless.InputError) as error:
        pipe("<|im_start|>A film")
    assert "beyond a table" in error.value.hint

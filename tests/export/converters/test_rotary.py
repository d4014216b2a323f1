"""Rotary frequencies that follow the length of a text, on both sides of each switch."""

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import tokenizer_of

import torchless
from torchless.errors import ExportError
from torchless_export.converters.rotary import traceable_rotary
from torchless_export.export import Silent, export

SMALL = {
    "vocab_size": 1000, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
LONGROPE = {
    "max_position_embeddings": 512,
    "original_max_position_embeddings": 64,
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [1.0, 2.0, 4.0, 9.0],
    },
}
DYNAMIC = {"max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}
MODELS = {
    "phi3": (transformers.Phi3ForCausalLM, transformers.Phi3Config, LONGROPE),
    "llama-dynamic": (transformers.LlamaForCausalLM, transformers.LlamaConfig, DYNAMIC),
    "llama-longrope": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig,
        {**LONGROPE, "rope_scaling": {**LONGROPE["rope_scaling"], "rope_type": "longrope", "factor": 8.0}},
    ),
    "cohere": (transformers.CohereForCausalLM, transformers.CohereConfig, DYNAMIC),
}


def random_model(name):
    model_class, config_class, values = MODELS[name]
    torch.manual_seed(0)
    model = model_class(config_class(**SMALL, **values)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def logits(model, ids, **inputs):
    with torch.inference_mode():
        return model(ids, **inputs).logits


@pytest.mark.parametrize("name", MODELS)
def test_the_traceable_form_gives_what_the_class_gives(name):
    for length in (10, 64, 65, 200):
        model, ids = random_model(name), torch.arange(length)[None] % 900 + 5
        expected = logits(model, ids)
        with traceable_rotary(model):
            found = logits(model, ids)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(logits(model, ids), expected, rtol=0, atol=1e-6)  # it is the class's again


def test_a_row_does_not_depend_on_a_longer_row_beside_it():
    model = random_model("phi3")
    ids = torch.arange(100)[None] % 900 + 5
    padded = torch.cat([torch.cat([torch.ones(1, 60, dtype=torch.int64), ids[:, :40]], dim=1), ids])
    mask = torch.ones_like(padded)
    mask[0, :60] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with traceable_rotary(model):
        alone = logits(model, ids[:, :40])[0, -1]
        beside = logits(model, padded, attention_mask=mask, position_ids=positions)[0, -1]
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-5)


def test_a_module_that_combines_frequencies_in_another_way_is_refused(monkeypatch):
    model = random_model("llama-dynamic")
    module = model.model.rotary_emb
    monkeypatch.setattr(type(module), "forward", lambda self, x, ids: (ids[..., None].float(),) * 2)
    with pytest.raises(ExportError, match="'dynamic' changes its frequencies with the length"), traceable_rotary(model):
        pass


@pytest.mark.parametrize("name", ["phi3", "llama-dynamic"])
def test_generation_crosses_the_switch_as_the_reference_does(name, tmp_path, tiny):
    model, tokenizer = random_model(name), tokenizer_of("llama")
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    export(str(tmp_path / "checkpoint"), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    ours = torchless.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    options = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": None}
    prompts = [np.arange(length) % 900 + 5 for length in (20, 58, 100)]
    expected = [
        random_model(name).generate(torch.from_numpy(prompt)[None], **options)[0, -12:].tolist() for prompt in prompts
    ]
    alone = [ours.generate(prompt[None], **options)[0, -12:].tolist() for prompt in prompts]
    assert alone == expected
    width = max(map(len, prompts))
    ids = np.stack([np.pad(prompt, (width - len(prompt), 0), constant_values=1) for prompt in prompts])
    mask = np.stack([np.pad(np.ones_like(prompt), (width - len(prompt), 0)) for prompt in prompts])
    assert ours.generate(ids, mask, **options)[:, -12:].tolist() == expected
    beams = ours.generate(prompts[1][None], num_beams=3, **options)[0, -12:].tolist()
    reference = (
        random_model(name).generate(torch.from_numpy(prompts[1])[None], num_beams=3, **options)[0, -12:].tolist()
    )
    assert beams == reference

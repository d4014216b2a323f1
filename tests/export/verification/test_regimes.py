"""Regimes of a model that a graph cannot hold, rows that padding changes, and what float32 costs."""

import shutil

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import REGIMES, tokenizer_of

import torchless
from torchless.errors import ExportError, ExportWarning, InputError
from torchless.folder.manifest import Manifest
from torchless_export.export import Silent, export
from torchless_export.sample import sample_texts

pytestmark = pytest.mark.slow

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def saved(folder, model_class, *, tokenizer=None, std=0.2, seed=0, **config):
    """A checkpoint with random weights."""
    tokenizer = tokenizer or tokenizer_of("bert")
    torch.manual_seed(seed)
    model = model_class(model_class.config_class(vocab_size=len(tokenizer), **config)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, std)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def big_bird(tmp_path):
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of("bert").backend_tokenizer, model_max_length=512, pad_token="[PAD]",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    return saved(
        tmp_path / "big_bird",
        transformers.BigBirdForSequenceClassification,
        tokenizer=tokenizer,
        **REGIMES["big_bird"], num_labels=3,
    )  # fmt: skip


def test_sparse_attention_is_refused_with_the_length_up_to_which_it_agrees(big_bird, tmp_path, tiny):
    with pytest.raises(
        ExportError, match="agrees with PyTorch up to 144 tokens, and gives other answers at 145"
    ) as error:
        export(str(big_bird), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    assert "--max-tokens 144" in error.value.hint
    assert not (tmp_path / "out").exists()


def test_the_runtime_keeps_the_limit_of_an_export(big_bird, tmp_path, tiny):
    out = tmp_path / "out"
    manifest, _ = export(str(big_bird), out, Silent(), verify_with=tiny.few_texts(), max_tokens=144)
    assert (manifest.max_tokens, manifest.variants["fp32"].verification.lengths) == (144, (4, 15, 16, 17, 144))
    text = " ".join(sample_texts(30))
    pipe = torchless.pipeline(model=out)
    with pytest.raises(InputError, match="this model takes 144"):
        pipe(text)
    reference = transformers.pipeline("text-classification", str(big_bird), device="cpu")
    expected = reference(text, truncation=True, max_length=144)[0]
    with pytest.warns(torchless.TruncationWarning):
        assert pipe(text, truncation=True)[0]["score"] == pytest.approx(expected["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (transformers.ConvBertForSequenceClassification, REGIMES["convbert"]),
        (transformers.MobileBertForSequenceClassification, REGIMES["mobilebert"]),
    ],
)
def test_rows_that_padding_changes_run_alone(model_class, config, tmp_path, tiny):
    checkpoint = saved(tmp_path / "checkpoint", model_class, **config, num_labels=3)
    manifest, _ = export(str(checkpoint), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    assert manifest.variants["fp32"].batch_dependent
    pipe = torchless.pipeline(model=tmp_path / "out")
    texts = sample_texts(6)
    assert pipe(texts, top_k=None) == [pipe(text, top_k=None) for text in texts]


def test_rows_that_padding_does_not_change_share_batches(tiny):
    folder = tiny.export("bert", "text-classification", num_labels=3)
    assert not Manifest.read(folder).variants["fp32"].batch_dependent


def test_a_folder_without_a_manifest_is_measured(tmp_path, tiny):
    convbert = transformers.ConvBertForSequenceClassification
    saved(tmp_path / "checkpoint", convbert, **REGIMES["convbert"])
    export(str(tmp_path / "checkpoint"), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    (tmp_path / "out" / "torchless.json").unlink()
    bert = shutil.copytree(tiny.export("bert", "text-classification", num_labels=3), tmp_path / "bert")
    (bert / "torchless.json").unlink()
    model_class = torchless.AutoModelForSequenceClassification
    assert model_class.from_pretrained(tmp_path / "out").batch_dependent
    assert not model_class.from_pretrained(bert).batch_dependent


def test_an_ill_conditioned_model_is_judged_by_what_float32_costs(tmp_path):
    config = {
        "d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 0,
        "pad_token_id": 0, "eos_token_id": 102,
    }  # fmt: skip
    checkpoint = saved(tmp_path / "t5", transformers.T5ForConditionalGeneration, std=0.4, seed=4, **config)
    manifest, _ = export(str(checkpoint), tmp_path / "out", Silent())
    measured = manifest.variants["fp32"].verification
    assert measured.max_abs_diff > 1e-4
    assert measured.max_abs_diff <= measured.tolerance < 1e-2


def test_variants_that_pass_are_kept(tiny, tmp_path):
    checkpoint, out = str(tiny.checkpoint("llama", "text-generation")), tmp_path / "out"
    options = {"dtypes": ("fp32", "fp16", "q4"), "verify_with": tiny.few_texts(), "min_agreement": 0.99}
    with pytest.warns(ExportWarning, match="q4 is left out"):
        manifest, anew = export(checkpoint, out, Silent(), keep_passing=True, **options)
    assert anew
    assert list(manifest.variants) == ["fp32", "fp16"]
    assert "q4 agrees with PyTorch on" in manifest.rejected["q4"]
    assert sorted(path.name for path in (out / "onnx").iterdir()) == ["model.onnx", "model_fp16.onnx"]
    with pytest.raises(ExportError, match="No variant passed: q4 agrees"):
        export(checkpoint, tmp_path / "none", Silent(), **{**options, "dtypes": ("q4",)}, keep_passing=True)


def test_a_text_that_pytorch_cannot_answer_is_named(tmp_path, tiny):
    checkpoint = shutil.copytree(tiny.checkpoint("roberta", "text-classification", num_labels=3), tmp_path / "roberta")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.checkpoint("distilbert", "fill-mask"))
    transformers.BertTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer).save_pretrained(checkpoint)
    distilbert = tmp_path / "distilbert"
    shutil.copytree(tiny.checkpoint("distilbert", "text-classification", num_labels=3), distilbert)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(checkpoint / name, distilbert / name)
    with pytest.raises(
        ExportError, match=r"PyTorch cannot answer .*unexpected keyword argument 'token_type_ids'"
    ) as error:
        export(str(distilbert), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    assert '"model_input_names"' in error.value.hint


def test_messages_of_a_decoder_show_texts(tiny, tmp_path):
    with pytest.raises(ExportError) as error:
        export(
            str(tiny.checkpoint("llama", "text-generation")), tmp_path / "out", Silent(),
            dtypes=("q4",), verify_with=tiny.few_texts(), min_agreement=1.0,
        )  # fmt: skip
    worst = error.value.problem.splitlines()[1]
    assert " PyTorch continues token " in worst
    assert "q4 with '" in worst


def test_perplexity_is_that_of_the_texts(tiny):
    verification = Manifest.read(tiny.export("llama", "text-generation")).variants["fp32"].verification
    assert verification.perplexity == pytest.approx(verification.reference_perplexity, rel=1e-4)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny.checkpoint("llama", "text-generation"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny.checkpoint("llama", "text-generation"))
    losses, counts = [], []
    for text in tiny.few_texts().read_text(encoding="utf-8").splitlines():
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            losses.append(float(model(ids, labels=ids).loss))
        counts.append(ids.shape[1] - 1)
    # Two further texts, the shortest and the longest, are scored too.
    assert verification.perplexity == pytest.approx(np.exp(np.average(losses, weights=counts)), rel=0.2)


def test_rows_beside_a_longer_one_across_a_rotary_switch_run_alone(tmp_path, tiny):
    rope = {"rope_type": "dynamic", "factor": 4.0}
    llama = {**SMALL, "num_key_value_heads": 2, "num_labels": 3, "pad_token_id": 0}
    saved(
        tmp_path / "a",
        transformers.LlamaForSequenceClassification,
        **llama,
        max_position_embeddings=64,
        rope_scaling=rope,
    )
    manifest, _ = export(str(tmp_path / "a"), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    assert manifest.variants["fp32"].batch_dependent
    pipe, words = torchless.pipeline(model=tmp_path / "out"), " ".join(sample_texts(30)).split()
    texts = [" ".join(words[:30]), " ".join(words[:150])]
    assert pipe(texts, top_k=None) == [pipe(text, top_k=None) for text in texts]


def test_a_graph_of_one_length_is_refused_in_a_sentence(tmp_path, tiny):
    config = {
        "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "local_radius": 15, "decoder_start_token_id": 0,
        "pad_token_id": 0, "eos_token_id": 102,
    }  # fmt: skip
    checkpoint = saved(tmp_path / "longt5", transformers.LongT5ForConditionalGeneration, **config)
    with pytest.raises(ExportError, match="ONNX Runtime does not run it on a text of this length") as error:
        export(str(checkpoint), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    assert "truncation" not in str(error.value)
    assert "[" not in error.value.problem


def test_a_message_of_the_gate_names_labels(big_bird, tmp_path, tiny):
    with pytest.raises(ExportError) as error:
        export(str(big_bird), tmp_path / "out", Silent(), verify_with=tiny.few_texts())
    worst = error.value.problem.splitlines()[1]
    assert " tokens): PyTorch 'LABEL_" in worst
    assert "{" not in worst


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (
            transformers.MptForCausalLM,
            {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2},
        ),
        (transformers.GPTJForCausalLM, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4}),
    ],
)
def test_tables_of_positions_limit_texts(model_class, config, tmp_path, tiny):
    checkpoint = saved(tmp_path / "checkpoint", model_class, **config)
    export(str(checkpoint), tmp_path / "out", Silent(), task="text-generation", verify_with=tiny.few_texts())
    with pytest.raises(InputError, match="this model takes 64"):
        torchless.pipeline(model=tmp_path / "out")(" ".join(sample_texts(30)))


def test_fill_mask_needs_a_mask(tmp_path, tiny):
    checkpoint = shutil.copytree(tiny.checkpoint("bert", "fill-mask"), tmp_path / "checkpoint")
    backend = tokenizer_of("bert").backend_tokenizer
    (checkpoint / "special_tokens_map.json").unlink(missing_ok=True)
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]").save_pretrained(checkpoint)
    with pytest.raises(ExportError, match="has no mask token"):
        export(str(checkpoint), tmp_path / "out", Silent(), task="fill-mask", verify_with=tiny.few_texts())

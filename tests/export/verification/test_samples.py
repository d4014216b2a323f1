from collections import Counter

import pytest
import transformers
from tokenizers import Regex
from tokenizers.normalizers import Replace

from torchless.tasks import find_task
from torchless_export.sample import sample_texts, texts_of_kinds
from torchless_export.source.loading import LoadedModel
from torchless_export.source.model_state import ModelState
from torchless_export.verification.cases import CASES
from torchless_export.verification.samples import Sample, batches, cut_to, make_samples, max_tokens_of, regime_lengths


@pytest.mark.parametrize(
    ("config", "max_tokens", "expected"),
    [
        ({"max_position_embeddings": 512}, 512, [4, 512]),
        ({"max_position_embeddings": 512}, 100, [4, 100]),
        ({}, None, [4, 1024]),
        ({"max_position_embeddings": 131072}, None, [4, 1024]),
        ({"sliding_window": None, "max_position_embeddings": 512}, None, [4, 512]),
        ({"local_attention": 128, "max_position_embeddings": 256}, 256, [4, 127, 128, 129, 256]),
        ({"attention_window": [16, 32], "max_position_embeddings": 64}, 64, [4, 15, 16, 17, 31, 32, 33, 64]),
        (
            {"block_size": 16, "num_random_blocks": 2, "max_position_embeddings": 1024},
            1024,
            [4, 15, 16, 17, 144, 145, 180, 1024],
        ),
        (
            {
                "max_position_embeddings": 131072,
                "original_max_position_embeddings": 4096,
                "rope_scaling": {"type": "longrope"},
            },
            None,
            [4, 1024, 4096, 4097, 5120],
        ),
        (
            {"max_position_embeddings": 256, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
            None,
            [4, 256, 257, 320, 1024],
        ),
        (  # static frequencies have no switch
            {
                "max_position_embeddings": 512,
                "rope_scaling": {"rope_type": "llama3", "original_max_position_embeddings": 64},
            },
            None,
            [4, 512],
        ),
        ({"local_radius": 15, "relative_attention_max_distance": 20}, 64, [4, 15, 16, 17, 19, 20, 21, 47, 48, 49, 64]),
    ],
)
def test_regime_lengths(config, max_tokens, expected):
    assert regime_lengths(config, max_tokens) == expected


class Tokenizer:
    model_max_length = 512


def test_a_tokenizer_cuts_within_the_context_only():
    tokenizer = Tokenizer()
    for limit, cut in ((16, 16), (1024, 512), (None, 512)):
        with cut_to(tokenizer, limit):
            assert tokenizer.model_max_length == cut
        assert tokenizer.model_max_length == 512


def loaded(tiny, model_type, task, **config):
    checkpoint = tiny.checkpoint(model_type, task, **config)
    model = getattr(transformers, find_task(task).auto_class).from_pretrained(checkpoint)
    return LoadedModel(model, transformers.AutoTokenizer.from_pretrained(checkpoint), ModelState(model))


@pytest.mark.parametrize("task", ["text-classification", "fill-mask"])
def test_samples_have_the_lengths_of_their_regimes(tiny, task):
    model = loaded(tiny, "modernbert", task)
    samples = make_samples(model, find_task(task), ["A film.", "Another film, a long one."] * 4, max_tokens=None)
    made = [sample for sample in samples if sample.length is not None]
    assert [sample.length for sample in made] == [4, 15, 16, 17, 512]
    for sample in made:
        with cut_to(model.tokenizer, sample.max_tokens):
            tokens = model.tokenizer(sample.inputs, truncation=True)["input_ids"]
        assert len(tokens) == sample.length
        assert task != "fill-mask" or tokens.count(model.tokenizer.mask_token_id) == 1


def test_pairs_are_verified_where_the_tokenizer_makes_them(tiny):
    task = find_task("text-classification")
    samples = make_samples(loaded(tiny, "bert", task.name, num_labels=3), task, ["One.", "Two."] * 4, max_tokens=64)
    assert [sample for sample in samples if isinstance(sample.inputs, dict)] == [
        Sample({"text": first, "text_pair": second}, 64) for first, second in [("One.", "Two."), ("Two.", "One.")] * 2
    ]


def test_a_text_without_tokens_is_no_sample(tiny):
    model = loaded(tiny, "bert", "text-classification", num_labels=3)
    task = find_task("text-classification")
    kinds = Counter(
        sample.kind for sample in make_samples(model, task, ["A film."] * 4, max_tokens=None) if sample.kind
    )
    assert kinds == {kind: len(texts) for kind, texts in texts_of_kinds("verification").items()}
    model.tokenizer.backend_tokenizer.normalizer = Replace(Regex(r"[^\x00-\x7f]"), "")
    rest = Counter(sample.kind for sample in make_samples(model, task, ["A film."] * 4, max_tokens=None) if sample.kind)
    assert rest["emoji"] == 2  # those with words
    assert rest["code"] == kinds["code"]


@pytest.mark.parametrize("switch", [None, 24])
def test_texts_of_a_decoder_share_batches(tiny, switch):
    rope = {} if switch is None else {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}
    model = loaded(tiny, "llama", "text-generation", max_position_embeddings=switch or 512, **rope)
    texts = sample_texts(60)
    samples = make_samples(model, find_task("text-generation"), texts, max_tokens=None)
    assert sorted(sample.inputs for sample in samples if sample.length is None and sample.kind is None) == sorted(texts)
    assert [sample.inputs for sample in samples[:16]] == texts[:16]
    groups = list(batches(samples))
    assert [sample for group in groups for sample in group] == samples
    assert max(map(len, groups)) > 4
    assert all(len(group) == 1 for group in groups if group[0].batch is None)
    assert all(sample.batch is None for sample in (*samples[:16], *(item for item in samples if item.length)))
    for group in groups:
        lengths = [len(model.tokenizer(sample.inputs)["input_ids"]) for sample in group]
        assert len(group) == 1 or len(group) * max(lengths) <= 256
        assert len(group) == 1 or switch is None or max(lengths) <= switch


def test_the_least_limit_counts(tiny):
    model = loaded(tiny, "bert", "text-classification", num_labels=3)
    assert max_tokens_of(model) == 512
    model.tokenizer.model_max_length = 1024  # more than the positions
    assert max_tokens_of(model) == 512
    assert max_tokens_of(model, 64) == 64


def test_windows_of_questions_have_room_for_the_question(tiny):
    task = find_task("question-answering")
    samples = make_samples(loaded(tiny, "modernbert", task.name), task, ["A film."], max_tokens=None)
    assert [sample.length for sample in samples if sample.length] == [512]
    assert CASES[task.graph].length_option == "max_seq_len"

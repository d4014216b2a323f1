"""What a cross-encoder puts before each query."""

import json
import shutil

import pytest
import sentence_transformers
from fixtures.comparison import assert_same

import torchless
from torchless_export.export import Silent, export

QUERY, DOCUMENTS = "Who lives in Berlin?", ["Wolfgang does.", "It rains in Paris.", "Nobody, ever."]
BERLIN = {"query": QUERY, "documents": DOCUMENTS}
PROMPTS = {"q": "query: ", "search": "Given a question, find its answer: ", "none": ""}


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """A cross-encoder with prompts, as sentence-transformers saves it, and its export."""
    folder = tmp_path_factory.mktemp("prompts")
    checkpoint = tiny.checkpoint("bert", "text-classification", num_labels=1)
    model = sentence_transformers.CrossEncoder(str(checkpoint), device="cpu", prompts=PROMPTS, default_prompt_name="q")
    model.save_pretrained(str(folder / "saved"), create_model_card=False)
    export(str(folder / "saved"), folder / "out", Silent(), task="text-ranking", verify_with=tiny.few_texts())
    return model, folder / "out"


@pytest.mark.parametrize(
    "options", [{}, *({"prompt_name": name} for name in PROMPTS), {"prompt": "Find: "}, {"prompt": ""}], ids=str
)
def test_prompts(saved, options):
    model, out = saved
    ranked = model.rank(QUERY, DOCUMENTS, return_documents=True, **options)
    expected = [{"index": item["corpus_id"], "score": float(item["score"]), "text": item["text"]} for item in ranked]
    rank = torchless.pipeline("text-ranking", out)
    assert_same(expected, rank(BERLIN, **options))
    assert_same(expected, torchless.pipeline("text-ranking", out, **options)(BERLIN))


def test_a_prompt_that_the_model_has_not(saved):
    rank = torchless.pipeline("text-ranking", saved[1])
    with pytest.raises(torchless.OptionError, match=r"no prompt 'serch'[\s\S]*Did you mean 'search'"):
        rank(BERLIN, prompt_name="serch")
    with pytest.raises(torchless.OptionError, match="prompt=5 is not a string"):
        rank(BERLIN, prompt=5)


def test_a_default_prompt_that_is_not_there(saved, tmp_path):
    folder = shutil.copytree(saved[1], tmp_path / "copy")
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "default_prompt_name": "no"}))
    with pytest.raises(torchless.CheckpointError, match=r"default prompt 'no'[\s\S]*none, q, search"):
        torchless.pipeline("text-ranking", folder)

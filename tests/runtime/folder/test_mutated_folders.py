"""Folders with anything wrong: each answers, or raises an error of this library, in bounded time and memory."""

import json
import shutil
from pathlib import Path

import pytest
from fixtures.mutations import Asker, mutated

_SENTENCE_FILES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
    "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
    "config_sentence_transformers.json": {"prompts": {"query": "query: "}, "default_prompt_name": None},
}


def _classifier(tiny, _):
    return tiny.export("roberta", "text-classification", num_labels=3)


def _decoder(tiny, tmp_path):
    folder = shutil.copytree(tiny.export("qwen3", "text-generation"), tmp_path / "decoder")
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(template)
    return folder


def _embedder(tiny, tmp_path):
    folder = shutil.copytree(tiny.export("roberta", "feature-extraction"), tmp_path / "embedder")
    (folder / "1_Pooling").mkdir()
    for name, values in _SENTENCE_FILES.items():
        (folder / name).write_text(json.dumps(values))
    manifest = json.loads((folder / "torchless.json").read_text())
    manifest["files"] |= dict.fromkeys(_SENTENCE_FILES, "0")
    (folder / "torchless.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("make", [_classifier, _decoder, _embedder])
def test_mutated_folders(make, tiny, tmp_path, request):
    folder, asker = make(tiny, tmp_path), Asker()
    first = request.config.getoption("--first-mutation")
    assert asker.ask(folder) == "ok"
    failures = {}
    try:
        for seed in range(first, first + request.config.getoption("--mutations")):
            with mutated(folder, Path(tmp_path / "mutated"), seed) as mutations:
                answer = asker.ask(tmp_path / "mutated")
            if answer != "ok":
                failures[seed] = f"{mutations}\n{answer}"
    finally:
        asker.close()
    assert not failures, "\n\n".join(f"seed {seed}: {failure}" for seed, failure in failures.items())

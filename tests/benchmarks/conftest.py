"""Small figures of suites in the format of `make bench`."""

import json

import pytest
from benchmarks.timing import spread, summary

MACHINE = {
    "cpu": "A CPU",
    "threads": 2,
    "load_before": 0.5,
    "python": "3.11.7",
    "versions": {"torch": "2", "nncf": None},
}
ROUNDS = {"transformers.pipeline": [[20.0, 21.0], [22.0]], "torchless, q8": [[2.0, 2.0], [2.0]]}


@pytest.fixture
def results(tmp_path):
    """A folder with the figures of three suites."""
    shared = {"machine": MACHINE, "model": "A shape", "skipped": {}, "failed": {}}
    latency = {
        **shared,
        "inputs": {"16": summary(ROUNDS), "64": summary(ROUNDS)},
        "skipped": {"OpenVINO, int8": "not installed"},
        "failed": {"optimum, int8": "ValueError: no"},
    }
    times = summary(ROUNDS)
    cold_start = {
        **shared,
        "inputs": {"first_answer": {**times, "seconds": {name: spread([1.0, 2.0]) for name in ROUNDS}}},
        "peak_bytes": {name: spread([1e8]) for name in ROUNDS},
        "peak_memory_ratio": {"torchless, q8": {"transformers.pipeline": 1.0}, "transformers.pipeline": {}},
        "installed": {"bytes": {"torchless": 10**8, "transformers.pipeline": None}},
    }
    rounds = {"PyTorch": [[2000.0]], "torchless, q8": [[400.0]]}
    generation = {
        **shared,
        "inputs": {
            "gpt2": {
                "tokens": 32,
                "new_tokens": 64,
                **summary(rounds),
                "tokens_per_second": {"PyTorch": spread([32.0]), "torchless, q8": spread([160.0])},
            }
        },
        "batched": {"torchless, q8": {"tokens_per_second": {"1": 160.0, "8": 800.0}, "times": 5.0}},
        "outside": {"torchless, q8": 0.05},
        "growth": {"torchless, q8": 1.001},
    }
    for name, figures in (("latency", latency), ("cold_start", cold_start), ("generation", generation)):
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    return tmp_path

"""The figures of the serving suite."""

import pytest
from benchmarks.suites import serving

ROUNDS = {
    "torchless, fp32": [[8.0, 8.0], [10.0]],
    "torchless, fp32, served": [[8.5, 8.7], [10.5]],
    "torchless, q8": [[2.0], [3.0]],
}


def test_the_added_time_is_the_difference_of_the_medians_of_each_round():
    added = serving.added_ms(ROUNDS)
    assert added.keys() == {"torchless, fp32"}
    assert added["torchless, fp32"]["median"] == pytest.approx(0.55)


def test_the_share_of_the_rate_of_the_pipeline():
    assert serving.pipeline_share(ROUNDS) == {"torchless, fp32": pytest.approx((8 / 8.6 + 10 / 10.5) / 2)}


def test_the_tables_of_the_figures():
    rate = {"median": 300.0, "quartiles": [290.0, 310.0]}
    served, called = "torchless, q8, served", "torchless, q8"
    figures = {
        "inputs": {
            "latency": {
                "ms": {called: {"median": 2.0}, served: {"median": 2.5}},
                "added_ms": {called: {"median": 0.5, "quartiles": [0.4, 0.6]}},
            },
            "throughput": {
                "texts": 2000,
                "mean_tokens": 22.0,
                "texts_per_second": {called: rate, served: rate},
                "pipeline_share": {called: 0.9},
            },
            "reference": {
                "texts_per_second": {served: rate},
                "times_faster": {served: {"transformers.pipeline behind FastAPI": 6.0}},
            },
        }
    }
    latency, throughput, reference = serving.tables(figures)
    assert latency.rows == [(called, "2.00", "2.50", "0.50 (0.40–0.60)")]
    assert throughput.rows == [(called, "300 (290–310)", "–"), (served, "300 (290–310)", "90 %")]
    assert reference.rows == [(served, "300 (290–310)", "6.00×")]

"""The suite about serving: what its figures are made of."""

import pytest
from benchmarks.suites import serving

ROUNDS = {
    "torchless, fp32": [[8.0, 8.0], [10.0]],
    "torchless, fp32, served": [[8.5, 8.7], [10.5]],
    "torchless, q8": [[2.0], [3.0]],
}


def test_what_is_added_is_the_difference_of_each_round():
    added = serving.added_ms(ROUNDS)
    assert added.keys() == {"torchless, fp32"}
    assert added["torchless, fp32"]["median"] == pytest.approx(0.55)


def test_the_part_of_the_offline_rate():
    assert serving.of_offline(ROUNDS) == {"torchless, fp32": pytest.approx((8 / 8.6 + 10 / 10.5) / 2)}


def test_the_tables_of_what_was_measured():
    rate = {"median": 300.0, "quartiles": [290.0, 310.0]}
    name, called = "torchless, q8, served", "torchless, q8"
    figures = {
        "inputs": {
            "one": {
                "ms": {called: {"median": 2.0}, name: {"median": 2.5}},
                "added_ms": {called: {"median": 0.5, "quartiles": [0.4, 0.6]}},
            },
            "many": {
                "texts": 2000,
                "mean_tokens": 22.0,
                "texts_a_second": {called: rate, name: rate},
                "of_offline": {called: 0.9},
            },
            "few": {
                "texts_a_second": {name: rate},
                "times_faster": {name: {"transformers.pipeline behind FastAPI": 6.0}},
            },
        }
    }
    added, many, few = serving.tables(figures)
    assert added.rows == [(called, "2.00", "2.50", "0.50 (0.40–0.60)")]
    assert many.rows == [(called, "300 (290–310)", "–"), (name, "300 (290–310)", "90 %")]
    assert few.rows == [(name, "300 (290–310)", "6.00×")]

"""A long day, made short."""

from itertools import islice

import pytest
from benchmarks.load import LoadError
from benchmarks.suites import soak


def test_a_server_that_is_asked_much_keeps_its_memory(sentiment, embeddings):
    figures = soak.soaked([f"sentiment={sentiment}", f"embeddings={embeddings}"], requests=1000, sample_every=50)
    assert len(figures["resident_bytes"]) == 20
    assert figures["growth"] < 1.25  # so soon after the start, caches still fill
    assert "from 20% on to the end" in soak.tables(figures)[0].title


def test_an_answer_of_another_status_is_a_failure(sentiment):
    with pytest.raises(LoadError, match="404"):
        soak.soaked([f"other={sentiment}"], requests=20, sample_every=20)


def test_every_kind_of_request_comes():
    posts = list(islice(soak.mixed(), 2000))
    assert posts == list(islice(soak.mixed(), 2000))
    assert {post.path for post in posts if post.status == 200} == {
        "/models/sentiment",
        "/predict",
        "/embed",
        "/v1/embeddings",
        "/v2/models/sentiment/infer",
    }
    assert 20 < sum(post.status != 200 for post in posts) < 60
    assert 20 < sum(post.leaves for post in posts) < 60
    assert 40 < sum(len(post.body) > 1000 for post in posts) < 160


def test_growth_is_the_end_beside_what_was_warm():
    assert list(soak._part(list(range(10)), soak.WARM)) == [2]
    assert list(soak._part(list(range(10)), soak.END)) == [9]

"""A short soak test."""

from itertools import islice

import pytest
from benchmarks.load import LoadError
from benchmarks.suites import soak


def test_the_memory_of_a_busy_server_stays_constant(sentiment, embeddings):
    models = [f"sentiment={sentiment}", f"embeddings={embeddings}"]
    figures = soak.run_soak(models, requests=1000, sample_every=50, attacks=soak.ATTACKS)
    assert len(figures["resident_bytes"]) == 20
    assert figures["growth"] < 1.25  # caches still fill soon after the start
    assert "from 20% to the end" in soak.tables(figures)[0].title


def test_an_answer_with_an_unexpected_status_is_a_failure(sentiment):
    with pytest.raises(LoadError, match="404"):
        soak.run_soak([f"other={sentiment}"], requests=20, sample_every=20)


def test_there_are_requests_of_every_kind():
    posts = list(islice(soak.mixed_posts(), 2000))
    assert posts == list(islice(soak.mixed_posts(), 2000))
    assert {post.path for post in posts if post.status == 200} == {
        "/models/sentiment",
        "/predict",
        "/embed",
        "/v1/embeddings",
        "/v2/models/sentiment/infer",
    }
    assert 20 < sum(post.status != 200 for post in posts) < 60
    assert 20 < sum(post.disconnects for post in posts) < 60
    assert 40 < sum(len(post.body) > 1000 for post in posts) < 160


def test_a_part_of_the_requests_are_attacks():
    posts = list(islice(soak.mixed_posts(attacks=soak.ATTACKS), 2000))
    assert 60 < sum(post in soak._ATTACK_POSTS for post in posts) < 140


def test_growth_compares_the_end_with_the_warm_range():
    assert list(soak._part(list(range(10)), soak.WARM)) == [2]
    assert list(soak._part(list(range(10)), soak.END)) == [9]

"""The figures of the suite about generative models."""

import pytest
from benchmarks.suites import generation


class Contest:
    """Peers with known answers and times.

    Args:
        answers: By name, a function that answers an input.
        times: By name, the times of each round.
    """

    def __init__(self, answers=(), times=()):
        self._answers, self._times = dict(answers), dict(times)
        self.skipped, self.failed = {}, {}

    def __call__(self, peers):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        return iter(self._answers)

    def answers(self, name, inputs):
        return [self._answers[name](item) for item in inputs] if name in self._answers else None

    def exclude(self, name, reason):
        self.failed[name] = reason

    def rounds(self, inputs, *, rounds):
        return self._times


@pytest.fixture
def contest(monkeypatch):
    """Replace the peers by known ones, and the prompts by short ones."""

    def call(**known):
        fake = Contest(**known)
        monkeypatch.setattr(generation, "Contest", fake)
        monkeypatch.setattr(generation, "checkpoint", lambda name: name)
        monkeypatch.setattr(generation, "token_rows", lambda _, rows, tokens: [[1] * tokens] * rows)
        return fake

    return call


def test_a_float32_peer_with_different_tokens_is_excluded(contest):
    tokens = {"PyTorch": 5, "CTranslate2, fp32": 6, "torchless, fp32": 5, "torchless, q8": 7}
    fake = contest(answers={name: (lambda _, token=token: [[token] * 64]) for name, token in tokens.items()})
    generation._exclude_deviating(fake, [[1]])
    assert [*fake.failed] == ["CTranslate2, fp32"]


def test_a_batch_is_compared_with_a_single_text_in_the_same_round(contest):
    contest(times={"torchless, q8": [[400, 800], [800, 1600], [400, 1600]]})  # a single text, and a batch of eight
    (figures,) = generation._batched({"skipped": {}, "failed": {}}).values()
    assert figures == {"tokens_per_second": {"1": 160, "8": 320}, "times": 4}


def test_growth_compares_the_memory_after_the_last_and_the_fiftieth_call(contest):
    calls = iter(range(1000))
    contest(answers={"torchless, q8": lambda _: {"outside": 0.04, "resident_bytes": 1000 + next(calls)}})
    outside, growth = generation._profile({"skipped": {}, "failed": {}})
    assert outside == {"torchless, q8": 0.04}
    last, fiftieth = (1000 + generation.ROUNDS + number for number in (200, 50))
    assert growth == {"torchless, q8": last / fiftieth}

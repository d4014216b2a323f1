"""The suite about models that write: what the figures of peers come to."""

import pytest
from benchmarks.suites import generation


class Contest:
    """Peers whose answers and times are known.

    Args:
        answers: By name, what is answered to each input.
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
        return [self._answers[name](one) for one in inputs] if name in self._answers else None

    def exclude(self, name, reason):
        self.failed[name] = reason

    def rounds(self, inputs, *, rounds):
        return self._times


@pytest.fixture
def contest(monkeypatch):
    """Let peers be known ones, and prompts short."""

    def call(**known):
        made = Contest(**known)
        monkeypatch.setattr(generation, "Contest", made)
        monkeypatch.setattr(generation, "checkpoint", lambda name: name)
        monkeypatch.setattr(generation, "token_rows", lambda _, rows, tokens: [[1] * tokens] * rows)
        return made

    return call


def test_who_writes_other_tokens_in_float32_takes_no_part(contest):
    writes = {"PyTorch": 5, "CTranslate2, fp32": 6, "torchless, fp32": 5, "torchless, q8": 7}
    made = contest(answers={name: (lambda _, token=token: [[token] * 64]) for name, token in writes.items()})
    generation._check_alike(made, [[1]])
    assert [*made.failed] == ["CTranslate2, fp32"]


def test_texts_at_once_are_compared_with_one_in_the_same_round(contest):
    contest(times={"torchless, q8": [[400, 800], [800, 1600], [400, 1600]]})  # alone, and eight at once
    (one,) = generation._together({"skipped": {}, "failed": {}}).values()
    assert one == {"tokens_a_second": {"1": 160, "8": 320}, "times": 4}


def test_growth_is_of_memory_after_the_last_call_and_after_the_fiftieth(contest):
    calls = iter(range(1000))
    contest(answers={"torchless, q8": lambda _: {"outside": 0.04, "resident_bytes": 1000 + next(calls)}})
    outside, growth = generation._cost({"skipped": {}, "failed": {}})
    assert outside == {"torchless, q8": 0.04}
    last, fiftieth = (1000 + generation.ROUNDS + number for number in (200, 50))
    assert growth == {"torchless, q8": last / fiftieth}

from concurrent.futures import CancelledError, Future

import pytest

from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import InputError
from torchless.server.exceptions import LimitError
from torchless.server.request_budget import BudgetError, RequestBudget, SmallBudget, work_within


@pytest.fixture
def budget():
    return RequestBudget(max_tokens=100, max_width=20, max_values=50)


def test_characters_are_counted(budget):
    budget.admit_text(800)
    with pytest.raises(LimitError, match=r"801 characters .* the limit is 800[\s\S]*--max-request-tokens"):
        budget.admit_text(1)


def test_tokens_are_counted(budget):
    for _ in range(5):
        budget.admit_row(20)
    with pytest.raises(LimitError, match=r"at least 101 tokens, and the limit is 100[\s\S]*--max-request-tokens"):
        budget.admit_row(1)


@pytest.mark.parametrize(("rows", "tokens"), [(81, 0), (1, 81)])
def test_rows_are_checked_before_they_are_counted(budget, rows, tokens):
    budget.admit_row(20)
    budget.expect_rows(80, 80)
    with pytest.raises(LimitError, match="at least 101 tokens"):
        budget.expect_rows(rows, tokens)


def test_the_width_of_padding(budget):
    budget.expect_width(20)
    with pytest.raises(
        InputError, match=r"padded to 21 tokens, and the limit of this server is 20[\s\S]*--max-input-l"
    ):
        budget.expect_width(21)


def test_values_are_counted(budget):
    budget.admit_values(50)
    assert budget.values == 50
    with pytest.raises(LimitError, match=r"51 values, and the limit is 50[\s\S]*--max-answer-values"):
        budget.admit_values(1)


def test_a_request_that_ended_stops_its_work(budget):
    running, late = Future(), Future()
    budget.watch(running)
    budget.check()
    budget.end()
    assert running.cancelled()
    budget.watch(late)
    assert late.cancelled()
    for method in (
        budget.check,
        lambda: budget.admit_text(1),
        lambda: budget.admit_row(1),
        lambda: budget.expect_rows(1, 1),
    ):
        with pytest.raises(CancelledError):
            method()


@pytest.mark.parametrize(
    "spend",
    [
        lambda small: small.admit_text(1025),
        lambda small: small.admit_row(513),
        lambda small: [small.admit_row(1) for _ in range(17)],
        lambda small: small.expect_rows(17, 17),
        lambda small: small.expect_width(513),
    ],
)
def test_work_that_is_not_small(spend):
    small = SmallBudget()
    small.admit_text(10)
    with pytest.raises(BudgetError):
        spend(small)


def test_limits_hold_for_the_work_only(budget):
    before = CURRENT_LIMITS.get()
    assert work_within(budget, CURRENT_LIMITS.get) is budget
    with pytest.raises(LimitError):
        work_within(budget, lambda: CURRENT_LIMITS.get().admit_row(101))
    assert CURRENT_LIMITS.get() is before

import pytest

from torchless.errors import InputError, OptionError
from torchless.tokenization.truncation import Truncation, kept_lengths, window_count


@pytest.mark.parametrize(
    ("lengths", "room", "strategy", "kept"),
    [
        ([5], 9, "longest_first", [5]),
        ([15], 9, "longest_first", [9]),
        ([15, 20], 9, "longest_first", [4, 5]),
        ([20, 15], 9, "longest_first", [5, 4]),
        ([3, 20], 9, "longest_first", [3, 6]),
        ([20, 3], 9, "longest_first", [6, 3]),
        ([20, 3], 0, "longest_first", [0, 0]),
        ([20, 3], 9, "only_first", [6, 3]),
        ([3, 20], 9, "only_second", [3, 6]),
        ([30, 20], 9, "do_not_truncate", [30, 20]),
    ],
)
def test_kept_lengths(lengths, room, strategy, kept):
    assert kept_lengths(lengths, room, strategy) == kept


@pytest.mark.parametrize("lengths", [[30], [20, 3]])
def test_a_text_that_cannot_be_cut(lengths):
    with pytest.raises(InputError, match=r"cannot encode this[\s\S]*truncation='longest_first'"):
        kept_lengths(lengths, 9, "only_second")


@pytest.mark.parametrize(
    ("tokens", "width", "stride", "count"),
    [(0, 5, 0, 1), (5, 5, 4, 1), (6, 5, 4, 2), (11, 5, 0, 3), (10, 5, 0, 2), (30_000, 379, 378, 29_622), (3, 0, 0, 2)],
)
def test_window_count(tokens, width, stride, count):
    assert window_count(tokens, width, stride) == count


def test_a_stride_that_fills_the_window():
    with pytest.raises(OptionError, match="max_length=5 with stride=4 makes no window"):
        Truncation(5, stride=4).check_stride(special_tokens=2)
    Truncation(6, stride=4).check_stride(special_tokens=2)

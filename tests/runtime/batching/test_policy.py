from itertools import count, islice

from hypothesis import given
from hypothesis import strategies as st

from torchless.batching.policy import chunks, in_order, plan

lengths_of_rows = st.lists(st.integers(1, 600), max_size=100)


@given(lengths=lengths_of_rows, max_batch_tokens=st.integers(1, 1000), rows=st.none() | st.integers(1, 40))
def test_each_row_is_in_one_batch_and_no_batch_exceeds_its_limits(lengths, max_batch_tokens, rows):
    batches = plan(lengths, max_batch_tokens=max_batch_tokens, max_batch_rows=rows)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= max_batch_tokens
        assert rows is None or len(batch) <= rows


@given(lengths=lengths_of_rows, max_batch_tokens=st.integers(1, 1000))
def test_rows_are_sorted_by_length(lengths, max_batch_tokens):
    planned = [lengths[index] for batch in plan(lengths, max_batch_tokens=max_batch_tokens) for index in batch]
    assert planned == sorted(lengths, reverse=True)


@given(items=st.lists(st.integers(), max_size=300), largest=st.integers(1, 64))
def test_chunks_keep_the_items_and_their_order(items, largest):
    cut = list(chunks(items, largest=largest))
    assert [item for chunk in cut for item in chunk] == items
    assert all(len(chunk) <= largest for chunk in cut)


def test_chunks_are_read_only_when_they_are_requested():
    source = count()
    assert [len(chunk) for chunk in islice(chunks(source, largest=8), 5)] == [1, 2, 4, 8, 8]
    assert next(source) == 23


def test_outputs_are_in_the_order_of_the_rows():
    assert in_order([[2, 0], [1]], iter([["c", "a"], ["b"]])) == ["a", "b", "c"]

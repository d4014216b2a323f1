import gc
import json

import msgspec
import numpy as np
import pytest
from litestar.exceptions import ClientException

from torchless.server.json_codec import LARGE_BYTES, is_large, read_json, write_json

ROWS = np.random.default_rng(0).normal(size=(3, 40, 300)).astype(np.float32)


class Numbers(msgspec.Struct):
    number: float
    nested: dict[str, object] = {}


@pytest.mark.parametrize("digits", [b"1" + b"0" * 400, b"-" + b"9" * 309])
@pytest.mark.parametrize("place", [b'{"number": %b}', b'{"number": 1, "nested": {"a": [{"b": [%b]}]}}'])
def test_an_integer_beyond_the_range_of_floats_is_refused(digits, place):
    with pytest.raises(ClientException, match=r"integer with (401|309) digits"):
        read_json(place % digits, Numbers)


@pytest.mark.parametrize("body", [b'{"number": 1, "nested": {"a": "%b"}}', b'{"number": 0.%b}'])
def test_many_digits_elsewhere_are_possible(body):
    assert isinstance(read_json(body % (b"9" * 400), Numbers), Numbers)


@pytest.mark.parametrize("item", [b"[]", b"{}", b'[{"a": {}}]'])
def test_lists_and_objects_have_a_limit(item):
    body = b'{"a": [' + b",".join([item] * 150_000) + b"]}"
    with pytest.raises(ClientException, match=r"lists and objects, .* limit is 100000"):
        read_json(body)
    assert gc.isenabled()


@pytest.mark.parametrize("text", ["[" * 200_000, '[{"' * 100_000, "\\[" * 200_000, 'a"[{' * 100_000])
def test_brackets_in_texts_are_no_lists(text):
    assert read_json(json.dumps([text]).encode()) == [text]


@pytest.mark.parametrize("body", [b'{"a', b"[" * 100_000, b'"\\ud800"', b'"\xff"', b"NaN", b'"' + b'\\"' * 300_000])
def test_what_is_not_json_is_the_clients_error(body):
    with pytest.raises(ClientException):
        read_json(body)


def test_a_value_of_another_type_is_named():
    with pytest.raises(msgspec.ValidationError, match=r"\$\.number"):
        read_json(b'{"number": []}', Numbers)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ROWS, ROWS.tolist()),
        (list(ROWS), ROWS.tolist()),
        ([[row for row in rows] for rows in ROWS], ROWS.tolist()),  # noqa: C416 - lists of arrays
        ({"rows": ROWS}, {"rows": ROWS.tolist()}),
        (list(range(10_000)), list(range(10_000))),
        ([["a"] * 3000, [], [["b"] * 3000]], [["a"] * 3000, [], [["b"] * 3000]]),
        ([], []),
        (np.zeros((0, 3)), []),
        (np.array([1.0, np.nan, np.inf]), [1.0, None, None]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
    ],
)
def test_json_that_is_written_in_blocks_is_the_same(content, expected):
    assert json.loads(write_json(content)) == expected


@pytest.mark.parametrize(
    ("content", "large"),
    [(ROWS, True), (ROWS[0, 0], False), ({"a": ["b" * LARGE_BYTES * 8]}, True), ([[{"a": 1.0}] * 2] * 32, False)],
)
def test_large_content_is_known_before_it_is_encoded(content, large):
    assert is_large(content) is large

import numpy as np
import pytest
from fixtures.generation import EOS, Scripted, generation

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.stopping import Stopping, ending

# Token 10 + n is the n-th piece; token 100 + n is the byte n.
PIECES = ["a", "b", " stop", "st", "op", "stopped", "x", "n't", "\n", "\n\n"]
FIRST, BYTES = 10, 100


def decode(ids):
    pieces = [bytes([token - BYTES]) if token >= BYTES else PIECES[token - FIRST].encode() for token in ids]
    return b"".join(pieces).decode(errors="replace")


def tokens_of(*pieces):
    return [FIRST + PIECES.index(piece) for piece in pieces]


def written(stops, prompt, answer):
    """The tokens of an answer until a stop string ends it."""
    table = np.full((len(answer), 1, 400), -5.0)
    table[np.arange(len(answer)), 0, answer] = 5
    config = GenerationConfig(max_new_tokens=len(answer), stop_strings=stops)
    ids = np.array([prompt])
    return generation(Scripted(table), ids, np.ones_like(ids), config, decode=decode).generate().sequences[0].tolist()


@pytest.mark.parametrize(
    ("stop", "prompt", "answer", "length"),
    [
        ("stop", ["a"], ["a", "st", "op", "x"], 3),
        ("stop", ["a"], ["a", "stopped", "x"], 2),  # the token is longer than the text
        ("stop", ["a"], ["a", " stop", "x"], 2),
        (" stop", ["a"], ["a", "st", "op", "x"], 4),
        ("stop", ["st"], ["op", "x"], 1),  # it begins in the prompt
        ("stop", ["st", "op"], ["a", "x"], 2),  # it is in the prompt alone
        ("opst", ["st"], ["op", "st", "x"], 2),
        ("\n\n", ["a"], ["\n", "\n", "x"], 2),
        ("\n", ["a"], ["\n\n", "x"], 1),
        (["bb", "x"], ["a"], ["b", "a", "x", "b"], 3),
    ],
)
def test_a_text_ends_a_row(stop, prompt, answer, length):
    assert written(stop, tokens_of(*prompt), tokens_of(*answer)) == tokens_of(*answer)[:length]


def test_a_character_of_several_tokens():
    answer = [BYTES + byte for byte in "é😀".encode()] + tokens_of("x")
    assert written("😀", tokens_of("a"), answer) == answer[:6]
    assert written("é", tokens_of("a"), answer) == answer[:2]


def test_a_stop_string_needs_a_tokenizer():
    with pytest.raises(OptionError, match=r"stop_strings='\.' needs a tokenizer"):
        Stopping(GenerationConfig(stop_strings="."), max_length=5)


def test_tokens_that_end_a_row():
    stopping = Stopping(GenerationConfig(eos_token_id=[EOS, 7]), max_length=9)
    assert stopping.ended(np.array([EOS, 5, 7]), 8).tolist() == [True, False, True]
    assert stopping.ended(np.array([EOS, 5, 7]), 9).all()


def test_the_clock(monkeypatch):
    now = 100.0
    monkeypatch.setattr("torchless.generation.stopping.monotonic", lambda: now)
    stopping = Stopping(GenerationConfig(max_time=2.0), max_length=9)
    assert not stopping.ended(np.array([5, 5]), 3).any()
    now = 102.5
    assert stopping.ended(np.array([5, 5]), 3).all()


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        (["a", "x", "b"], {}, (3, "length")),
        (["a", "x", "b", "b"], {"eos_token_id": FIRST + 1}, (3, "eos_token")),  # what follows is padding
        (["a", "st", "op", "b"], {"stop_strings": ["stop"], "eos_token_id": FIRST + 1}, (3, "stop_sequence")),
        (
            ["a", "x", "stopped"],
            {"stop_strings": ["stop"]},
            (3, "stop_sequence"),
        ),  # the last token is at the maximum length
    ],
)
def test_where_a_row_ended_and_why(answer, options, expected):
    ids = tokens_of("st", "b", *answer)
    assert ending(ids, 2, GenerationConfig(**options), decode=decode) == expected


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_returns_its_tokens_when_it_must_not_continue(beams):
    table = np.zeros((20, beams, 400))
    config = GenerationConfig(max_new_tokens=20, num_beams=beams)
    answers = iter([True, True, False])
    ids = np.array([[10]])
    got = generation(Scripted(table), ids, np.ones_like(ids), config, should_continue=lambda: next(answers)).generate()
    assert len(got.sequences[0]) == 3


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("begin", [0, 3, 400])
def test_a_long_text_ends_a_row(begin, ends):
    stop = "é" + "ab stop" * 40 + ("ab" if ends else "nn")
    generated = [BYTES + byte for byte in "é".encode()] + tokens_of(*["a", "b", " stop"] * 40, "a", "b", "x")
    ids = tokens_of(*["x"] * begin) + generated
    expected = (len(generated) - 1, "stop_sequence") if ends else (len(generated), "length")
    assert ending(ids, begin, GenerationConfig(stop_strings=[stop, "no" * 300]), decode=decode) == expected


def test_a_long_text_that_does_not_end_here_costs_few_tokens():
    decoded = []

    def counted(ids):
        decoded.append(len(ids))
        return decode(ids)

    ids = tokens_of(*["a", "b"] * 500)
    assert ending(ids, 0, GenerationConfig(stop_strings="x" * 100_000), decode=counted) == (1000, "length")
    assert max(decoded) <= 32

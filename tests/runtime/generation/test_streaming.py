import pytest
from fixtures.checkpoints import byte_level_bpe, unigram, wordpiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as Backend

from torchless.generation.streaming import TextStream, TextUntil, text_until
from torchless.tokenization.tokenizer import Tokenizer


def byte_level():
    backend = byte_level_bpe(["<s>", "</s>"])
    backend.add_tokens(["naïve €", AddedToken("<|extra|>", special=False)])
    return backend


def byte_fallback(decoder):
    words = ["<unk>", "▁", "▁a", "b", "▁▁", ".", "▁.", "'", "▁'", "s", "▁n", "t", "é", "▁the", "�", "▁'s"]
    vocab = words + [f"<0x{byte:02X}>" for byte in range(256)]
    model = models.BPE({token: index for index, token in enumerate(vocab)}, [], unk_token="<unk>", byte_fallback=True)
    backend = Backend(model)
    backend.decoder = decoder
    backend.add_special_tokens(["<s>", "</s>"])
    return backend


def metaspace():
    return unigram(["<s>", "</s>", "<unk>"], "<unk>")


def no_decoder():
    backend = metaspace()
    backend.decoder = None
    return backend


def word_ends():
    vocab = {token: index for index, token in enumerate(["the</w>", "th", "e", "n't</w>", ".</w>", "'</w>", "s</w>"])}
    backend = Backend(models.BPE(vocab, [], end_of_word_suffix="</w>"))
    backend.decoder = decoders.BPEDecoder()
    backend.add_special_tokens(["<s>", "</s>"])
    return backend


def llama():
    return byte_fallback(
        decoders.Sequence([
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
        ])
    )  # fmt: skip


KINDS = {
    "byte level": byte_level,
    "byte level among others": lambda: mixed(byte_level()),
    "gemma": lambda: byte_fallback(
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    ),
    "llama": llama,
    "metaspace": metaspace,
    "no decoder": no_decoder,
    "word ends": word_ends,
    "wordpiece": lambda: Backend.from_str(wordpiece().backend_tokenizer.to_str()),
}


def mixed(backend):
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    return backend


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return Tokenizer(KINDS[request.param](), {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.fixture(scope="module")
def byte_tokenizer():
    return Tokenizer(byte_level(), {})


def pieces(tokenizer, ids, **options):
    stream = TextStream(tokenizer, **options)
    return [*(stream.push([index]) for index in ids), stream.finish()]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_the_joined_pieces_are_the_text(tokenizer, data):
    size = len(tokenizer)
    # Bytes, special tokens and punctuation are at the begin or end of the vocabularies. The last id has no token.
    index = st.one_of(st.integers(0, size), st.integers(0, min(size, 280)), st.integers(max(size - 20, 0), size))
    ids = data.draw(st.lists(index, max_size=40))
    for skip in (True, False):
        for clean in (True, False):
            options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
            assert "".join(pieces(tokenizer, ids, **options)) == tokenizer.decode(ids, **options)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(text=st.text(alphabet="ab .?!,'ntmsver", max_size=40))
def test_clean_up_of_punctuation(byte_tokenizer, text):
    tokenizer = byte_tokenizer
    ids = [tokenizer.convert_tokens_to_ids(token) for token in text.replace(" ", "Ġ")]
    assert "".join(pieces(tokenizer, ids, clean_up_tokenization_spaces=True)) == tokenizer.decode(
        ids, clean_up_tokenization_spaces=True
    )


@pytest.mark.parametrize("kind", ["byte level", "llama", "gemma"])
def test_a_character_is_never_split(kind):
    tokenizer = Tokenizer(KINDS[kind](), {})
    token = "{}" if kind == "byte level" else "<0x{:02X}>"
    alphabet = dict(zip("€ ".encode(), ("â", "Ĥ", "¬", "Ġ"), strict=True))
    ids = [tokenizer.token_id(token.format(alphabet[byte] if kind == "byte level" else byte)) for byte in "€".encode()]
    assert None not in ids
    got = pieces(tokenizer, [*ids, *ids], clean_up_tokenization_spaces=False)
    assert "�" not in "".join(got)
    assert "".join(got) == "€€"
    assert got[:2] == ["", ""]


def test_a_word_is_printed_as_soon_as_it_is_known(byte_tokenizer):
    ids = byte_tokenizer.encode("It is a film of quiet power.")
    got = pieces(byte_tokenizer, ids, clean_up_tokenization_spaces=False)
    assert got == [*(byte_tokenizer.decode([index]) for index in ids), ""]


def test_streams_are_independent(tokenizer):
    rows = [[5, 6, 7], [8, 9, 10]]
    streams = [TextStream(tokenizer) for _ in rows]
    texts = ["", ""]
    for step in zip(*rows, strict=True):
        for row, index in enumerate(step):
            texts[row] += streams[row].push([index])
    assert [text + stream.finish() for text, stream in zip(texts, streams, strict=True)] == tokenizer.batch_decode(rows)


@pytest.mark.parametrize("kind", ["byte level", "llama"])
def test_the_time_of_a_token_does_not_grow(kind, monkeypatch):
    tokenizer = Tokenizer(KINDS[kind](), {})
    decoded = []
    decode = Tokenizer.decode
    monkeypatch.setattr(
        Tokenizer, "decode", lambda self, ids, **options: decoded.append(len(ids)) or decode(self, ids, **options)
    )
    pieces(tokenizer, [3, 4, 5, 6] * 500)
    assert max(decoded, default=0) <= 2


@given(text=st.text("abc", max_size=12), stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_in_any_pieces(text, stops):
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    whole = TextUntil(stops)
    kept = whole.push(text) + whole.finish()
    assert text.startswith(kept)
    assert not any(stop in kept for stop in stops)
    assert len(kept) < min(ends) if ends else kept == text
    pieces = TextUntil(stops)
    assert "".join(map(pieces.push, text)) + pieces.finish() == kept


@given(
    text=st.text("ab", max_size=24), stops=st.lists(st.text("ab", min_size=1, max_size=6), max_size=3), data=st.data()
)
def test_only_what_can_begin_a_stop_is_held_back(text, stops, data):
    until, seen, got = TextUntil(stops), "", ""
    while len(seen) < len(text):
        piece = text[len(seen) : len(seen) + data.draw(st.integers(1, 4))]
        seen, got = seen + piece, got + until.push(piece)
        if not any(stop in seen for stop in stops):
            held = max((n for stop in stops for n in range(1, len(stop)) if seen.endswith(stop[:n])), default=0)
            assert got == seen[: len(seen) - held]
    assert got + until.finish() == text_until(text, stops)


def test_the_time_for_a_piece_does_not_grow_with_the_stop():
    stop = "x" * 10_000_000
    until = TextUntil([stop, stop + "y"])
    for _ in range(1000):
        assert until.push("xxx") == ""
    assert until.push("y") == "x" * 3000 + "y"


def test_text_that_cannot_begin_a_stop_is_not_held_back():
    until = TextUntil(["\n\n", "END"])
    assert [until.push(piece) for piece in ["a", "\nb", "EN", "T", "\n", "\nc", "d"]] == [
        "a",
        "\nb",
        "",
        "ENT",
        "",
        "",
        "",
    ]
    assert not until.finish()

"""A chunk that differs from the last one in nothing but its text says the same as where it stands alone."""

import pytest

from arriero.canonical.events import Event, Kind, PartDelta
from arriero.dialects.openai.chunks import mould
from arriero.dialects.openai.stream import StreamDecoder

HEAD = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"'
TAIL = b'"}}],"id":"c","model":"m"}\n\n'
TWICE = b'data: {"choices":[{"delta":{"content":"a","content":"b"}}]}\n\n'
ELSEWHERE = b'data: {"choices":[{"delta":{"role":{"content":"a"},"content" :"b"}}]}\n\n'
THINKING = b'data: {"choices":[{"delta":{"reasoning":"b","content":"a"}}]}\n\n'
COUNTED = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}\n\n'
ENDED = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'


def after_one(*reads: bytes) -> list[Event]:
    """What `reads` say behind a first chunk of text."""
    decoder = StreamDecoder()
    decoder.feed(HEAD + b"first" + TAIL)
    return [event for read in reads for event in decoder.feed(read)]


def by_line(read: bytes) -> list[bytes]:
    """The same bytes in pieces, none of which is a whole chunk."""
    return read.splitlines(keepends=True)


def test_a_mould_is_what_stands_around_the_text() -> None:
    assert mould(HEAD + b"Hi" + TAIL) == (HEAD, TAIL)


@pytest.mark.parametrize("data", [ELSEWHERE, THINKING, COUNTED, ENDED, b"data: [DONE]\n\n", HEAD + b"Hi" + TAIL[:-1]])
def test_what_says_more_than_a_text_is_no_mould(data: bytes) -> None:
    assert mould(data) == (b"", b"")


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (b" word", " word"),
        (b'\\"}\\n\\u00e9\\ud83d\\ude42', '"}\n\u00e9\U0001f642'),
        ("ñ\u2028".encode(), "ñ\u2028"),
        (b"\\ud83d", "\ud83d"),
        (b"\xff", "\ufffd"),
    ],
)
def test_a_repeated_chunk_brings_its_text(inner: bytes, text: str) -> None:
    assert after_one(HEAD + inner + TAIL) == [PartDelta(Kind.TEXT, text)]


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        b'b","content":"c',
        b'b","reasoning":"c',
        b'b"}}],"error":{"message":"no"},"x":[{"y":{"z":"',
        b'b"}}]}\n\n' + HEAD + b"c",
        b"a\nb",
        b"a\rb",
        b"a\x00b",
        b"\\",
        b"\\x",
    ],
)
def test_what_is_no_plain_text_is_read_in_full(inner: bytes) -> None:
    read = HEAD + inner + TAIL
    assert after_one(read, HEAD + b"d" + TAIL) == after_one(*by_line(read), HEAD + b"d" + TAIL)


@pytest.mark.parametrize("data", [TWICE, ELSEWHERE, THINKING, COUNTED, ENDED])
def test_odd_chunks_say_the_same_each_time(data: bytes) -> None:
    whole, cut = StreamDecoder(), StreamDecoder()
    for _ in range(3):
        assert whole.feed(data) == [event for piece in by_line(data) for event in cut.feed(piece)]
    assert whole.close() == cut.close()


def test_a_chunk_behind_half_a_line_belongs_to_that_line() -> None:
    assert after_one(b": ", HEAD + b"comment" + TAIL, HEAD + b"text" + TAIL) == [PartDelta(Kind.TEXT, "text")]

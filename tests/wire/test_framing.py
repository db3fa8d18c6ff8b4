"""Bytes in, messages out: server-sent events and NDJSON, in any slicing."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.wire import framing
from arriero.wire.framing import MessageTooLong, NdjsonReader, Sse, SseReader


def events(*pieces: bytes) -> list[Sse]:
    reader = SseReader()
    return [event for piece in pieces for event in reader.feed(piece)] + reader.close()


def lines(*pieces: bytes) -> list[bytes]:
    reader = NdjsonReader()
    return [line for piece in pieces for line in reader.feed(piece)] + reader.close()


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        (b"", []),
        (b'data: {"a":1}\n\n', [Sse(b'{"a":1}')]),
        (b'data: {"a":1}\n\ndata: {"a":2}\n\ndata: [DONE]\n\n', [Sse(b'{"a":1}'), Sse(b'{"a":2}'), Sse(b"[DONE]")]),
        (b"data:x\n\n", [Sse(b"x")]),
        (b"data:  x\n\n", [Sse(b" x")]),
        (b"data: x\r\n\r\ndata: y\r\n\r\n", [Sse(b"x"), Sse(b"y")]),
        (b"data: x\r\rdata: y\r\r", [Sse(b"x"), Sse(b"y")]),
        (b"data: x\n\ndata: y\r\n\r\n", [Sse(b"x"), Sse(b"y")]),
        (b"data: one\ndata: two\n\n", [Sse(b"one\ntwo")]),
        (b"event: error\ndata: x\n\ndata: y\n\n", [Sse(b"x", b"error"), Sse(b"y")]),
        (b"event: ping\n\ndata: y\n\n", [Sse(b"y")]),
        (b": keep-alive\n\n: OPENROUTER PROCESSING\n\ndata: x\n\n", [Sse(b"x")]),
        (b"id: 7\nretry: 10\ndata: x\n\n", [Sse(b"x")]),
        (b"data:\n\ndata: \n\ndata: x\n\n", [Sse(b"x")]),
        (b"data: x\n\n\n\n\ndata: y\n\n", [Sse(b"x"), Sse(b"y")]),
        (b"data: x", [Sse(b"x")]),
        (b"data: x\n", [Sse(b"x")]),
        (b"data: x\r", [Sse(b"x")]),
        (b'{"a":1}\n{"a":2}\n', [Sse(b'{"a":1}'), Sse(b'{"a":2}')]),
        (b'data: {"a":1}\ndata: {"a":2}\ndata: [DONE]\n', [Sse(b'{"a":1}'), Sse(b'{"a":2}'), Sse(b"[DONE]")]),
        (b'data: {"a":\ndata: 1}\n\n', [Sse(b'{"a":\n1}')]),
        ('data: "a\u2028b\u0085c"\n\n'.encode(), [Sse('"a\u2028b\u0085c"'.encode())]),
        (b"\xef\xbb\xbfdata: x\n\n", [Sse(b"x")]),
        (b"nonsense\ndatum: x\n\ndata: y\n\n", [Sse(b"y")]),
    ],
)
def test_events(stream: bytes, messages: list[Sse]) -> None:
    assert events(stream) == messages
    assert events(*(stream[at : at + 1] for at in range(len(stream)))) == messages


FIELD = st.sampled_from(
    [
        b'data: {"a":1}',
        b'data:{"b":"\xc3\xb1"}',
        b"data: text",
        b"data:",
        b"data: [DONE]",
        b'{"bare":true}',
        b"event: error",
        b": comment",
        b"id: 1",
        b"\xef\xbb\xbfdata: marked",
        b"",
        b"",
    ]
)
STREAM = st.lists(st.tuples(FIELD, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=20).map(
    lambda fields: b"".join(field + end for field, end in fields)
)


@given(STREAM, st.lists(st.integers(0, 10_000), max_size=12))
def test_any_slicing_gives_the_same_events(stream: bytes, places: list[int]) -> None:
    assert events(*cut(stream, places)) == events(stream)


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_slicing_of_any_bytes_gives_the_same_events(stream: bytes, places: list[int]) -> None:
    assert events(*cut(stream, places)) == events(stream)


def test_an_event_comes_with_the_byte_that_ends_it() -> None:
    reader = SseReader()
    assert reader.feed(b"data: x\n") == []
    assert reader.feed(b"\n") == [Sse(b"x")]
    assert reader.feed(b"data: y\r\n\r\n") == [Sse(b"y")]
    assert reader.close() == []


def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_MESSAGE_BYTES", 64)
    reader = SseReader()
    with pytest.raises(MessageTooLong):
        for _ in range(10):
            reader.feed(b"data: xxxxxxxxx")


@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        (b"", []),
        (b'{"a":1}\n', [b'{"a":1}']),
        (b'{"a":1}\r\n\r\n \n{"a":2}', [b'{"a":1}', b'{"a":2}']),
        (b'  {"a":1}  \n', [b'{"a":1}']),
        ('{"a":"\u2028"}\n'.encode(), ['{"a":"\u2028"}'.encode()]),
    ],
)
def test_lines(stream: bytes, messages: list[bytes]) -> None:
    assert lines(stream) == messages
    assert lines(*(stream[at : at + 1] for at in range(len(stream)))) == messages


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_slicing_gives_the_same_lines(stream: bytes, places: list[int]) -> None:
    assert lines(*cut(stream, places)) == lines(stream)


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_MESSAGE_BYTES", 64)
    reader = NdjsonReader()
    with pytest.raises(MessageTooLong):
        for _ in range(10):
            reader.feed(b"xxxxxxxxxxxxx")

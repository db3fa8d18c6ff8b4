"""Pipes: bytes of a backend in, bytes for the client out."""

import json

import pytest

from arriero.canonical.events import Usage
from arriero.canonical.requests import ChatRequest
from arriero.compose import DIALECTS
from arriero.dialects.backend_errors import NOBODY
from arriero.dialects.base import AnswerContext, Times
from arriero.errors import (
    BackendBroken,
    BackendError,
    BackendFailed,
)
from arriero.filters.think import ThinkTagging
from arriero.gateway.pipes import HELD_BYTES, Fold, Gather, Pipe, Relay, Renamed, Transcode

NOW = 1_700_000_001_000_000_000
REQUEST = ChatRequest(model="m", stream=True)
CONTEXT = AnswerContext("m", REQUEST, Times(NOW - 5, NOW - 3), "id1")
CHAT = DIALECTS["ollama"].by_path["/api/chat"]
DRIVER = DIALECTS["openai"].drivers[ChatRequest]

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":1}'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],' + USAGE + b"}\n\n"
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"no more","code":500}}\n\n'
WHOLE = b'{"choices":[{"message":{"content":"<think>Hm</think>Hi"},"finish_reason":"stop"}]}'


def transcode() -> Transcode:
    assert DRIVER.decoder is not None and CHAT.encoder is not None
    return Transcode(DRIVER.decoder(NOBODY), (ThinkTagging(),), CHAT.encoder(CONTEXT), str)


def fold() -> Fold:
    assert DRIVER.decoder is not None
    return Fold(DRIVER.decoder(NOBODY), CHAT, CONTEXT, (ThinkTagging(),), str)


def frames(data: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in data.splitlines()]


def test_a_relay_hands_on_the_very_same_object() -> None:
    data = b"anything"
    pipe = Relay(checked=False)
    assert pipe.feed(data, NOW) is data
    assert pipe.close(NOW) == b""


@pytest.mark.parametrize("end", [b"{}", b"data: [DONE]", b'{"done":true}\n', b"data: {}\n\n", b"{} \r", b"<html>\n"])
def test_a_relayed_answer_ends_with_a_message(end: bytes) -> None:
    for pipe in (Relay(), Renamed("a", "b")):
        said = pipe.feed(b"{}\n", NOW) + pipe.feed(end, NOW) + pipe.close(NOW)
        assert said == b"{}\n" + end


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((), "is empty"),
        ((b'{"message":{"content":"Hel',), "in the middle"),
        ((b"data: {}\n\n", b"data: {"), "in the middle"),
    ],
)
def test_a_relayed_answer_that_is_cut_is_no_answer(pieces: tuple[bytes, ...], reason: str) -> None:
    for pipe in (Relay(), Renamed("a", "b")):
        for piece in pieces:
            pipe.feed(piece, NOW)
        with pytest.raises(BackendBroken, match=reason):
            pipe.close(NOW)


def test_a_relayed_whole_answer_is_held_until_it_is_complete() -> None:
    pipe = Relay(whole=True)
    assert [pipe.feed(piece, NOW) for piece in (b'{"message":', b'{"content":"Hi"},', b'"done":true}')] == [b""] * 3
    assert pipe.close(NOW) == b'{"message":{"content":"Hi"},"done":true}'


def test_a_relayed_whole_answer_that_is_too_long_to_be_held_goes_out_as_it_comes() -> None:
    pipe, half = Relay(whole=True), b"[" + b" " * (HELD_BYTES // 2)
    assert pipe.feed(half, NOW) == b""
    assert pipe.feed(half, NOW) == half + half
    assert pipe.feed(b"]]", NOW) == b"]]"
    assert pipe.close(NOW) == b""


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_renamed_relay_changes_the_name_alone_however_it_is_cut(size: int) -> None:
    there = b'data: {"model":"a/b","x":"\\"model\\":\\"a/b\\"","y":{"model":"a/b"}}\n\ndata: [DONE]\n\n{"model": "a/b"}'
    pipe = Renamed("a/b", "mine")
    out = b"".join(pipe.feed(there[at : at + size], NOW) for at in range(0, len(there), size)) + pipe.close(NOW)
    assert out == (
        b'data: {"model":"mine","x":"\\"model\\":\\"a/b\\"","y":{"model":"a/b"}}\n\ndata: [DONE]\n\n{"model": "mine"}'
    )


def test_a_renamed_relay_finds_names_in_either_spelling() -> None:
    assert Renamed("modèle", "m").feed('{"model":"modèle"}\n'.encode(), NOW) == b'{"model":"m"}\n'
    assert Renamed("modèle", "m").feed(b'{"model":"mod\\u00e8le"}\n', NOW) == b'{"model":"m"}\n'


def test_a_transcoded_stream_is_written_read_by_read() -> None:
    pipe = transcode()
    first = pipe.feed(TEXT, NOW)
    assert [frame["message"] for frame in frames(first)] == [{"role": "assistant", "content": "Hi"}]
    assert pipe.feed(STOP, NOW) == b""
    assert not pipe.over
    last = frames(pipe.feed(DONE, NOW))
    assert (last[-1]["done"], last[-1]["eval_count"]) == (True, 1)
    assert (pipe.over, pipe.failed, pipe.usage) == (True, None, Usage(3, 1))


def test_an_error_before_the_first_word_is_raised() -> None:
    with pytest.raises(BackendFailed, match="no more"):
        transcode().feed(ERROR, NOW)
    with pytest.raises(BackendFailed, match="no more"):
        fold().feed(ERROR, NOW)


def test_an_error_after_it_is_said() -> None:
    pipe = transcode()
    pipe.feed(TEXT, NOW)
    assert frames(pipe.feed(ERROR, NOW)) == [{"error": "no more"}]
    assert isinstance(pipe.failed, BackendFailed) and pipe.over


def test_a_stream_that_just_ends_has_failed() -> None:
    pipe = transcode()
    pipe.feed(TEXT, NOW)
    assert list(frames(pipe.close(NOW))[-1]) == ["error"]
    assert isinstance(pipe.failed, BackendBroken)


def test_gathering_decodes_once_at_the_end() -> None:
    pipe = Gather(DRIVER, CHAT, CONTEXT, (ThinkTagging(),), str, profile=NOBODY, stream=False)
    assert (pipe.feed(WHOLE[:9], NOW), pipe.feed(WHOLE[9:], NOW)) == (b"", b"")
    assert json.loads(pipe.close(NOW))["message"] == {"role": "assistant", "content": "Hi", "thinking": "Hm"}


def test_a_gathered_answer_becomes_a_stream_where_one_was_asked_for() -> None:
    pipe = Gather(DRIVER, CHAT, CONTEXT, (), str, profile=NOBODY, stream=True)
    pipe.feed(WHOLE, NOW)
    assert [frame["done"] for frame in frames(pipe.close(NOW))] == [False, True]


def test_a_gathered_body_that_is_no_answer_is_the_backends_fault() -> None:
    pipe = Gather(DRIVER, CHAT, CONTEXT, (), str, profile=NOBODY, stream=False)
    pipe.feed(b"<html>", NOW)
    with pytest.raises(BackendBroken):
        pipe.close(NOW)


SECRET = "sk-0123456789"


def hide(text: str) -> str:
    return text.replace(SECRET, "***")


@pytest.mark.parametrize("said", [b"", TEXT])
def test_an_error_inside_an_answer_keeps_the_gateways_secrets(said: bytes) -> None:
    assert DRIVER.decoder is not None and CHAT.encoder is not None
    event = b'data: {"error":{"message":"no such key ' + SECRET.encode() + b'","code":500}}\n\n'
    whole = b'{"error":{"message":"no such key ' + SECRET.encode() + b'","code":500}}'
    streamed = Transcode(DRIVER.decoder(NOBODY), (), CHAT.encoder(CONTEXT), hide)
    folded = Fold(DRIVER.decoder(NOBODY), CHAT, CONTEXT, (), hide)
    gathered = Gather(DRIVER, CHAT, CONTEXT, (), hide, profile=NOBODY, stream=False)
    pipes: list[tuple[Pipe, bytes]] = [(streamed, said + event), (folded, said + event), (gathered, whole)]
    for pipe, body in pipes:
        try:
            out = pipe.feed(body, NOW) + pipe.close(NOW)
            assert pipe.failed is not None
            told = out.decode() + pipe.failed.message
        except BackendError as error:
            told = f"{error.message} {error}"
        assert "no such key ***" in told
        assert SECRET not in told


def test_folding_makes_one_answer_of_a_stream() -> None:
    pipe = fold()
    assert pipe.feed(TEXT + STOP + DONE, NOW) == b""
    assert json.loads(pipe.close(NOW))["message"] == {"role": "assistant", "content": "Hi"}
    assert pipe.usage == Usage(3, 1)


def test_folding_a_cut_stream_is_an_error() -> None:
    pipe = fold()
    pipe.feed(TEXT, NOW)
    with pytest.raises(BackendBroken):
        pipe.close(NOW)


def test_every_pipe_is_one() -> None:
    pipes: list[Pipe] = [Relay(), Renamed("a", "b"), transcode(), fold()]
    assert all(pipe.failed is None and not pipe.over and pipe.usage is None for pipe in pipes)

"""The last bytes of a relayed answer in; nothing out, or that it was cut."""

import json

import pytest

from arriero.errors import BackendBroken
from arriero.gateway.ending import TAIL_BYTES, check_end, told_error

CUT = "the backend's answer was cut off before its end"
HALF = "the backend's answer ended in the middle of a message"


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def event(**fields: object) -> bytes:
    return b"data: " + line(**fields) + b"\n"


def chunk(text: str, finish: str | None = None, **more: object) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more)


WORD = line(message={"content": "Hel"}, done=False)
LAST = line(message={"content": ""}, done=True)
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "pieces",
    [
        # Ollama's, a whole answer of either kind, and what is no JSON at all.
        [WORD, LAST],
        [WORD + LAST],
        [WORD, LAST[:-1]],
        [b'{"embeddings":[[1]]}'],
        [b'{"choices":[{"finish_reason":null}]}'],
        [b"[1]"],
        [b"<html>\n"],
        [line(error="no")],
        # OpenAI's streams: with the word that ends them, with a reason alone, with a count behind it, with neither.
        [chunk("Hel"), chunk("", "stop"), DONE],
        [chunk("Hel"), DONE],
        [chunk("Hel"), chunk("", "stop")],
        [chunk("Hel"), chunk("", "stop"), chunk("")],
        [chunk("Hel"), chunk("", "stop"), event(choices=[], usage={"prompt_tokens": 1})],
        [chunk("Hel"), chunk("", usage={"prompt_tokens": 1})],
        [chunk("Hel"), event(error={"message": "no"})],
        [chunk("Hel"), DONE, b": bye\n\n"],
        [b'data: {"choices":[{"finish_reason":"stop"}]}\r\rdata: [DONE]\r\r'],
        # Anthropic's, and those of other APIs.
        [event(type="content_block_stop"), event(type="message_stop")],
        [event(type="response.completed"), event(choices="many"), event(done="no")],
    ],
)
def test_an_answer_that_has_ended(pieces: list[bytes]) -> None:
    check_end(pieces, all_there=True)
    check_end(pieces, all_there=False)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "the backend's answer is empty"),
        ([WORD, WORD], CUT),
        ([WORD, WORD[:-1]], CUT),
        ([WORD, LAST[:20]], HALF),
        ([WORD, b'{"message":{"tool_calls":[{}]'], HALF),
        ([chunk("Hel"), chunk("lo")], CUT),
        ([chunk("Hel"), chunk("lo"), b": still there\n\n: still there\n\n"], CUT),
        ([chunk("Hel"), chunk('"finish_reason":"stop"')], CUT),
        ([chunk("Hel"), chunk("lo").rstrip()[:-1]], HALF),
        ([chunk("Hel").replace(b"\n", b"\r"), chunk("lo").replace(b"\n", b"\r")], CUT),
        ([event(type="message_start"), event(type="content_block_delta")], CUT),
    ],
)
def test_an_answer_that_was_cut(pieces: list[bytes], reason: str) -> None:
    for all_there in (True, False):
        with pytest.raises(BackendBroken, match=reason):
            check_end(pieces, all_there=all_there)


def test_one_line_is_judged_only_if_it_is_there_as_a_whole() -> None:
    """What is left of a long one may look like anything."""
    check_end([WORD], all_there=False)
    with pytest.raises(BackendBroken, match=CUT):
        check_end([WORD], all_there=True)


def test_a_last_line_that_is_too_long_to_be_looked_at_is_believed() -> None:
    check_end([WORD, b'{"done":false,"context":[' + b"1," * TAIL_BYTES + b"1]}\n"], all_there=True)


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([chunk("Hel"), event(error={"message": "no", "code": 429})], 429),
        ([chunk("Hel"), chunk("", "error", error={"message": "no", "code": 502}), DONE], 502),
        ([chunk("Hel"), event(error={"message": "no", "code": 429}), DONE, b": bye\n\n"], 429),
        ([b'data: {"err', b'or":{"message":"no","code":503}}\n\n'], 503),
        ([WORD, line(error="no")], 502),
        ([b'{"error":{"message":"no","code":429}}'], 429),
        ([b'{\n "error": {\n  "message": "no",\n  "code": 429\n }\n}\n'], 429),
        ([event(type="message_start"), b"event: error\n" + event(type="error", error={"type": "overloaded"})], 503),
    ],
)
def test_the_error_that_an_answer_ends_with(pieces: list[bytes], status: int) -> None:
    error = told_error(pieces)
    assert error is not None
    assert error.status == status


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [chunk("Hel"), chunk("", "stop"), DONE],
        [chunk('say {"error": 1}'), chunk("", "stop"), DONE],
        [chunk("", "stop", error=None), DONE],
        [event(error={"message": "no"}), chunk("yet"), chunk("", "stop"), DONE],  # it went on
        [b'{"choices":[{"error":{"message":"one of many"}}]}'],
        [line(message={"content": '"error"'}, done=True)],
        [b'"error"'],
        [b'data: {"error":'],
    ],
)
def test_an_answer_that_ends_with_no_error(pieces: list[bytes]) -> None:
    assert told_error(pieces) is None

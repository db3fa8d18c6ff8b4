"""Typed reading of an answer's events, and what happens to fields that do not fit."""

import json

import pytest
from msgspec import Raw

from arriero.dialects.openai.chunks import (
    CallPiece,
    Choice,
    Chunk,
    Delta,
    FunctionPiece,
    NotJson,
    PromptDetails,
    WireUsage,
    loosely,
    present,
    read_chunk,
)


def test_a_chunk() -> None:
    body = (
        b'{"id":"x","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},'
        b'"finish_reason":null}],"usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":0}},"x":[{}]}'
    )
    assert read_chunk(body) == Chunk(
        id="x",
        model="m",
        choices=[Choice(index=0, delta=Delta(content="Hi"))],
        usage=WireUsage(prompt_tokens=1, prompt_tokens_details=PromptDetails(0)),
    )


MISFITS = {
    '{"id":5}': Chunk(),
    '{"choices":{}}': Chunk(),
    '{"choices":[5,{"delta":[],"index":"0","finish_reason":7}]}': Chunk(choices=[Choice(index=0)]),
    '{"choices":[{"delta":{"content":5,"reasoning":"Hm"}}]}': Chunk(choices=[Choice(delta=Delta(reasoning="Hm"))]),
    '{"usage":"","model":"m"}': Chunk(model="m"),
    '{"usage":{"prompt_tokens":"12","completion_tokens":null,"prompt_tokens_details":[]}}': Chunk(
        usage=WireUsage(prompt_tokens=12)
    ),
    '{"choices":[{"delta":{"tool_calls":[{"index":"1","id":9,"function":{"name":"f","arguments":"{}"}}]}}]}': Chunk(
        choices=[
            Choice(delta=Delta(tool_calls=[CallPiece(1, None, FunctionPiece("f", Raw(b'"{}"')))])),
        ]
    ),
}


@pytest.mark.parametrize("text", MISFITS)
def test_what_does_not_fit_is_absent(text: str) -> None:
    assert read_chunk(text.encode()) == MISFITS[text]


def test_a_lone_surrogate_is_kept() -> None:
    chunk = read_chunk(b'{"choices":[{"delta":{"content":"\\udc00"}}]}')
    assert chunk == Chunk(choices=[Choice(delta=Delta(content="\udc00"))])


@pytest.mark.parametrize("data", [b"", b"[DONE]", b"[1]", b"7", b'"a"', b"null", b'{"a":', b"{}{}"])
def test_not_json(data: bytes) -> None:
    with pytest.raises(NotJson):
        read_chunk(data)


def test_deep_nesting_is_not_json() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(NotJson):
        loosely(deep)
    with pytest.raises(NotJson):
        read_chunk(b'{"choices":[{"delta":{"content":' + deep + b"}}]}")


def test_a_lone_surrogate_where_no_text_belongs() -> None:
    assert read_chunk(b'{"choices":"\\ud83e","model":"m"}') == Chunk(model="m")


def test_present() -> None:
    assert [present(Raw(raw)) for raw in (b"", b"null", b"0", b'""')] == [False, False, True, True]


def test_loosely() -> None:
    assert loosely(b'{"a":"x\ny\xff"}') == {"a": "x\ny\ufffd"}
    assert loosely(json.dumps({"a": [1]}).encode()) == {"a": [1]}

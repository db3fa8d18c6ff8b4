"""Relay: between two sides of one dialect the bytes are the client's own; only the model's name may change."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.canonical.events import Failed
from arriero.errors import BackendBroken
from arriero.gateway.pipes import Pipe, Relay, Renamed
from arriero.wire.splice import NotAnObject, peek, splice_model
from support.dialects import NOW_NS, Stream, cut, streams
from support.recordings import Recording, recordings

BODIES = [found for found in recordings() if found.request.body[:1] == b"{"]


@pytest.mark.parametrize("recording", BODIES, ids=str)
def test_a_relayed_body_is_the_clients_own(recording: Recording) -> None:
    body = recording.request.body
    try:
        model, _ = peek(body)
    except NotAnObject:
        assert recording.response.status == 400, "the backend refuses it as well"
        return
    assert splice_model(body, model or "", model or "") is body


@pytest.mark.parametrize("recording", BODIES, ids=str)
def test_another_name_moves_nothing_else(recording: Recording) -> None:
    body = recording.request.body
    try:
        model, _ = peek(body)
    except NotAnObject:
        return
    if model is None:
        return
    renamed = splice_model(body, model, "another/model:latest")
    old, new = json.dumps(model).encode(), b'"another/model:latest"'
    assert renamed == body.replace(old, new, 1)
    assert splice_model(renamed, "another/model:latest", model) == body


def through(pipe: Pipe, pieces: list[bytes], *, complete: bool) -> bytes:
    """What a client reads; that its answer was cut is told, not passed over."""
    said = b"".join([pipe.feed(piece, NOW_NS) for piece in pieces])
    if complete:
        return said + pipe.close(NOW_NS)
    with pytest.raises(BackendBroken):
        pipe.close(NOW_NS)
    return said


@given(st.binary(max_size=40))
def test_what_is_relayed_is_the_same_object(data: bytes) -> None:
    assert Relay().feed(data, NOW_NS) is data


@pytest.mark.parametrize("stream", streams(), ids=str)
@settings(max_examples=8)
@given(places=st.lists(st.integers(0, 200_000), max_size=12))
def test_in_an_answer_only_the_name_moves(stream: Stream, places: list[int]) -> None:
    """The client reads the name that it typed, in every message, however the bytes arrive."""
    messages = [line for line in stream.body.split(b"\n") if line.startswith((b"data: {", b"{"))]
    there = json.loads(messages[0].removeprefix(b"data: ")).get("model", "m")
    last = stream.events()[-1]
    complete = not (isinstance(last, Failed) and last.cut)
    renamed = through(Renamed(there, "typed"), cut(stream.body, places), complete=complete)
    assert renamed == stream.body.replace(b'"model":' + json.dumps(there).encode(), b'"model":"typed"')
    pipe = Renamed("not/there", "typed")
    assert through(pipe, cut(stream.body, places), complete=complete) == stream.body

"""Split: any slicing of the bytes, even byte by byte, gives the same events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.dialects.backend_errors import NOBODY
from support.dialects import Stream, cut, decode, streams


@pytest.mark.parametrize("stream", streams(), ids=str)
@settings(max_examples=15)
@given(places=st.lists(st.integers(0, 200_000), min_size=1, max_size=20))
def test_any_slicing_gives_the_same_events(stream: Stream, places: list[int]) -> None:
    assert decode(stream.driver, cut(stream.body, places)) == stream.events()


@pytest.mark.parametrize("stream", streams(), ids=str)
def test_byte_by_byte(stream: Stream) -> None:
    body = stream.body
    assert decode(stream.driver, [body[at : at + 1] for at in range(len(body))]) == stream.events()


@pytest.mark.parametrize("stream", [stream for stream in streams() if stream.dialect.name == "openai"], ids=str)
def test_as_the_server_sent_it(stream: Stream) -> None:
    assert decode(stream.driver, stream.recording.response.pieces) == stream.events()


@pytest.mark.parametrize("stream", streams(), ids=str)
def test_an_event_comes_with_its_last_byte(stream: Stream) -> None:
    """Nothing waits for the bytes behind it: a held-back event is a token that the reader sees late."""
    lines = stream.body.split(b"\n")
    assert stream.driver.decoder is not None
    decoder = stream.driver.decoder(NOBODY)
    fed = [event for line in lines[:-1] for event in decoder.feed(line + b"\n")]
    rest = decoder.close()
    # What only the end of the body can tell is that there is no more of it.
    assert len(rest) <= 1
    assert fed + rest == stream.events()

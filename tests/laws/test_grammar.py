"""Grammar: the table of the event order accepts every decoder's output, however the answer ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.canonical.events import Failed, Finished, PartDelta, PartEnded, PartStarted
from arriero.canonical.requests import Text, Thinking
from arriero.canonical.stream import State, advance
from support.dialects import DIALECTS, Stream, decode, decoder_of, end_state, streams

CUT = {"cut_mid_stream"}
"""Recordings whose server died."""

UNUSABLE = {"s_tool_truncated_stream"}
"""Recordings whose answer is complete and useless: the arguments of a call that end in the middle."""


@pytest.mark.parametrize("stream", streams(), ids=str)
def test_a_recorded_stream_is_in_order(stream: Stream) -> None:
    events = stream.events()
    assert end_state(events) is State.OVER
    if stream.recording.name in CUT:
        assert isinstance(events[-1], Failed)
        assert events[-1].cut or stream.dialect.name == "ollama"  # the line that ends a stream does not say why
    elif stream.recording.name in UNUSABLE:
        assert isinstance(events[-1], Failed)
        assert not events[-1].cut
    else:
        assert isinstance(events[-1], Finished)


@pytest.mark.parametrize("stream", streams(), ids=str)
@settings(max_examples=15)
@given(share=st.floats(0, 0.98))
def test_a_stream_that_is_cut_fails_in_order(stream: Stream, share: float) -> None:
    """An answer that was not complete is never taken for one that was."""
    body = stream.body[: int(len(stream.body) * share)]
    decoder = decoder_of(stream.driver)
    events = decoder.feed(body)
    told = any(isinstance(event, Finished) for event in events)
    events += decoder.close()
    assert end_state(events) is State.OVER
    if b'"finish_reason":"' not in body and b'"done":true' not in body:
        assert not told
        assert isinstance(events[-1], Failed)


@pytest.mark.parametrize("stream", streams(), ids=str)
def test_a_part_ends_with_the_text_of_its_deltas(stream: Stream) -> None:
    pieces: list[str] = []
    for event in stream.events():
        match event:
            case PartStarted():
                pieces = []
            case PartDelta(kind, text):
                assert text or event.logprobs, f"an empty {kind} delta says nothing"
                pieces.append(text)
            case PartEnded(Text(text) | Thinking(text)):
                assert text == "".join(pieces)


ANYTHING = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
            b'data: {"choices":[{"delta":{"reasoning":"b"}}]}\n\n',
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]}\n\n',
            b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"}"}}]}}]}\n\n',
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\\ud83e"}}]}\n\n',
            b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
            b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
            b'data: {"choices":7}\n\n',
            b'data: {"error":{"message":"x","code":400}}\n\n',
            b'data: {"error":"\\ud83e"}\n\n',
            b"data: [DONE]\n\n",
            b"data: null\n\n",
            b'{"model":"m","message":{"role":"assistant","content":"a"},"done":false}\n',
            b'{"model":"m","message":{"role":"assistant","content":"","thinking":"b"},"done":false}\n',
            b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}\n',
            b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":1}"}}]},"done":false}\n',
            b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":"\\ud83e"}}]},"done":false}\n',
            b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":"\xff"}}]},"done":false}\n',
            b'{"message":{"content":"\\ud83e"},"done":false}\n',
            b'{"message":{"content":"\xff"},"done":false}\n',
            b'{"response":"a","done":false}\n',
            b'{"done":true,"done_reason":"length","eval_count":-1}\n',
            b'{"message":7}\n',
            b'{"error":"x"}\n',
            b'{"error":{"message":"x"}}\n',
            b"[]\n",
            b"null\n",
        ]
    ),
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@settings(max_examples=600)
@given(pieces=st.lists(ANYTHING, max_size=8))
def test_whatever_a_backend_sends_the_order_holds(dialect: object, pieces: list[bytes]) -> None:
    for driver in (driver for each in DIALECTS if each is dialect for driver in each.drivers.values()):
        if driver.decoder is not None:
            assert end_state(decode(driver, pieces)) is State.OVER


@pytest.mark.parametrize("stream", streams(), ids=str)
def test_nothing_follows_the_end(stream: Stream) -> None:
    decoder = decoder_of(stream.driver)
    events = decoder.feed(stream.body)
    state = end_state(events)
    if state is State.OVER:
        assert decoder.feed(stream.body) == []
        assert decoder.close() == []
    else:
        for event in decoder.close():
            state = advance(state, event)
        assert state is State.OVER

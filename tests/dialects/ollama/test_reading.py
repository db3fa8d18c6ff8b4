"""An Ollama server's answers in, events out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.events import (
    Answer,
    Embeddings,
    Event,
    Failed,
    Finished,
    Kind,
    PartDelta,
    PartEnded,
    PartStarted,
    Reason,
    Started,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from arriero.canonical.requests import ChatRequest, Text, Thinking, ToolCall
from arriero.canonical.stream import State, advance, unfold
from arriero.dialects.base import AnswerContext, Times
from arriero.dialects.ollama.reading import CUT, StreamReader, decode_embeddings, decode_whole
from arriero.dialects.ollama.stream import chat_encoder
from arriero.errors import BackendBroken, BackendError, BackendFailed


def frame(message: str, rest: str = '"done":false') -> str:
    return f'{{"model":"tiny","created_at":"2026-01-02T02:04:05.1Z","message":{message},{rest}}}\n'


THOUGHT = frame('{"role":"assistant","content":"","thinking":"I need the clock."}')
HELLO = frame('{"role":"assistant","content":"Hel"}') + frame('{"role":"assistant","content":"lo"}')
CALL = '"tool_calls":[{"id":"call_a1","function":{"index":0,"name":"get_time","arguments":{"city": "Oslo"}}}]'
DONE = (
    '"done":true,"done_reason":"stop","total_duration":900,"load_duration":100,"prompt_eval_count":50,'
    '"prompt_eval_duration":200,"eval_count":20,"eval_duration":300'
)
EMPTY = '{"role":"assistant","content":""}'
USAGE, TIMINGS = Usage(50, 20), Timings(900, 100, 200, 300)
CALLED: list[Event] = [
    PartStarted(Kind.TOOL_CALL, "call_a1", "get_time"),
    PartDelta(Kind.TOOL_CALL, '{"city": "Oslo"}'),
    PartEnded(ToolCall("get_time", '{"city": "Oslo"}', "call_a1")),
]
STARTED = Started(model="tiny")
SAID: list[Event] = [
    PartStarted(Kind.TEXT),
    PartDelta(Kind.TEXT, "Hel"),
    PartDelta(Kind.TEXT, "lo"),
    PartEnded(Text("Hello")),
]

STREAMS: dict[str, tuple[str, list[Event]]] = {
    "text": (HELLO + frame(EMPTY, DONE), [STARTED, *SAID, Finished(Reason.STOP, USAGE, TIMINGS)]),
    "thinking": (
        THOUGHT + HELLO + frame(EMPTY, DONE),
        [
            STARTED,
            PartStarted(Kind.THINKING),
            PartDelta(Kind.THINKING, "I need the clock."),
            PartEnded(Thinking("I need the clock.")),
            *SAID,
            Finished(Reason.STOP, USAGE, TIMINGS),
        ],
    ),
    "calls before the last frame": (
        HELLO + frame(f'{{"role":"assistant","content":"",{CALL}}}') + frame(EMPTY, DONE),
        [STARTED, *SAID, *CALLED, Finished(Reason.TOOL_CALLS, USAGE, TIMINGS)],
    ),
    "calls in the last frame": (
        frame(f'{{"role":"assistant","content":"",{CALL}}}', DONE),
        [STARTED, *CALLED, Finished(Reason.TOOL_CALLS, USAGE, TIMINGS)],
    ),
    "arguments as text": (
        frame('{"tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":1}"}},{"function":{"name":"g"}}]}')
        + frame(EMPTY, '"done":true'),
        [
            STARTED,
            PartStarted(Kind.TOOL_CALL, None, "f"),
            PartDelta(Kind.TOOL_CALL, '{"a":1}'),
            PartEnded(ToolCall("f", '{"a":1}')),
            PartStarted(Kind.TOOL_CALL, None, "g"),
            PartDelta(Kind.TOOL_CALL, "{}"),
            PartEnded(ToolCall("g", "{}")),
            Finished(Reason.TOOL_CALLS),
        ],
    ),
    "text in the last frame, without a newline": (
        frame('{"role":"assistant","content":"Hi"}', '"done":true,"done_reason":"length"').rstrip(),
        [
            STARTED,
            PartStarted(Kind.TEXT),
            PartDelta(Kind.TEXT, "Hi"),
            PartEnded(Text("Hi")),
            Finished(Reason.LENGTH),
        ],
    ),
    "generate": (
        '{"model":"tiny","response":"","thinking":"Hm","done":false}\n'
        '{"model":"tiny","response":"Hi","done":false}\n'
        '{"model":"tiny","response":"","done":true,"done_reason":"stop","context":[1,2],"eval_count":2}\n',
        [
            STARTED,
            PartStarted(Kind.THINKING),
            PartDelta(Kind.THINKING, "Hm"),
            PartEnded(Thinking("Hm")),
            PartStarted(Kind.TEXT),
            PartDelta(Kind.TEXT, "Hi"),
            PartEnded(Text("Hi")),
            Finished(Reason.STOP, Usage(None, 2), context=(1, 2)),
        ],
    ),
    "logprobs": (
        frame(
            '{"content":"Hi"}',
            '"done":false,"logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105],'
            '"top_logprobs":[{"token":"Hi","logprob":-0.5}]}]',
        )
        + frame(EMPTY, '"done":true'),
        [
            STARTED,
            PartStarted(Kind.TEXT),
            PartDelta(
                Kind.TEXT, "Hi", (TokenLogprob("Hi", -0.5, (72, 105), (TopLogprob("Hi", -0.5),)),)
            ),
            PartEnded(Text("Hi")),
            Finished(),
        ],
    ),
    "load": (frame(EMPTY, '"done":true,"done_reason":"load"'), [STARTED, Finished(Reason.LOAD)]),
    "unload": (frame(EMPTY, '"done":true,"done_reason":"unload"'), [STARTED, Finished(Reason.UNLOAD)]),
    "blank lines and what follows the end": (
        "\n" + HELLO + "\r\n" + frame(EMPTY, '"done":true') + HELLO + "garbage\n",
        [STARTED, *SAID, Finished()],
    ),
    "an error line": (
        HELLO + '{"error":"it broke"}\n' + HELLO,
        [STARTED, *SAID[:-1], Failed("it broke")],
    ),
    "an error object": ('{"error":{"message":"it broke","code":500}}\n', [Failed("it broke")]),
    "no done frame": (HELLO, [STARTED, *SAID[:-1], Failed(CUT, cut=True)]),
    "half a frame": (HELLO + '{"model":"tiny","mess', [STARTED, *SAID[:-1], Failed(CUT, cut=True)]),
    "nothing": ("", [Failed(CUT, cut=True)]),
}  # fmt: skip


def check_order(events: list[Event]) -> None:
    state = State.BEFORE
    for event in events:
        state = advance(state, event)
    assert state is State.OVER


@pytest.mark.parametrize(("body", "events"), STREAMS.values(), ids=STREAMS.keys())
def test_a_stream(body: str, events: list[Event]) -> None:
    reader = StreamReader()
    read = reader.feed(body.encode()) + reader.close()
    assert read == events
    check_order(read)


@pytest.mark.parametrize("body", [body for body, _ in STREAMS.values()], ids=STREAMS.keys())
def test_any_slicing_gives_the_same_events(body: str) -> None:
    data = body.encode()
    whole = StreamReader()
    expected = whole.feed(data) + whole.close()
    for step in (1, 2, 7, 64):
        reader = StreamReader()
        read: list[Event] = []
        for at in range(0, len(data), step):
            read += reader.feed(data[at : at + step])
        assert read + reader.close() == expected


def test_a_line_that_is_no_frame_fails_the_stream() -> None:
    reader = StreamReader()
    *before, failed = reader.feed(HELLO.encode() + b"<html>\n")
    assert before == [STARTED, *SAID[:-1]]
    assert isinstance(failed, Failed) and failed.message.startswith("the backend sent a line that is not a frame: ")
    assert reader.feed(HELLO.encode()) + reader.close() == []


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (b'"\xff"', "\ufffd"),
        (b'"\\ud800"', "\ufffd"),
        (b'""', "{}"),
        (b"null", "{}"),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
        (b"[1]", "[1]"),
    ],
)
def test_arguments_of_any_kind_are_read(raw: bytes, arguments: str) -> None:
    body = b'{"message":{"tool_calls":[{"function":{"name":"f","arguments":' + raw + b'}}]},"done":true}\n'
    (call,) = [event.part for event in StreamReader().feed(body) if isinstance(event, PartEnded)]
    assert call == ToolCall("f", arguments)


def test_half_an_emoji_is_no_reason_to_stop() -> None:
    reader = StreamReader()
    events = reader.feed(b'{"message":{"content":"a\\ud83d"}}\n{"message":{"content":"\xff"},"done":true}\n')
    assert events[-2:] == [PartEnded(Text("a\ufffd\ufffd")), Finished()]


def test_a_whole_answer() -> None:
    body = frame(f'{{"role":"assistant","content":"Hello","thinking":"Hm",{CALL}}}', DONE)
    parts = (Thinking("Hm"), Text("Hello"), ToolCall("get_time", '{"city": "Oslo"}', "call_a1"))
    expected = Answer(parts, Finished(Reason.TOOL_CALLS, USAGE, TIMINGS), STARTED)
    assert decode_whole(body.encode()) == expected
    plain = {"message": {"content": "Hello"}, "done": True}
    assert decode_whole(json.dumps(plain, indent=2).encode()) == Answer((Text("Hello"),), Finished())
    assert decode_whole(body.replace('"done":true,', "").encode()).finished.reason is Reason.TOOL_CALLS  # type: ignore[union-attr]


def test_a_stream_that_nobody_asked_for_is_folded() -> None:
    assert decode_whole((HELLO + frame(EMPTY, DONE)).encode()) == Answer(
        (Text("Hello"),), Finished(Reason.STOP, USAGE, TIMINGS), STARTED
    )


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"error":"it broke"}', BackendFailed, "it broke"),
        (b'{"error":{"message":"it broke"}}', BackendFailed, "it broke"),
        (HELLO.encode(), BackendBroken, CUT),
        (b"", BackendBroken, CUT),
    ],
)
def test_a_whole_answer_that_is_none(body: bytes, kind: type[BackendError], message: str) -> None:
    with pytest.raises(BackendError) as caught:
        decode_whole(body)
    assert (type(caught.value), caught.value.message) == (kind, message)


@pytest.mark.parametrize("body", [b"<html>\n", b"[]\n", b'{"message":1}\n', b"\xff\n"])
def test_nonsense_is_the_backends_fault(body: bytes) -> None:
    with pytest.raises(BackendBroken):
        decode_whole(body)
    with pytest.raises(BackendBroken):
        decode_embeddings(body)


@pytest.mark.parametrize(
    ("body", "embeddings"),
    [
        (
            b'{"model":"x","embeddings":[[0.5,1],[1e-07,-2]],"total_duration":9,"load_duration":1,"prompt_eval_count":4}',
            Embeddings(((0.5, 1.0), (1e-07, -2.0)), Usage(4), Timings(9, 1)),
        ),
        (b'{"embedding":[0.5]}', Embeddings(((0.5,),))),
        (b'{"model":"x","embeddings":[]}', Embeddings(())),
        (b'{"embedding":[]}', Embeddings(())),
    ],
)
def test_embeddings(body: bytes, embeddings: Embeddings) -> None:
    assert decode_embeddings(body) == embeddings


def test_an_error_instead_of_embeddings() -> None:
    with pytest.raises(BackendFailed, match=r"^it broke$"):
        decode_embeddings(b'{"error":"it broke"}')


_text = st.text(min_size=1)
_calls = st.builds(ToolCall, _text, st.dictionaries(st.text(), st.integers()).map(json.dumps), _text)


@given(st.lists(st.builds(Text, _text) | st.builds(Thinking, _text) | _calls, max_size=4), st.data())
def test_what_is_encoded_is_read_back(parts: list[Text | Thinking | ToolCall], data: st.DataObject) -> None:
    context = AnswerContext("tiny", ChatRequest(model="tiny"), Times(1, 2), "id")
    body = chat_encoder(context).feed(unfold(Answer(tuple(parts))), 3)
    reader = StreamReader()
    cut = data.draw(st.integers(0, len(body)))
    events = reader.feed(body[:cut]) + reader.feed(body[cut:]) + reader.close()
    check_order(events)
    said = [event.part for event in events if isinstance(event, PartEnded)]
    for kind in (Text, Thinking):
        texts = ["".join(part.text for part in some if isinstance(part, kind)) for some in (parts, said)]
        assert texts[0] == texts[1]
    calls = [
        [(c.name, json.loads(c.arguments), c.id) for c in some if isinstance(c, ToolCall)] for some in (parts, said)
    ]
    assert calls[0] == calls[1]

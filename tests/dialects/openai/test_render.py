"""Answers and events to what OpenAI's clients read, byte by byte."""

import base64
import json
import struct
from typing import Any

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
    TokenLogprob,
    TopLogprob,
    Usage,
)
from arriero.canonical.requests import ChatRequest, CompletionRequest, EmbedRequest, Request, Text, Thinking, ToolCall
from arriero.canonical.stream import fold, unfold
from arriero.dialects.base import AnswerContext, Times
from arriero.dialects.openai.answers import decode_answer, decode_embeddings
from arriero.dialects.openai.render import (
    ChatEncoder,
    CompletionEncoder,
    encode_chat,
    encode_completion,
    encode_embeddings,
)
from arriero.dialects.openai.stream import StreamDecoder

NOW = 1_767_319_445_900_000_000
CHAT = ChatRequest(model="tiny")
HEAD = (
    '"id":"chatcmpl-x1","object":"chat.completion.chunk","created":1767319445,"model":"tiny",'
    '"system_fingerprint":"fp_ollama"'
)


def context(request: Request = CHAT) -> AnswerContext:
    return AnswerContext(model="tiny", request=request, times=Times(NOW, NOW), id="x1")


def choice(delta: str, reason: str = "null", more: str = "") -> str:
    return f'data: {{{HEAD},"choices":[{{"index":0,"delta":{{{delta}}}{more},"finish_reason":{reason}}}]}}\n\n'


def stream(answer: Answer, request: Request = CHAT) -> str:
    return ChatEncoder(context(request)).feed(unfold(answer), NOW).decode()


def answer(*parts: Text | Thinking | ToolCall, **finished: Any) -> Answer:
    return Answer(parts, Finished(**finished))


# ---- whole answers -------------------------------------------------------------------------------------------------


def test_a_whole_answer() -> None:
    assert encode_chat(answer(Text("Hi"), usage=Usage(5, 2)), context(), NOW) == (
        b'{"id":"chatcmpl-x1","object":"chat.completion","created":1767319445,"model":"tiny",'
        b'"system_fingerprint":"fp_ollama",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n'
    )


def whole(given: Answer, request: Request = CHAT) -> Any:
    return json.loads(encode_chat(given, context(request), NOW))


def test_a_whole_answer_with_thinking_and_calls() -> None:
    found = whole(answer(Thinking("Hm"), ToolCall("f", '{"b":1,"a":2}', "c1"), ToolCall("g", "{}")))
    assert found["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "",
                "reasoning": "Hm",
                "reasoning_content": "Hm",
                "tool_calls": [
                    {
                        "id": "c1",
                        "index": 0,
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"b":1,"a":2}'},
                    },
                    {"id": "call_x1_1", "index": 1, "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]


def test_nobody_counted() -> None:
    assert "usage" not in whole(answer(Text("Hi")))


def test_all_that_was_counted() -> None:
    assert whole(answer(Text("Hi"), usage=Usage(9, 5, 3, 4)))["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


def test_thinking_off_hides_it() -> None:
    off = ChatRequest(model="tiny", think=False)
    given = answer(Thinking("Hm"), Text("Hi"))
    assert whole(given, off)["choices"][0]["message"] == {"role": "assistant", "content": "Hi"}
    assert stream(given, off) == stream(answer(Text("Hi")))


def test_finish_reasons() -> None:
    for reason, word in (
        (Reason.STOP, "stop"),
        (Reason.LENGTH, "length"),
        (Reason.CONTENT_FILTER, "content_filter"),
        (Reason.TOOL_CALLS, "tool_calls"),
    ):
        assert whole(answer(Text("Hi"), reason=reason))["choices"][0]["finish_reason"] == word
        assert f'"finish_reason":"{word}"' in stream(answer(Text("Hi"), reason=reason))


LOGPROBS = (TokenLogprob("Hi", -0.5, (72, 105), (TopLogprob("Ho", -2.0),)),)


def test_logprobs() -> None:
    given = Answer((Text("Hi"),), logprobs=LOGPROBS)
    item = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Ho", "logprob": -2.0}]}
    assert whole(given)["choices"][0]["logprobs"] == {"content": [item]}
    first, *_ = stream(given).split("\n\n")
    assert json.loads(first.removeprefix("data: "))["choices"][0]["logprobs"] == {"content": [item]}


# ---- streams -------------------------------------------------------------------------------------------------------


def test_a_stream() -> None:
    events: list[Event] = [
        Started("theirs", "far"),
        PartStarted(Kind.TEXT),
        PartDelta(Kind.TEXT, "H"),
        PartDelta(Kind.TEXT, "i é\u2028"),
        PartEnded(Text("Hi é\u2028")),
        Finished(usage=Usage(5, 2)),
    ]
    encoder = ChatEncoder(context())
    assert [encoder.feed([event], NOW + at * 10**9).decode() for at, event in enumerate(events)] == [
        "",
        "",
        # The id and the time are the first chunk's, and the same in all.
        choice('"role":"assistant","content":"H"').replace("1767319445", "1767319447"),
        choice('"content":"i \\u00e9\\u2028"').replace("1767319445", "1767319447"),
        "",
        choice("", '"stop"').replace("1767319445", "1767319447") + "data: [DONE]\n\n",
    ]


def test_a_stream_of_everything() -> None:
    request = ChatRequest(model="tiny", include_usage=True)
    given = answer(Thinking("Hm"), Text("Hi"), ToolCall("f", "{}", "c1"), ToolCall("g", '{"a":1}'), usage=Usage(5, 9))
    assert stream(given, request) == "".join(
        (
            choice('"role":"assistant","content":"","reasoning":"Hm","reasoning_content":"Hm"'),
            choice('"content":"Hi"'),
            choice(
                '"content":"","tool_calls":[{"id":"c1","index":0,"type":"function",'
                '"function":{"name":"f","arguments":"{}"}}]'
            ),
            choice(
                '"content":"","tool_calls":[{"id":"call_x1_1","index":1,"type":"function",'
                '"function":{"name":"g","arguments":"{\\"a\\":1}"}}]'
            ),
            choice("", '"tool_calls"'),
            f'data: {{{HEAD},"choices":[],"usage":{{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14}}}}\n\n',
            "data: [DONE]\n\n",
        )
    )


def test_an_empty_stream_has_a_role() -> None:
    assert stream(answer()) == choice('"role":"assistant","content":""') + choice("", '"stop"') + "data: [DONE]\n\n"


def test_usage_is_not_invented() -> None:
    request = ChatRequest(model="tiny", include_usage=True)
    assert '"usage"' not in stream(answer(Text("Hi")), request)


def test_an_error_in_mid_stream_ends_it() -> None:
    encoder = ChatEncoder(context())
    encoder.feed([Started(), PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, "H")], NOW)
    assert encoder.feed([Failed("too much", 429, type="acme_error")], NOW) == (
        b'data: {"error":{"message":"too much","type":"rate_limit_error","param":null,"code":"acme_error"}}\n\n'
    )


# ---- completions ---------------------------------------------------------------------------------------------------

COMPLETION = CompletionRequest(model="tiny", prompt="a", include_usage=True)


def test_a_whole_completion() -> None:
    assert encode_completion(answer(Thinking("Hm"), Text("Hi"), usage=Usage(1, 2)), context(COMPLETION), NOW) == (
        b'{"id":"cmpl-x1","object":"text_completion","created":1767319445,"model":"tiny",'
        b'"system_fingerprint":"fp_ollama","choices":[{"text":"Hi","index":0,"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n'
    )


def test_a_streamed_completion() -> None:
    head = (
        'data: {"id":"cmpl-x1","object":"text_completion","created":1767319445,"model":"tiny",'
        '"system_fingerprint":"fp_ollama","choices":'
    )
    found = CompletionEncoder(context(COMPLETION)).feed(
        unfold(answer(Text("Hi"), reason=Reason.LENGTH, usage=Usage(1, 2))), NOW
    )
    assert found.decode() == (
        f'{head}[{{"text":"Hi","index":0,"finish_reason":null}}]}}\n\n'
        f'{head}[{{"text":"","index":0,"finish_reason":"length"}}]}}\n\n'
        f'{head}[],"usage":{{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}}\n\n'
        "data: [DONE]\n\n"
    )


def test_the_legacy_logprobs() -> None:
    given = Answer((Text("Hi"),), logprobs=LOGPROBS)
    legacy = {"tokens": ["Hi"], "token_logprobs": [-0.5], "top_logprobs": [{"Ho": -2.0}], "text_offset": [0]}
    assert json.loads(encode_completion(given, context(COMPLETION), NOW))["choices"][0]["logprobs"] == legacy
    first, *_ = CompletionEncoder(context(COMPLETION)).feed(unfold(given), NOW).split(b"\n\n")
    assert json.loads(first.removeprefix(b"data: "))["choices"][0]["logprobs"] == legacy


def test_a_failed_completion() -> None:
    assert CompletionEncoder(context(COMPLETION)).feed([Failed("gone", type="acme_error")], NOW) == (
        b'data: {"error":{"message":"gone","type":"api_error","param":null,"code":"acme_error"}}\n\n'
    )


# ---- embeddings ----------------------------------------------------------------------------------------------------


def test_embeddings() -> None:
    request = EmbedRequest(model="tiny", inputs=("a", "b"))
    assert encode_embeddings(Embeddings(((0.5, -1.0), (2.0,)), Usage(3)), context(request), NOW) == (
        b'{"object":"list","data":[{"object":"embedding","embedding":[0.5,-1.0],"index":0},'
        b'{"object":"embedding","embedding":[2.0],"index":1}],"model":"tiny",'
        b'"usage":{"prompt_tokens":3,"total_tokens":3}}\n'
    )


def test_embeddings_in_base64() -> None:
    request = EmbedRequest(model="tiny", inputs=("a",), base64=True)
    body = encode_embeddings(Embeddings(((0.5, -1.0),)), context(request), NOW)
    packed = base64.b64decode(json.loads(body)["data"][0]["embedding"])
    assert struct.unpack("<2f", packed) == (0.5, -1.0)
    assert decode_embeddings(body).vectors == ((0.5, -1.0),)


# ---- there and back ------------------------------------------------------------------------------------------------

parts = st.lists(
    st.one_of(
        st.builds(Text, st.text(min_size=1)),
        st.builds(Thinking, st.text(min_size=1)),
        st.builds(
            ToolCall,
            st.text(min_size=1),
            st.dictionaries(st.text(), st.integers()).map(json.dumps),
            st.uuids().map(str),
        ),
    ),
    max_size=5,
)


def _sorted(given: list[Text | Thinking | ToolCall]) -> tuple[Text | Thinking | ToolCall, ...]:
    """As this wire can say it: one thinking, one text, then the calls."""
    thinking = "".join(part.text for part in given if isinstance(part, Thinking))
    text = "".join(part.text for part in given if isinstance(part, Text))
    return (
        *([Thinking(thinking)] if thinking else []),
        *([Text(text)] if text else []),
        *(part for part in given if isinstance(part, ToolCall)),
    )


@given(parts.map(_sorted), st.sampled_from([Reason.STOP, Reason.LENGTH]), st.integers(0, 9), st.integers(1, 40))
def test_streamed_equals_whole(
    said: tuple[Text | Thinking | ToolCall, ...], reason: Reason, count: int, size: int
) -> None:
    calls = any(isinstance(part, ToolCall) for part in said)
    if calls and reason is Reason.STOP:
        reason = Reason.TOOL_CALLS
    request = ChatRequest(model="tiny", include_usage=True)
    given_answer = Answer(said, Finished(reason, Usage(count, count)), Started("chatcmpl-x1", "tiny"))
    assert decode_answer(encode_chat(given_answer, context(request), NOW)) == given_answer
    body = stream(given_answer, request).encode()
    decoder = StreamDecoder()
    events: list[Event] = []
    for at in range(0, len(body), size):
        events += decoder.feed(body[at : at + size])
    assert fold(events + decoder.close()) == given_answer

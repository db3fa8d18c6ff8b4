"""What servers do that call themselves compatible: one row a trap, bytes in, events out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.events import (
    Event,
    Failed,
    Finished,
    Reason,
    Started,
    Timings,
    Usage,
)
from arriero.dialects.openai.stream import StreamDecoder
from support.openai_wire import CALLS, DONE, HI, STOP, call, called, decode, delta, end, event, text, thinking

TRAPS: dict[str, tuple[bytes, list[Event]]] = {
    # ---- framing
    "a comment is skipped": (b": OPENROUTER PROCESSING\n\n" + HI + end() + DONE, [Started(), *text("Hi"), STOP]),
    "a blank line is a heartbeat": (b"\n\n" + HI + b"\n\n\n" + end() + DONE, [Started(), *text("Hi"), STOP]),
    "an empty payload is a ping": (b"data:\n\ndata: \n\n" + HI + end() + DONE, [Started(), *text("Hi"), STOP]),
    "an object without choices is a ping": (
        event({"type": "ping"}) + HI + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "the space after the colon is optional": (
        HI.replace(b"data: ", b"data:") + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "lines end with CRLF": ((HI + end() + DONE).replace(b"\n", b"\r\n"), [Started(), *text("Hi"), STOP]),
    "lines end with a lone CR": ((HI + end() + DONE).replace(b"\n", b"\r"), [Started(), *text("Hi"), STOP]),
    "U+2028 is no line end": (
        'data: {"choices":[{"delta":{"content":"a\u2028b\u0085c"}}]}\n\n'.encode() + end() + DONE,
        [Started(), *text("a\u2028b\u0085c"), STOP],
    ),
    "one event over several data lines": (
        b'data: {"choices":[{"delta":\ndata: {"content":"Hi"}}]}\n\n' + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "event, id and retry lines": (
        b"event: message\nid: 7\nretry: 3\n" + HI + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "single newlines between events": (
        (HI + end() + DONE).replace(b"\n\n", b"\n") + b"\n",
        [Started(), *text("Hi"), STOP],
    ),
    "a line of bare JSON": (HI.removeprefix(b"data: ") + end() + DONE, [Started(), *text("Hi"), STOP]),
    "no [DONE], the body just ends": (HI + end(), [Started(), *text("Hi"), STOP]),
    "no [DONE] and no finish_reason, but usage": (
        HI + event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
        [Started(), *text("Hi"), Finished(Reason.STOP, Usage(1, 2))],
    ),
    "nothing comes after [DONE]": (HI + end() + DONE + delta(content="x") + DONE, [Started(), *text("Hi"), STOP]),
    "[DONE] with spaces": (HI + end() + b"data:  [DONE] \n\n", [Started(), *text("Hi"), STOP]),
    "a whole answer as one line": (
        event({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}),
        [Started(), *text("Hi"), STOP],
    ),
    # ---- text and thinking
    "content null, and the role alone": (
        delta(role="assistant", content=None) + HI + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "content beside the finish_reason": (
        event({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "length"}]}) + DONE,
        [Started(), *text("Hi"), Finished(Reason.LENGTH)],
    ),
    "an empty finish_reason is none": (
        event({"choices": [{"delta": {"content": "Hi"}, "finish_reason": ""}]}) + delta(content="!") + end() + DONE,
        [Started(), *text("Hi", "!"), STOP],
    ),
    "reasoning_content": (
        delta(reasoning_content="Hm") + HI + end() + DONE,
        [Started(), *thinking("Hm"), *text("Hi"), STOP],
    ),
    "reasoning": (delta(reasoning="Hm") + HI + end() + DONE, [Started(), *thinking("Hm"), *text("Hi"), STOP]),
    "both names at once are one text": (
        delta(reasoning="Hm", reasoning_content="Hm") + end() + DONE,
        [Started(), *thinking("Hm"), STOP],
    ),
    "reasoning_details only where no plain field is": (
        delta(reasoning="A", reasoning_details=[{"type": "reasoning.text", "text": "A"}])
        + delta(reasoning_details=[{"type": "reasoning.text", "text": "B"}, {"summary": "C"}, {"data": "x"}, 7])
        + end()
        + DONE,
        [Started(), *thinking("A", "BC"), STOP],
    ),
    "reasoning and content in one chunk": (
        delta(reasoning="Hm", content="Hi") + end() + DONE,
        [Started(), *thinking("Hm"), *text("Hi"), STOP],
    ),
    "reasoning and nothing else": (
        delta(reasoning="Hm") + end("length") + DONE,
        [Started(), *thinking("Hm"), Finished(Reason.LENGTH)],
    ),
    "content as a list of parts": (
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}])
        + delta(content=[{"type": "text", "text": "H"}, {"type": "text", "text": "i"}, {"type": "reference"}])
        + end()
        + DONE,
        [Started(), *thinking("Hm"), *text("Hi"), STOP],
    ),
    "a refusal is text": (delta(refusal="No.") + end() + DONE, [Started(), *text("No."), STOP]),
    "a lone surrogate": (
        b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n' + end() + DONE,
        [Started(), *text("\ud83d"), STOP],
    ),
    "broken UTF-8": (
        b'data: {"choices":[{"delta":{"content":"a\xffb"}}]}\n\n' + end() + DONE,
        [Started(), *text("a\ufffdb"), STOP],
    ),
    "fields of the wrong type are absent": (
        event(
            {
                "id": 7,
                "usage": "none",
                "choices": [
                    {
                        "index": "0",
                        "delta": {"content": "Hi", "tool_calls": {}, "reasoning": {"x": 1}},
                        "logprobs": "no",
                    },
                    "junk",
                ],
            }
        )
        + end()
        + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "further choices are ignored": (
        event({"choices": [{"index": 1, "delta": {"content": "no"}}]}) + HI + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "nothing but [DONE]": (DONE, [Started(), STOP]),
    # ---- counts
    "choices empty or missing beside usage": (
        HI + end() + event({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}) + DONE,
        [Started(), *text("Hi"), Finished(Reason.STOP, Usage(1, 2))],
    ),
    "usage in every chunk, the last one wins": (
        event({"choices": [{"delta": {"content": "H"}}], "usage": {"prompt_tokens": 4, "completion_tokens": 1}})
        + event({"choices": [{"delta": {"content": "i"}}], "usage": {"prompt_tokens": 4, "completion_tokens": 2}})
        + end()
        + DONE,
        [Started(), *text("H", "i"), Finished(Reason.STOP, Usage(4, 2))],
    ),
    "usage null": (
        event({"choices": [{"delta": {"content": "Hi"}}], "usage": None}) + end() + DONE,
        [Started(), *text("Hi"), STOP],
    ),
    "usage with details": (
        HI
        + end()
        + event(
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 5,
                    "prompt_tokens_details": {"cached_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 4},
                },
            }
        )
        + DONE,
        [Started(), *text("Hi"), Finished(Reason.STOP, Usage(9, 5, 3, 4))],
    ),
    "DeepSeek's cache counter": (
        HI
        + end()
        + event({"usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 2}})
        + DONE,
        [Started(), *text("Hi"), Finished(Reason.STOP, Usage(9, 5, 2))],
    ),
    "Groq's x_groq, with times": (
        HI
        + event(
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "x_groq": {
                    "usage": {
                        "prompt_tokens": 9,
                        "completion_tokens": 5,
                        "prompt_time": 0.5,
                        "completion_time": 0.25,
                        "total_time": 0.75,
                    }
                },
            }
        )
        + DONE,
        [
            Started(),
            *text("Hi"),
            Finished(Reason.STOP, Usage(9, 5), Timings(750_000_000, None, 500_000_000, 250_000_000)),
        ],
    ),
    "llama.cpp's timings count where usage does not": (
        HI
        + event(
            {
                "choices": [{"delta": {}, "finish_reason": "stop"}],
                "timings": {"cache_n": 3, "prompt_n": 7, "prompt_ms": 1.5, "predicted_n": 2, "predicted_ms": 4},
            }
        )
        + DONE,
        [
            Started(),
            *text("Hi"),
            Finished(Reason.STOP, Usage(10, 2, 3), Timings(prompt_ns=1_500_000, eval_ns=4_000_000)),
        ],
    ),
    # ---- tool calls
    "arguments over many chunks, cut inside an escape": (
        call('{"a": "\\u00', 0, "c1", "f") + call('e9"}', 0) + end("tool_calls") + DONE,
        [Started(), *called("f", '{"a": "\\u00e9"}', "c1"), CALLS],
    ),
    "two calls by index": (
        call("{", 0, "c1", "f") + call("{}", 1, "c2", "g") + call("}", 0) + end("tool_calls") + DONE,
        [Started(), *called("f", "{}", "c1"), *called("g", "{}", "c2"), CALLS],
    ),
    "text, then calls": (
        HI + call("{}", 0, "c1", "f") + end("tool_calls") + DONE,
        [Started(), *text("Hi"), *called("f", "{}", "c1"), CALLS],
    ),
    "index missing, new ids": (
        call('{"a":', None, "c1", "f") + call("1}") + call('{"b":', None, "c2", "g") + call("2}") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), *called("g", '{"b":2}', "c2"), CALLS],
    ),
    "index always 0, new ids": (
        call('{"a":1}', 0, "c1", "f") + call('{"a":2}', 0, "c2", "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), *called("f", '{"a":2}', "c2"), CALLS],
    ),
    "index always 0, no ids, a new name": (
        call('{"a":1}', 0, None, "f") + call('{"b":', 0, None, "g") + call("2}", 0) + end() + DONE,
        [Started(), *called("f", '{"a":1}'), *called("g", '{"b":2}'), CALLS],
    ),
    "index always 0, no ids, the same name after closed arguments": (
        call('{"a":1}', 0, None, "f") + call('{"a":2}', 0, None, "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}'), *called("f", '{"a":2}'), CALLS],
    ),
    "index from 1": (
        call('{"a":1}', 1, "c1", "f") + call("{}", 2, "c2", "g") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), *called("g", "{}", "c2"), CALLS],
    ),
    "a fragment with an index of nothing": (
        call('{"a":', 0, "c1", "f") + call("1}", 5) + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "the id in every fragment": (
        call('{"a":', 0, "c1", "f") + call("1}", 0, "c1") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "id and name in every fragment": (
        call('{"a":', 0, "c1", "f") + call("1}", 0, "c1", "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "another id in every fragment": (
        call('{"a":', 0, "c1", "f") + call("1", 0, "c9") + call("}", 0, "c8") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "one id for two calls": (
        call('{"a":1}', 0, "c", "f") + call('{"a":2}', 1, "c", "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c"), *called("f", '{"a":2}', "c"), CALLS],
    ),
    "empty id and null name later": (
        call('{"a":', 0, "c1", "f")
        + delta(tool_calls=[{"index": 0, "id": "", "type": "", "function": {"name": None, "arguments": "1}"}}])
        + end()
        + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "the id comes late": (
        call("", 0, None, "f") + call('{"a":1}', 0, "c1") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "the whole call again in a summary": (
        call('{"a":', 0, "c1", "f") + call("1}", 0) + call('{"a": 1}', 0, "c1", "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "the whole call again, without ids": (
        call('{"a":', 0, None, "f") + call("1}", 0) + call('{"a":1}', 0, None, "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}'), CALLS],
    ),
    "a placeholder before the real arguments": (
        call("{}", 0, "c1", "f") + call('{"a":', 0) + call("1}", 0) + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "arguments as an object": (
        call({"b": 1, "a": [2]}, 0, "c1", "f") + end() + DONE,
        [Started(), *called("f", '{"b": 1, "a": [2]}', "c1"), CALLS],
    ),
    "arguments empty": (call("", 0, "c1", "f") + end() + DONE, [Started(), *called("f", "{}", "c1"), CALLS]),
    "arguments missing": (call(None, 0, "c1", "f") + end() + DONE, [Started(), *called("f", "{}", "c1"), CALLS]),
    "arguments encoded twice": (
        call('"{\\"a\\":1}"', 0, "c1", "f") + end() + DONE,
        [Started(), *called("f", '{"a":1}', "c1"), CALLS],
    ),
    "a raw line end inside the arguments": (
        call('{"a":"x\ny"}', 0, "c1", "f") + end() + DONE,
        [Started(), *called("f", '{"a":"x\\ny"}', "c1"), CALLS],
    ),
    "calls with finish_reason stop": (
        call("{}", 0, "c1", "f") + end("stop") + DONE,
        [Started(), *called("f", "{}", "c1"), CALLS],
    ),
    "finish_reason tool_calls without calls": (HI + end("tool_calls") + DONE, [Started(), *text("Hi"), STOP]),
    "the legacy function_call": (
        delta(function_call={"name": "f", "arguments": '{"a":'})
        + delta(function_call={"arguments": "1}"})
        + end("function_call")
        + DONE,
        [Started(), *called("f", '{"a":1}'), CALLS],
    ),
    # ---- errors
    "arguments that are not JSON": (
        call('{"a"', 0, "c1", "f") + end("tool_calls") + DONE,
        [Started(), Failed('the model called f with arguments that are not a JSON object: {"a"')],
    ),
    "arguments that are a list": (
        call("[1]", 0, "c1", "f") + end("tool_calls") + DONE,
        [Started(), Failed("the model called f with arguments that are not a JSON object: [1]")],
    ),
    "a call cut by the token limit": (
        call('{"a"', 0, "c1", "f") + end("length") + DONE,
        [
            Started(),
            Failed(
                'the model called f with arguments that are not a JSON object: {"a"'
                " (the answer reached its token limit)"
            ),
        ],
    ),
    "a call without a name": (
        call("{}", 0, "c1") + end() + DONE,
        [Started(), Failed("the model called a tool without naming it")],
    ),
    "an error object": (
        event({"error": {"message": "too much", "code": 429}}) + HI + DONE,
        [Failed("too much", 429, type="rate_limited")],
    ),
    "an error object in mid-stream, with choices": (
        HI + event({"error": {"message": "gone", "code": "server_error"}, "choices": [{"finish_reason": "error"}]}),
        [Started(), *text("Hi")[:2], Failed("gone", 502)],
    ),
    "an error inside the choice": (
        HI + event({"choices": [{"error": {"message": "gone", "code": 503}, "finish_reason": "error"}]}),
        [Started(), *text("Hi")[:2], Failed("gone", 503)],
    ),
    "an error as text": (event({"error": "out of memory"}), [Failed("out of memory")]),
    "an error null is none": (event({"error": None, "choices": []}) + end() + DONE, [Started(), STOP]),
    "event: error": (
        b'event: error\ndata: {"message": "slow down", "type": "rate_limit_error"}\n\n',
        [Failed("slow down", 429, type="rate_limited")],
    ),
    "event: error with plain text": (b"event: error\ndata: upstream died\n\n", [Failed("upstream died")]),
    "vLLM's error object": (
        event({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}),
        [Failed("too long", 400)],
    ),
    "FastAPI's detail": (event({"detail": "no such thing"}), [Failed("no such thing")]),
    "Groq's x_groq.error": (
        event({"choices": [], "x_groq": {"error": "over capacity"}}),
        [Started(), Failed("over capacity")],
    ),
    "finish_reason error alone": (
        HI + end("error") + DONE,
        [Started(), *text("Hi")[:2], Failed("the backend ended its answer with an error")],
    ),
    "a heartbeat inside a JSON line": (
        HI + b'data: {"choices":[{"del: ping\n\n' + DONE,
        [Started(), *text("Hi")[:2], Failed('the backend sent an event that is not JSON: {"choices":[{"del: ping')],
    ),
    "the body ends in the middle": (
        HI,
        [Started(), *text("Hi")[:2], Failed("the backend's answer was cut off before its end", cut=True)],
    ),
    "the body ends after usage that came beside content": (
        event({"choices": [{"delta": {"content": "Hi"}}], "usage": {"prompt_tokens": 1}}),
        [Started(), *text("Hi")[:2], Failed("the backend's answer was cut off before its end", cut=True)],
    ),
    "an empty body": (b"", [Failed("the backend's answer was cut off before its end", cut=True)]),
    "a key in the error's text stays here": (
        event({"error": {"message": "Incorrect API key: sk-123", "code": "invalid_api_key"}}),
        [Failed("the backend refuses the gateway's key, HTTP 401 (look at api_key of the backend)", 502)],
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_trap(trap: str) -> None:
    body, events = TRAPS[trap]
    assert decode(body) == events


@pytest.mark.parametrize("trap", TRAPS)
def test_any_slicing_gives_the_same_events(trap: str) -> None:
    body, events = TRAPS[trap]
    for size in (1, 3, 17):
        assert decode(body, size) == events


@given(st.lists(st.sampled_from(sorted(TRAPS)), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=12))
def test_random_cuts_give_the_same_events(traps: list[str], cuts: list[int]) -> None:
    body = b"".join(TRAPS[trap][0] for trap in traps)
    decoder = StreamDecoder()
    events: list[Event] = []
    at = 0
    for cut in sorted(cuts):
        events += decoder.feed(body[at:cut] if cut > at else b"")
        at = max(at, cut)
    events += decoder.feed(body[at:])
    events += decoder.close()
    assert events == decode(body)

"""Events in, NDJSON out."""

import json

import ollama
import pytest

from arriero.canonical.events import (
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
    Usage,
)
from arriero.canonical.requests import ChatRequest, CompletionRequest, Message, Request, Text, Thinking, ToolCall
from arriero.dialects.base import AnswerContext, Encoder, Times
from arriero.dialects.ollama.frames import call_id
from arriero.dialects.ollama.memory import recalled
from arriero.dialects.ollama.stream import chat_encoder, error_line, generate_encoder

NOW = 1_767_319_445_000_000_000
AT = "2026-01-02T02:04:05"
REQUEST = ChatRequest(model="tiny", messages=(Message("user", (Text("hi"),)),), stream=True)


def context(request: Request = REQUEST) -> AnswerContext:
    return AnswerContext("tiny", request, Times(NOW - 900, NOW - 800), "exchange")


def spoken(encoder: Encoder, *reads: tuple[int, list[Event]]) -> list[str]:
    return b"".join([encoder.feed(events, NOW + at) for at, events in reads]).decode("ascii").splitlines()


USED = Finished(Reason.STOP, Usage(5, 2), Timings(900, 100, 200, 300))
METRICS = '"load_duration":100,"prompt_eval_count":5,"prompt_eval_duration":200,"eval_count":2,"eval_duration":300}'
TEXT: list[Event] = [PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, "Hi"), PartEnded(Text("Hi"))]
THOUGHT: list[Event] = [PartStarted(Kind.THINKING), PartDelta(Kind.THINKING, "Hm"), PartEnded(Thinking("Hm"))]
CALL = ToolCall("get_time", '{"city": "Oslo", "at": 1}', "call_a1b2c3d4")
CALLED: list[Event] = [
    PartStarted(Kind.TOOL_CALL, CALL.id, CALL.name),
    PartDelta(Kind.TOOL_CALL, CALL.arguments),
    PartEnded(CALL),
]


def test_chat() -> None:
    assert spoken(
        chat_encoder(context()),
        (0, [Started("id", "other")]),
        (100_000_000, THOUGHT),
        (200_000_000, TEXT),
        (250_000_000, CALLED),
        (300_000_000, [USED]),
    ) == [
        f'{{"model":"tiny","created_at":"{AT}.1Z","message":{{"role":"assistant","content":"","thinking":"Hm"}},'
        '"done":false}',
        f'{{"model":"tiny","created_at":"{AT}.2Z","message":{{"role":"assistant","content":"Hi"}},"done":false}}',
        f'{{"model":"tiny","created_at":"{AT}.25Z","message":{{"role":"assistant","content":"","tool_calls":['
        '{"id":"call_a1b2c3d4","function":{"index":0,"name":"get_time","arguments":{"city":"Oslo","at":1}}}]},'
        '"done":false}',
        f'{{"model":"tiny","created_at":"{AT}.3Z","message":{{"role":"assistant","content":""}},"done":true,'
        f'"done_reason":"stop","total_duration":300000900,{METRICS}',
    ]


def test_generate() -> None:
    finished = Finished(USED.reason, USED.usage, USED.timings, context=(1, 2))
    assert spoken(
        generate_encoder(context()),
        (100_000_000, [Started(), *THOUGHT]),
        (200_000_000, TEXT),
        (300_000_000, [finished]),
    ) == [
        f'{{"model":"tiny","created_at":"{AT}.1Z","response":"","thinking":"Hm","done":false}}',
        f'{{"model":"tiny","created_at":"{AT}.2Z","response":"Hi","done":false}}',
        f'{{"model":"tiny","created_at":"{AT}.3Z","response":"","done":true,"done_reason":"stop","context":[1,2],'
        f'"total_duration":300000900,{METRICS}',
    ]


def test_a_backend_without_a_memory_of_its_own_gets_one() -> None:
    turns: list[Event] = [PartStarted(Kind.TEXT), PartEnded(Text("H")), PartStarted(Kind.TEXT), PartEnded(Text("i"))]
    *_, last = spoken(generate_encoder(context()), (0, [Started(), *THOUGHT, *turns, USED]))
    final = json.loads(last)
    assert recalled(final["context"]) == (*REQUEST.messages, Message("assistant", (Text("Hi"),)))
    assert list(final)[:6] == ["model", "created_at", "response", "done", "done_reason", "context"]
    assert list(final)[6:] == ["total_duration", *json.loads("{" + METRICS)]


@pytest.mark.parametrize("memory", [None, (1, 2)])
def test_a_raw_completion_has_no_context(memory: tuple[int, ...] | None) -> None:
    request = CompletionRequest(model="tiny", prompt="p")
    (line,) = spoken(generate_encoder(context(request)), (0, [Started(), Finished(context=memory)]))
    assert "context" not in json.loads(line)


def test_neither_has_a_chat_nor_an_answer_that_failed() -> None:
    (chat,) = spoken(chat_encoder(context()), (0, [Started(), USED]))
    assert "context" not in json.loads(chat)
    *_, failed = spoken(generate_encoder(context()), (0, [Started(), *TEXT, Failed("it broke")]))
    assert json.loads(failed) == {"error": "it broke"}


def test_stray_calls_of_generate_stand_in_the_last_frame() -> None:
    (line,) = spoken(generate_encoder(context()), (0, [Started(), *CALLED, USED]))
    assert json.loads(line)["tool_calls"][0]["function"]["name"] == "get_time"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Reason.STOP, "stop"),
        (Reason.LENGTH, "length"),
        (Reason.TOOL_CALLS, "stop"),
        (Reason.CONTENT_FILTER, "stop"),
        (Reason.LOAD, "load"),
        (Reason.UNLOAD, "unload"),
    ],
)
def test_clients_know_four_reasons(reason: Reason, word: str) -> None:
    (line,) = spoken(chat_encoder(context()), (0, [Started(), Finished(reason)]))
    frame = json.loads(line)
    assert (frame["done"], frame["done_reason"]) == (True, word)
    assert ("total_duration" in frame) == (word in ("stop", "length"))


def test_a_frame_is_one_line_for_every_reader() -> None:
    text = 'a\u2028b\u0085c\n\x00"é'
    lines = spoken(chat_encoder(context()), (0, [Started(), PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, text)]))
    assert [json.loads(line)["message"]["content"] for line in lines] == [text]


def test_thinking_that_was_switched_off_is_not_shown() -> None:
    request = ChatRequest(model="tiny", think=False)
    lines = spoken(chat_encoder(context(request)), (0, [Started(), *THOUGHT, *TEXT]))
    assert [json.loads(line)["message"] for line in lines] == [{"role": "assistant", "content": "Hi"}]


def test_calls_without_an_id_get_one_each() -> None:
    call = ToolCall("f", "{}")
    lines = spoken(chat_encoder(context()), (0, [Started(), PartEnded(call), PartEnded(call)]))
    functions = [json.loads(line)["message"]["tool_calls"][0] for line in lines]
    assert functions == [
        {"id": call_id("exchange", index), "function": {"index": index, "name": "f", "arguments": {}}}
        for index in (0, 1)
    ]


def test_arguments_that_are_no_object_end_the_stream_in_an_error() -> None:
    call = ToolCall("f", '{"a":')
    lines = spoken(chat_encoder(context()), (0, [Started(), *TEXT, PartEnded(call), USED]), (1, [USED]))
    assert [json.loads(line) for line in lines[1:]] == [
        {"error": "the arguments of tool call 'f' are not a JSON object: {\"a\":"}
    ]


def test_after_an_error_comes_nothing() -> None:
    encoder = chat_encoder(context())
    assert encoder.feed([Started(), *TEXT[:2], Failed("it broke"), USED], NOW).endswith(b'\n{"error":"it broke"}\n')
    assert encoder.feed([USED], NOW) == b""
    assert error_line('a "b"') == b'{"error":"a \\"b\\""}\n'


def test_logprobs_stand_in_the_frame_of_their_tokens() -> None:
    logprobs = (TokenLogprob("Hi", -0.5, (72, 105)),)
    events: list[Event] = [Started(), PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, "Hi", logprobs)]
    asked = ChatRequest(model="tiny", logprobs=True)
    shown = ',"logprobs":[{"token":"Hi","logprob":-0.5,"bytes":[72,105]}]}'
    message = '"message":{"role":"assistant","content":"Hi"}'
    head = f'{{"model":"tiny","created_at":"{AT}Z",'
    assert spoken(chat_encoder(context(asked)), (0, events)) == [f'{head}{message},"done":false{shown}']
    assert spoken(generate_encoder(context(asked)), (0, events)) == [f'{head}"response":"Hi","done":false{shown}']
    assert spoken(chat_encoder(context()), (0, events)) == [f'{head}{message},"done":false}}']


def test_events_without_bytes_make_none() -> None:
    events: list[Event] = [Started(), PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, ""), PartEnded(Text(""))]
    assert chat_encoder(context()).feed(events, NOW) == b""


def test_without_usage_the_pieces_are_counted() -> None:
    pieces: list[Event] = [PartDelta(Kind.TEXT, "a"), PartDelta(Kind.TEXT, "b")]
    lines = spoken(
        chat_encoder(context()),
        (0, [Started(), PartStarted(Kind.TEXT), pieces[0]]),
        (70, [pieces[1], PartEnded(Text("ab")), Finished()]),
    )
    final = json.loads(lines[-1])
    assert {key: value for key, value in final.items() if "eval" in key or "duration" in key} == {
        "total_duration": 970,
        "load_duration": 100,
        "prompt_eval_count": 1,
        "prompt_eval_duration": 800,
        "eval_count": 2,
        "eval_duration": 70,
    }


def test_the_python_client_takes_every_frame() -> None:
    events = [Started(), *THOUGHT, *TEXT, *CALLED, USED]
    for line in spoken(chat_encoder(context()), (0, events)):
        ollama.ChatResponse.model_validate_json(line)
    for line in spoken(generate_encoder(context()), (0, events)):
        ollama.GenerateResponse.model_validate_json(line)

"""What a client reads: answers of each dialect, parsed with the standard library and nothing of arriero.

Strict where clients are: every Ollama line and every OpenAI event must be JSON, an Ollama stream has no blank lines,
and all bytes are ASCII.
"""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Told:
    """What an answer said. `end` is the dialect's own word for why it ended, `None` where it did not."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    end: str | None = None
    error: str | None = None
    models: set[str] = field(default_factory=set)
    usage: dict[str, int] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)


def pairs(text: str) -> Any:
    """JSON with objects as lists of pairs, so that the order of keys counts."""
    return json.loads(text, object_pairs_hook=lambda items: [("object", *items)])


def read(path: str, body: bytes, *, streamed: bool) -> Told:
    """The answer of a route of either dialect."""
    if path.startswith("/api/"):
        return read_ollama(body)
    return read_openai_stream(body) if streamed else read_openai(json.loads(body))


def read_ollama(body: bytes) -> Told:
    """Lines of /api/chat or /api/generate; a whole answer is a stream of one line."""
    assert body.isascii()
    told = Told()
    lines = body.split(b"\n")
    assert lines[-1] == b"" or len(lines) == 1, "every frame of a stream ends in a newline"
    for line in lines[:-1] or lines:
        assert line.strip(), "a blank line breaks the Go client"
        assert told.end is None and told.error is None, "nothing follows the last frame"
        frame = json.loads(line)
        told.frames.append(frame)
        if "error" in frame:
            told.error = frame["error"]
            continue
        told.models.add(frame["model"])
        message = frame.get("message", frame)
        told.text += message.get("content", "") if "message" in frame else message["response"]
        told.thinking += message.get("thinking", "")
        for call in message.get("tool_calls", ()):
            assert call["function"]["index"] == len(told.calls)
            told.calls.append((call["function"]["name"], call["function"]["arguments"]))
        if frame["done"]:
            told.end = frame["done_reason"]
            told.usage = {key: value for key, value in frame.items() if key.endswith(("_count", "_duration"))}
    return told


def read_openai_stream(body: bytes) -> Told:
    """Events of /v1/chat/completions or /v1/completions."""
    assert body.isascii()
    told = Told()
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    closed = False
    events = body.split(b"\n\n")
    assert events.pop() == b"", "every event ends in an empty line"
    for event in events:
        assert not closed and told.error is None, "nothing follows the last event"
        assert event.startswith(b"data: ")
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]":
            closed = True
            continue
        chunk = json.loads(data)
        told.frames.append(chunk)
        if "error" in chunk:
            told.error = chunk["error"]["message"]
            continue
        told.models.add(chunk["model"])
        told.usage = chunk.get("usage") or told.usage
        for choice in chunk["choices"]:
            delta = choice.get("delta", {})
            told.text += choice.get("text") or delta.get("content") or ""
            told.thinking += delta.get("reasoning") or ""
            assert delta.get("reasoning") == delta.get("reasoning_content")
            for call in delta.get("tool_calls", ()):
                index = call["index"]
                names[index] = names.get(index, "") + (call["function"].get("name") or "")
                arguments[index] = arguments.get(index, "") + (call["function"].get("arguments") or "")
            told.end = choice["finish_reason"] or told.end
    assert closed or told.error is not None, "a stream ends with [DONE] or an error"
    told.calls = [(names[index], json.loads(arguments[index])) for index in sorted(names)]
    return told


def read_openai(answer: dict[str, Any]) -> Told:
    """A whole answer of /v1/chat/completions or /v1/completions."""
    told = Told(models={answer["model"]}, usage=answer.get("usage") or {}, frames=[answer])
    (choice,) = answer["choices"]
    message = choice.get("message", {})
    told.text = choice.get("text") or message.get("content") or ""
    told.thinking = message.get("reasoning") or ""
    for call in message.get("tool_calls") or ():
        told.calls.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
    told.end = choice["finish_reason"]
    return told

"""The scripted server's OpenAI answers, written plainly from the API's documentation."""

import base64
import struct
from typing import Any

from arriero.backends.scripted.reply import SSE, Reply, cut, dimensions, dump, events, vector, whole
from arriero.backends.scripted.script import Model, Play, ToolCall, Usage

CREATED = 1_767_312_000


def models(listed: list[Model]) -> Reply:
    """GET /v1/models."""
    return whole({"object": "list", "data": [_entry(model) for model in listed]})


def model(found: Model) -> Reply:
    """GET /v1/models/{id}."""
    return whole(_entry(found))


def error(status: int, message: str, code: str | None = None) -> Reply:
    """The error envelope."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return whole({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


def chat(play: Play, body: dict[str, Any], name: str) -> Reply:
    """POST /v1/chat/completions."""
    if not _streams(play, body):
        return _failed(play) or whole(_whole_chat(play, name))
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    thinking, text = _spoken(play)
    deltas += [{play.form.reasoning: piece} for piece in thinking]
    deltas += [{"content": piece} for piece in text]
    for index, call in enumerate(play.call):
        deltas += _call_deltas(play, index, call)
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    return _stream(play, body, "chat.completion.chunk", "chatcmpl-scripted", name, choices, "delta", {})


def completion(play: Play, body: dict[str, Any], name: str) -> Reply:
    """POST /v1/completions."""
    text = play.text
    if not _streams(play, body):
        choice = {"text": "".join(text), "index": 0, "logprobs": None, "finish_reason": _finish(play)}
        answer = _envelope("text_completion", "cmpl-scripted", name, [choice])
        return _failed(play) or whole({**answer, **_usage_field(play)})
    choices = [{"text": piece, "index": 0, "logprobs": None, "finish_reason": None} for piece in text]
    return _stream(play, body, "text_completion", "cmpl-scripted", name, choices, "text", "")


def embeddings(play: Play, body: dict[str, Any], name: str, length: int) -> Reply:
    """POST /v1/embeddings; token lists are inputs like any other."""
    given = body.get("input")
    inputs = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
    length = play.embed or dimensions(body, length)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector(str(item), length), body)}
        for index, item in enumerate(inputs)
    ]
    used = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return whole({"object": "list", "data": data, "model": name, "usage": used})


def usage(play: Play) -> dict[str, Any] | None:
    """The `usage` object, `None` where the script wants none."""
    if play.usage is False:
        return None
    counts = play.usage if isinstance(play.usage, Usage) else Usage()
    made = counts.completion_tokens
    if made is None:
        made = len(play.text) + len(play.thinking) + len(play.call)
    found: dict[str, Any] = {
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": made,
        "total_tokens": counts.prompt_tokens + made,
    }
    if counts.cached_tokens is not None:
        found["prompt_tokens_details"] = {"cached_tokens": counts.cached_tokens}
    if counts.reasoning_tokens is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": counts.reasoning_tokens}
    return found


# ---- pieces --------------------------------------------------------------------------------------------------------


def _entry(model: Model) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": CREATED,
        "owned_by": "scripted",
        "context_length": model.context_length,
    }


def _streams(play: Play, body: dict[str, Any]) -> bool:
    return bool(body.get("stream")) if play.form.shape == "asked" else play.form.shape == "stream"


def _failed(play: Play) -> Reply | None:
    return error(500, play.error) if play.error is not None else None


def _finish(play: Play) -> str | None:
    if play.finish is not None:
        return None if play.finish == "none" else play.finish
    return "tool_calls" if play.call else "stop"


def _spoken(play: Play) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Thinking and text, or both as text where this server leaves the tags in it."""
    if play.form.reasoning == "tags" and play.thinking:
        return (), ("<think>", *play.thinking, "</think>", *play.text)
    return play.thinking, play.text


def _whole_chat(play: Play, name: str) -> dict[str, Any]:
    thinking, text = _spoken(play)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text) if text or not play.call else None}
    if thinking:
        message[play.form.reasoning] = "".join(thinking)
    if play.call:
        message["tool_calls"] = [_call(play, index, call) for index, call in enumerate(play.call)]
    choice = {"index": 0, "message": message, "finish_reason": _finish(play)}
    return {**_envelope("chat.completion", "chatcmpl-scripted", name, [choice]), **_usage_field(play)}


def _call(play: Play, index: int, call: ToolCall) -> dict[str, Any]:
    named = {"id": call.id or f"call_scripted{index}"} if play.form.ids else {}
    arguments = call.arguments if play.form.arguments == "object" else _arguments(call)
    return {**named, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _arguments(call: ToolCall) -> str:
    return call.arguments if isinstance(call.arguments, str) else dump(call.arguments).decode()


def _call_deltas(play: Play, index: int, call: ToolCall) -> list[dict[str, Any]]:
    place = {"index": index} if play.form.index else {}
    first = _call(play, index, call)
    if play.form.arguments != "pieces":
        return [{"tool_calls": [{**place, **first}]}]
    first["function"]["arguments"] = ""
    rest = [{**place, "function": {"arguments": piece}} for piece in cut(_arguments(call))]
    return [{"tool_calls": [part]} for part in ({**place, **first}, *rest)]


def _stream(
    play: Play,
    body: dict[str, Any],
    kind: str,
    id: str,
    name: str,
    choices: list[dict[str, Any]],
    content: str,
    nothing: object,
) -> Reply:
    """`content` is the field of a choice that holds what is said, `nothing` its value where nothing is."""
    if play.error is None:
        if play.form.finish_chunk or not choices:
            choices.append({"index": 0, content: nothing, "finish_reason": None})
        choices[-1]["finish_reason"] = _finish(play)
    messages = [_envelope(kind, id, name, [choice]) for choice in choices]
    used, form = usage(play), play.form
    options = body.get("stream_options")
    asked = isinstance(options, dict) and bool(options.get("include_usage"))
    if used is not None and form.usage == "every":
        messages = [{**message, "usage": used} for message in messages]
    elif used is not None and (form.usage == "always" or (form.usage == "asked" and asked)) and play.error is None:
        messages.append({**_envelope(kind, id, name, []), "usage": used})
    if play.error is not None:
        messages.append({"error": {"message": play.error, "type": "server_error", "param": None, "code": None}})
    return Reply(200, SSE, events(messages, form), stream=True)


def _envelope(kind: str, id: str, name: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": CREATED, "model": name, "choices": choices}


def _usage_field(play: Play) -> dict[str, Any]:
    used = usage(play) if play.form.usage != "never" else None
    return {} if used is None else {"usage": used}


def _encoded(values: list[float], body: dict[str, Any]) -> list[float] | str:
    if body.get("encoding_format") != "base64":
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()

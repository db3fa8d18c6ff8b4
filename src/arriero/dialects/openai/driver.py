"""Asking an OpenAI-compatible backend: canonical requests to the bodies of `/chat/completions` and its kin.

Only what the client said is sent: the defaults are the backend's to choose. A knob that the vendor has no word for is
left out and named; content that the wire has no place for is an error.
"""

import re
from functools import lru_cache
from typing import Any, assert_never

import msgspec
from msgspec import Raw

from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Format,
    JsonFormat,
    Request,
    Sampling,
    SchemaFormat,
    Think,
)
from arriero.dialects.base import Outbound, Target
from arriero.dialects.openai.messages import messages_out
from arriero.dialects.quirks import Profile, ThinkRule, ThinkStyle
from arriero.errors import UnsupportedContent
from arriero.wire.jsontext import json_text

_encode = msgspec.json.encode
_Body = dict[str, Any]

_ANY_OBJECT = Raw(b'{"type":"object"}')

_UNANSWERABLE = frozenset({"n", "modalities", "audio", "best_of"})
"""Fields of this dialect whose answers have no place in a canonical one: several choices, sound."""

_NOTHING = Sampling()
_KNOBS = tuple(name for name in Sampling.__struct_fields__ if name not in ("max_tokens", "stop"))


def encode_chat(request: Request, target: Target) -> Outbound:
    """The body for `/chat/completions`. Raises `UnsupportedContent`."""
    assert isinstance(request, ChatRequest)
    profile = target.profile
    dropped: list[str] = []
    body: _Body = {"model": target.model, "messages": messages_out(request.messages, profile)}
    _stream(body, request.stream, profile)
    _sampling(body, request.sampling, profile, dropped)
    if request.tools:
        body["tools"] = [tool.raw for tool in request.tools]
        if request.tool_choice is not None:
            _put(body, "tool_choice", request.tool_choice, profile.tool_choice, dropped)
        if request.parallel_tool_calls is not None:
            _put(body, "parallel_tool_calls", request.parallel_tool_calls, profile.parallel_tool_calls, dropped)
    if request.format is not None:
        _format(body, request.format, profile, dropped)
    if request.think is not None:
        _think(body, request.think, target, dropped)
    if request.logprobs or request.top_logprobs:
        if profile.logprobs:
            body["logprobs"] = True
            if request.top_logprobs:
                body["top_logprobs"] = request.top_logprobs
        else:
            dropped.append("logprobs")
    return _outbound("/chat/completions", body, request, target, dropped)


def encode_completion(request: Request, target: Target) -> Outbound:
    """The body for `/completions`. Raises `UnsupportedContent` for images."""
    assert isinstance(request, CompletionRequest)
    if request.images:
        raise UnsupportedContent("the backend's completions API takes no images")
    profile = target.profile
    dropped: list[str] = []
    body: _Body = {"model": target.model, "prompt": request.prompt}
    if request.suffix is not None:
        body["suffix"] = request.suffix
    _stream(body, request.stream, profile)
    # Only the chat API has a second name for the limit.
    _sampling(body, request.sampling, profile, dropped, max_tokens="max_tokens")
    if request.format is not None:
        _completion_format(body, request.format, profile, dropped)
    if request.logprobs or request.top_logprobs:
        if profile.logprobs:
            # Here `logprobs` is the number of candidates, and llama.cpp takes 0 for no.
            body["logprobs"] = max(request.top_logprobs or 0, 1)
        else:
            dropped.append("logprobs")
    return _outbound("/completions", body, request, target, dropped)


def encode_embed(request: Request, target: Target) -> Outbound:
    """The body for `/embeddings`. `input` is a list even for one text."""
    assert isinstance(request, EmbedRequest)
    profile = target.profile
    inputs: list[str | tuple[int, ...]] = list(request.inputs)
    if not profile.blank_input:
        # Ollama embeds an empty string; OpenAI answers 400 to one.
        inputs = [" " if item == "" else item for item in inputs]
    body: _Body = {"model": target.model, "input": inputs, "encoding_format": "float"}
    if request.dimensions is not None and request.dimensions > 0 and profile.dimensions is not None:
        # Not named where the vendor has no word for it: the gateway cuts the vectors itself.
        body[profile.dimensions] = request.dimensions
    return _outbound("/embeddings", body, request, target, [])


def _outbound(path: str, body: _Body, request: Request, target: Target, dropped: list[str]) -> Outbound:
    profile = target.profile
    if request.extra:
        _extra(body, request, profile, dropped)
    if request.runner:
        # Load-time options are chosen by the backend's operator; the client should know that its own do not count.
        dropped.extend(request.runner)
    if profile.model_path:
        path = profile.path_of(path, target.model)
    try:
        return Outbound(path, _encode(body), tuple(dropped))
    except UnicodeEncodeError:
        # A lone surrogate, which travels as an escape.
        return Outbound(path, json_text(body), tuple(dropped))


def _put(body: _Body, key: str, value: Any, taken: bool, dropped: list[str]) -> None:
    if taken:
        body[key] = value
    else:
        dropped.append(key)


def _stream(body: _Body, stream: bool, profile: Profile) -> None:
    if stream:
        body["stream"] = True
        if profile.stream_options:
            # Without it most backends count nothing.
            body["stream_options"] = {"include_usage": True}
    else:
        body["stream"] = False


def _sampling(
    body: _Body, sampling: Sampling, profile: Profile, dropped: list[str], max_tokens: str | None = None
) -> None:
    if sampling == _NOTHING:
        return
    names = profile.sampling
    for knob in _KNOBS:
        value = getattr(sampling, knob)
        if value is None or (knob == "seed" and value < 0):
            # A negative seed asks Ollama for a random one, which is the default everywhere.
            continue
        name = names.get(knob)
        if name is None:
            dropped.append(knob)
        else:
            body[name] = value
    limit = sampling.max_tokens
    if limit is not None and limit > 0:
        body[max_tokens or profile.max_tokens] = limit
    stop = sampling.stop
    if stop:
        if profile.max_stops is not None and len(stop) > profile.max_stops:
            stop = stop[: profile.max_stops]
            dropped.append("stop")
        body["stop"] = stop


# ---- format --------------------------------------------------------------------------------------------------------


def _json_schema(format: SchemaFormat) -> _Body:
    inner: _Body = {"name": format.name or "schema", "schema": format.schema}
    # Never invented: strict demands `additionalProperties: false` and every property required.
    if format.strict is not None:
        inner["strict"] = format.strict
    return {"type": "json_schema", "json_schema": inner}


def _format(body: _Body, format: Format, profile: Profile, dropped: list[str]) -> None:
    match format:
        case JsonFormat():
            if profile.json_object:
                body["response_format"] = {"type": "json_object"}
            elif profile.json_schema:
                body["response_format"] = _json_schema(SchemaFormat(_ANY_OBJECT))
            else:
                dropped.append("format")
        case SchemaFormat():
            if profile.json_schema:
                body["response_format"] = _json_schema(format)
            else:
                # JSON of some shape is nearer to what was asked than prose; the schema is lost and said to be.
                dropped.append("format")
                if profile.json_object:
                    body["response_format"] = {"type": "json_object"}
        case _:
            assert_never(format)


def _completion_format(body: _Body, format: Format, profile: Profile, dropped: list[str]) -> None:
    schema = format.schema if isinstance(format, SchemaFormat) else _ANY_OBJECT
    match profile.completion_schema:
        case None:
            dropped.append("format")
        case "response_format":
            _format(body, format, profile, dropped)
        case field:
            body[field] = schema


# ---- thinking ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _searched(pattern: str, model: str) -> bool:
    return re.search(pattern, model) is not None


def _rule(target: Target) -> ThinkRule | None:
    return next((rule for rule in target.profile.think if _searched(rule.models, target.model)), None)


def _think(body: _Body, think: Think, target: Target, dropped: list[str]) -> None:
    key = think if isinstance(think, str) else "on" if think else "off"
    rule = _rule(target)
    if rule is None or rule.style is ThinkStyle.NONE:
        # These models take no such parameter: they do not think, or cannot be told to stop.
        if think is not False or rule is not None:
            dropped.append("think")
        return
    word = rule.words.get(key)
    match rule.style:
        case ThinkStyle.EFFORT:
            if word is not None:
                body["reasoning_effort"] = word
            elif key != "on":
                dropped.append("think")
        case ThinkStyle.TEMPLATE:
            body["chat_template_kwargs"] = {"enable_thinking": key != "off"}
        case ThinkStyle.BOTH:
            kwargs: _Body = {"enable_thinking": key != "off"}
            if word is not None:
                # Templates read the argument, gpt-oss in vLLM the field.
                kwargs["reasoning_effort"] = body["reasoning_effort"] = word
            body["chat_template_kwargs"] = kwargs
        case ThinkStyle.REASONING:
            body["reasoning"] = {"effort": word} if word is not None else {"enabled": key != "off"}
        case ThinkStyle.SWITCH:
            body["reasoning"] = {"enabled": key != "off"}
            if word is not None:
                body["reasoning_effort"] = word
        case ThinkStyle.THINKING:
            body["thinking"] = {"type": "disabled" if key == "off" else "enabled"}
            if word is not None:
                body["reasoning_effort"] = word
        case _:
            assert_never(rule.style)


# ---- what the dialect has no field for -----------------------------------------------------------------------------


def _extra(body: _Body, request: Request, profile: Profile, dropped: list[str]) -> None:
    """Unknown fields of an OpenAI client travel on.

    Those of another dialect mean nothing here and are named, but for the ones that are this vendor's own words.
    """
    if request.dialect != "openai":
        for key, value in request.extra.items():
            if key in profile.carried:
                body[key] = value
            else:
                dropped.append(key)
        return
    for key, value in request.extra.items():
        if key in _UNANSWERABLE:
            if not (key == "n" and bytes(value) == b"1"):
                dropped.append(key)
        elif key not in body or key == "reasoning":
            # A token budget wins over the effort that was read from the same object.
            body[key] = value
        elif key == "chat_template_kwargs":
            body[key] = {**body[key], **_members(value)}
        else:
            dropped.append(key)


def _members(value: Raw) -> dict[str, Raw]:
    try:
        return msgspec.json.decode(value, type=dict[str, Raw])
    except msgspec.ValidationError:
        return {}

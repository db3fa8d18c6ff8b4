"""Hypothesis strategies for canonical values, within what each wire can hold."""

import json
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from arriero.canonical.events import Answer, Embeddings, Finished, Reason, Started, Usage
from arriero.canonical.requests import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    JsonFormat,
    Message,
    Sampling,
    SchemaFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
)

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,12}", fullmatch=True)
TEXTS = st.text(min_size=1, max_size=40)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9).filter(float.__bool__)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=9), JSON, max_size=4)


def compact(value: Any) -> str:
    """JSON as arriero writes it: ASCII, with no spaces."""
    return json.dumps(value, separators=(",", ":"))


CALLS = st.builds(
    ToolCall, name=NAMES, arguments=OBJECTS.map(compact), id=st.from_regex(r"call_[a-z0-9]{8}", fullmatch=True)
)
USAGES = st.builds(Usage, prompt_tokens=st.integers(1, 9999), completion_tokens=st.integers(1, 9999))


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """An answer in the order that both wires keep: thinking, text, calls."""
    thinking = draw(st.none() | TEXTS)
    text = draw(st.none() | TEXTS)
    calls = draw(st.lists(CALLS, max_size=2, unique_by=lambda call: call.id))
    reason = Reason.TOOL_CALLS if calls else draw(st.sampled_from([Reason.STOP, Reason.LENGTH]))
    parts: list[Text | Thinking | ToolCall] = []
    if thinking is not None:
        parts.append(Thinking(thinking))
    if text is not None:
        parts.append(Text(text))
    return Answer((*parts, *calls), Finished(reason, draw(USAGES)), Started())


VECTORS = st.integers(1, 4).flatmap(
    lambda size: st.lists(
        st.lists(st.floats(-8, 8, width=16).filter(float.__bool__), min_size=size, max_size=size).map(tuple),
        min_size=1,
        max_size=3,
    )
)
EMBEDDINGS = st.builds(Embeddings, VECTORS.map(tuple), st.builds(Usage, prompt_tokens=st.integers(1, 99)))

# ---- requests ------------------------------------------------------------------------------------------------------

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = st.builds(
    lambda name, schema: Tool(
        name, Raw(compact({"type": "function", "function": {"name": name, "parameters": schema}}).encode())
    ),
    NAMES,
    OBJECTS,
)


def formats(dialect: str) -> st.SearchStrategy[JsonFormat | SchemaFormat | None]:
    """The forms of an answer. The OpenAI wire names every schema."""
    name = "schema" if dialect == "openai" else None
    schemas = OBJECTS.map(lambda schema: Raw(compact({"type": "object", **schema}).encode()))
    return st.none() | st.just(JsonFormat()) | schemas.map(lambda schema: SchemaFormat(schema, name))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns as both wires keep them."""
    turns: list[Message] = []
    if draw(st.booleans()):
        turns.append(Message("system", (Text(draw(TEXTS)),)))
    for _ in range(draw(st.integers(1, 3))):
        asked: tuple[Text | Image, ...] = (Text(draw(TEXTS)),)
        if draw(st.booleans()):
            asked = (*asked, Image(data=_PIXEL, media_type="image/png"))
        turns.append(Message("user", asked))
        call = draw(st.none() | CALLS)
        said: tuple[Text | ToolCall, ...] = (Text(draw(TEXTS)),)
        if call is None:
            turns.append(Message("assistant", said))
        else:
            turns.append(Message("assistant", (*said, call)))
            turns.append(Message("tool", (Text(draw(TEXTS)),), tool_call_id=call.id, tool_name=call.name))
    return tuple(turns)


def samplings(dialect: str) -> st.SearchStrategy[Sampling]:
    """Knobs that the wire has a field for."""
    numbers = st.none() | st.floats(0.015625, 2, width=32)
    counts = st.none() | st.integers(1, 4096)
    return st.builds(
        Sampling,
        max_tokens=counts,
        temperature=numbers,
        top_p=numbers,
        top_k=counts,
        min_p=numbers,
        typical_p=numbers,
        seed=st.none() | st.integers(0, 2**31 - 1),
        stop=st.none() | st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
        presence_penalty=numbers,
        frequency_penalty=numbers,
        repeat_penalty=numbers,
        repeat_last_n=counts,
        num_keep=counts if dialect == "ollama" else st.none(),
    )


@st.composite
def chat_requests(draw: st.DrawFn, dialect: str) -> ChatRequest:
    """A conversation that the wire of `dialect` can hold whole."""
    native = dialect == "ollama"
    tools = draw(st.lists(TOOLS, max_size=2, unique_by=lambda tool: tool.name))
    stream = draw(st.booleans())
    logprobs = draw(st.booleans())
    return ChatRequest(
        model="m",
        messages=draw(conversations()),
        tools=tuple(tools),
        tool_choice=draw(st.none() | st.just(Raw(b'"auto"'))) if tools and not native else None,
        parallel_tool_calls=draw(st.none() | st.booleans()) if tools and not native else None,
        sampling=draw(samplings(dialect)),
        format=draw(formats(dialect)),
        think=draw(st.sampled_from([None, False, True, "low", "high"])) if native else None,
        logprobs=logprobs,
        top_logprobs=draw(st.none() | st.integers(1, 5)) if logprobs else None,
        stream=stream,
        include_usage=stream and not native,
        keep_alive=draw(st.none() | st.integers(0, 9999).map(float)) if native else None,
        truncate=draw(st.none() | st.booleans()) if native else None,
        shift=draw(st.none() | st.booleans()) if native else None,
        runner=draw(st.sampled_from([{}, {"num_ctx": 4096}, {"use_mmap": False}])) if native else {},
        dialect=dialect,
    )


@st.composite
def completion_requests(draw: st.DrawFn, dialect: str) -> CompletionRequest:
    """Text to continue that the wire of `dialect` can hold whole."""
    stream = draw(st.booleans())
    return CompletionRequest(
        model="m",
        prompt=draw(TEXTS),
        suffix=draw(st.none() | TEXTS),
        sampling=draw(samplings(dialect)),
        stream=stream,
        include_usage=stream and dialect == "openai",
        dialect=dialect,
    )


def embed_requests(dialect: str) -> st.SearchStrategy[EmbedRequest]:
    """Texts to embed."""
    return st.builds(
        EmbedRequest,
        model=st.just("m"),
        inputs=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
        dimensions=st.none() | st.integers(1, 512),
        truncate=st.none() | st.booleans() if dialect == "ollama" else st.none(),
        dialect=st.just(dialect),
    )

"""Canonical requests in, an Ollama server's requests out."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from arriero.canonical.requests import (
    FOREVER,
    Audio,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Format,
    Image,
    JsonFormat,
    Message,
    Opaque,
    Part,
    Request,
    Sampling,
    SchemaFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from arriero.dialects.base import Outbound, Target
from arriero.dialects.ollama import DIALECT
from arriero.dialects.quirks import Profile
from arriero.errors import BadRequest, UnsupportedContent

TARGET = Target("there:1b", Profile(name="ollama"))
PNG = "iVBORw0KGgo="
HI = (Message("user", (Text("hi"),)),)
TOOL = Tool("f", Raw(b'{"type":"function","function":{"name":"f","strict":true}}'))


def sent(request: Request) -> Outbound:
    driver = DIALECT.driver(request)
    assert driver is not None
    return driver.encode(request, TARGET)


CHATS: dict[str, tuple[ChatRequest, str, tuple[str, ...]]] = {
    "least": (ChatRequest(model="x", messages=HI), '"messages":[{"role":"user","content":"hi"}],"stream":false', ()),
    "load": (ChatRequest(model="x", keep_alive=0.0), '"messages":[],"stream":false,"keep_alive":0', ()),
    "all knobs": (
        ChatRequest(
            model="x", messages=HI, tools=(TOOL,), stream=True, keep_alive=FOREVER, truncate=False, shift=True,
            sampling=Sampling(max_tokens=9, temperature=0.5, stop=("a",), frequency_penalty=0.1),
            runner={"num_ctx": 8192}, format=JsonFormat(), think="minimal", logprobs=True, top_logprobs=3,
            include_usage=True,
        ),
        '"messages":[{"role":"user","content":"hi"}],'
        '"tools":[{"type":"function","function":{"name":"f","strict":true}}],"stream":true,"format":"json",'
        '"options":{"num_ctx":8192,"num_predict":9,"temperature":0.5,"frequency_penalty":0.1,"stop":["a"]},'
        '"keep_alive":-1,"truncate":false,"shift":true,"logprobs":true,"top_logprobs":3,"think":"low"',
        (),
    ),
    "schema": (
        ChatRequest(model="x", format=SchemaFormat(Raw(b'{"type":"object"}'), "n", True), think=False),
        '"messages":[],"stream":false,"format":{"type":"object"},"think":false',
        (),
    ),
    "knobs without a word": (
        ChatRequest(
            model="x", tools=(TOOL,), tool_choice=Raw(b'"required"'), parallel_tool_calls=False,
            extra={"logit_bias": Raw(b"{}"), "user": Raw(b'"me"')}, dialect="openai",
        ),
        '"messages":[],"tools":[{"type":"function","function":{"name":"f","strict":true}}],"stream":false',
        ("tool_choice", "parallel_tool_calls", "logit_bias", "user"),
    ),
    "knobs that ask for the usual": (
        ChatRequest(model="x", tool_choice=Raw(b'"auto"'), parallel_tool_calls=True),
        '"messages":[],"stream":false',
        (),
    ),
    "no tool may be called": (
        ChatRequest(model="x", tools=(TOOL,), tool_choice=Raw(b'"none"')), '"messages":[],"stream":false', ()
    ),
    "own unknown fields": (
        ChatRequest(model="x", extra={"_debug_render_only": Raw(b"true"), "new": Raw(b"[1]")}, dialect="ollama"),
        '"messages":[],"stream":false,"_debug_render_only":true,"new":[1]',
        (),
    ),
    "a template that chat cannot take": (
        ChatRequest(model="x", tools=(TOOL,), extra={"template": Raw(b'"t"')}, dialect="ollama"),
        '"messages":[],"tools":[{"type":"function","function":{"name":"f","strict":true}}],"stream":false',
        ("template",),
    ),
    "parts": (
        ChatRequest(
            model="x",
            messages=(
                Message("developer", (Text("be kind"),)),
                Message("user", (Text("a"), Image(data=PNG), Text("b"), Audio("UklGRg==", "wav"))),
                Message("user", (Image(url=f"data:image/png;base64,{PNG}"),)),
                Message("assistant", (Thinking("Hm"), ToolCall("f", '{"b": 1, "a": "ü"}', "c1"), ToolCall("g", ""))),
                Message("tool", (Text("7"),), tool_call_id="c1"),
                Message("tool", (Text("8"),), tool_name="g"),
                Message("tool", (Text("9"),), name="g", tool_call_id="c9"),
                Message("tool", (Text("0"),), tool_call_id="c9"),
            ),
        ),
        '"messages":[{"role":"system","content":"be kind"},'
        f'{{"role":"user","content":"a\\nb","images":["{PNG}","UklGRg=="]}},'
        f'{{"role":"user","content":"","images":["{PNG}"]}},'
        '{"role":"assistant","content":"","thinking":"Hm","tool_calls":['
        '{"id":"c1","function":{"index":0,"name":"f","arguments":{"b":1,"a":"\\u00fc"}}},'
        '{"function":{"index":1,"name":"g","arguments":{}}}]},'
        '{"role":"tool","content":"7","tool_name":"f","tool_call_id":"c1"},'
        '{"role":"tool","content":"8","tool_name":"g"},'
        '{"role":"tool","content":"9","tool_name":"g","tool_call_id":"c9"},'
        '{"role":"tool","content":"0","tool_call_id":"c9"}],"stream":false',
        (),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "body", "dropped"), CHATS.values(), ids=CHATS.keys())
def test_chat(request_: ChatRequest, body: str, dropped: tuple[str, ...]) -> None:
    assert sent(request_) == Outbound("/api/chat", f'{{"model":"there:1b",{body}}}'.encode(), dropped)


def test_an_id_that_comes_again_means_the_nearest_call() -> None:
    turns = [
        message
        for name in ("f", "g")
        for message in (
            Message("assistant", (ToolCall(name, "{}", "c1"),)),
            Message("tool", (Text("1"),), tool_call_id="c1"),
        )
    ]
    messages = json.loads(sent(ChatRequest(model="x", messages=tuple(turns))).body)["messages"]
    assert [message["tool_name"] for message in messages if message["role"] == "tool"] == ["f", "g"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Image(url="https://example.com/a.png"), "image URLs are not currently supported, please use base64"),
        (Image(url="data:image/svg+xml,<svg/>"), "image URLs are not currently supported, please use base64"),
        (Opaque("openai", "file", Raw(b"{}")), "content of type 'file' cannot be sent to this model's server"),
    ],
)
def test_content_without_a_place_is_an_error(part: Part, message: str) -> None:
    with pytest.raises(UnsupportedContent) as caught:
        sent(ChatRequest(model="x", messages=(Message("user", (part,)),)))
    assert caught.value.message.startswith(message)


def test_arguments_that_are_no_object_are_the_clients_fault() -> None:
    with pytest.raises(BadRequest, match=r"^invalid tool call arguments$"):
        sent(ChatRequest(model="x", messages=(Message("assistant", (ToolCall("f", "[1]"),)),)))


TEMPLATE: Mapping[str, Raw] = {"template": Raw(b'"{{ .Prompt }}"'), "context": Raw(b"[1,2]")}


def test_a_turn_with_a_template_goes_to_generate() -> None:
    request = ChatRequest(
        model="x",
        messages=(Message("system", (Text("be kind"),)), Message("user", (Text("hi"), Image(data=PNG)))),
        think=True,
        extra=TEMPLATE,
        dialect="ollama",
    )
    assert sent(request) == Outbound(
        "/api/generate",
        b'{"model":"there:1b","prompt":"hi","system":"be kind","images":["' + PNG.encode() + b'"],"stream":false,'
        b'"think":true,"template":"{{ .Prompt }}","context":[1,2]}',
    )


def test_an_empty_memory_counts_as_given() -> None:
    request = ChatRequest(model="x", messages=HI, continues=True, dialect="ollama")
    assert sent(request) == Outbound("/api/generate", b'{"model":"there:1b","prompt":"hi","stream":false,"context":[]}')


def test_a_memory_that_arriero_made_goes_to_chat_as_turns() -> None:
    turns = (*HI, Message("assistant", (Text("Hello"),)), *HI)
    assert sent(ChatRequest(model="x", messages=turns, continues=True, dialect="ollama")) == Outbound(
        "/api/chat",
        b'{"model":"there:1b","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Hello"},'
        b'{"role":"user","content":"hi"}],"stream":false}',
    )


def test_another_dialects_template_means_something_else() -> None:
    request = ChatRequest(model="x", messages=HI, extra=TEMPLATE, dialect="openai")
    assert (sent(request).path, sent(request).dropped) == ("/api/chat", ("template", "context"))


@pytest.mark.parametrize(
    ("request_", "body", "dropped"),
    [
        (CompletionRequest(model="x", prompt="p"), '"prompt":"p","raw":true,"stream":false', ()),
        (
            CompletionRequest(
                model="x", prompt="p", suffix="s", stream=True, sampling=Sampling(max_tokens=5), keep_alive=1.5,
                extra={"system": Raw(b'"t"')}, dialect="ollama",
            ),
            '"prompt":"p","suffix":"s","stream":true,"options":{"num_predict":5},"keep_alive":1.5,"system":"t"',
            (),
        ),
        (
            CompletionRequest(
                model="x", prompt="p", images=(Image(data=PNG),), extra={"best_of": Raw(b"2")}, dialect="openai"
            ),
            f'"prompt":"p","raw":true,"images":["{PNG}"],"stream":false',
            ("best_of",),
        ),
    ],
)  # fmt: skip
def test_completion(request_: CompletionRequest, body: str, dropped: tuple[str, ...]) -> None:
    assert sent(request_) == Outbound("/api/generate", f'{{"model":"there:1b",{body}}}'.encode(), dropped)


@pytest.mark.parametrize(
    ("request_", "body", "dropped"),
    [
        (EmbedRequest(model="x", inputs=("a", "")), '"input":["a",""]', ()),
        (
            EmbedRequest(
                model="x", inputs=("a",), truncate=False, dimensions=8, keep_alive=300.0, runner={"num_ctx": 1},
                base64=True, extra={"user": Raw(b'"me"')}, dialect="openai",
            ),
            '"input":["a"],"truncate":false,"dimensions":8,"keep_alive":300,"options":{"num_ctx":1}',
            ("user",),
        ),
        (EmbedRequest(model="x"), '"input":[]', ()),
    ],
)  # fmt: skip
def test_embed(request_: EmbedRequest, body: str, dropped: tuple[str, ...]) -> None:
    assert sent(request_) == Outbound("/api/embed", f'{{"model":"there:1b",{body}}}'.encode(), dropped)


def test_tokens_cannot_be_embedded() -> None:
    with pytest.raises(UnsupportedContent, match=r"^lists of tokens"):
        sent(EmbedRequest(model="x", inputs=((1, 2),)))


# ---- round trip ----------------------------------------------------------------------------------------------------

_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_optional = st.none() | st.booleans()
_call = st.builds(
    ToolCall,
    _text,
    st.dictionaries(_text, st.integers()).map(lambda value: json.dumps(value, separators=(",", ":"))),
    st.none() | _text,
)
_image = st.just(Image(data=PNG, media_type="image/png"))


def _message(role: str, parts: st.SearchStrategy[tuple[Part, ...]]) -> st.SearchStrategy[Message]:
    return st.builds(Message, st.just(role), parts)


_user = _message("user", st.tuples(st.builds(Text, _text)) | st.tuples(st.builds(Text, _text), _image, _image))
_assistant = _message(
    "assistant",
    st.tuples(st.builds(Thinking, _text), st.builds(Text, _text))
    | st.lists(_call, min_size=1, max_size=3).map(lambda calls: tuple[Part, ...](calls)),
)
_tool = st.builds(Message, st.just("tool"), st.tuples(st.builds(Text, _text)), st.none(), st.none(), st.none() | _text)
_number = st.floats(0, 2)
_sampling = st.builds(
    Sampling,
    max_tokens=st.none() | st.integers(1, 1000),
    temperature=st.none() | _number,
    top_k=st.none() | st.integers(0, 100),
    seed=st.none() | st.integers(0, 1000),
    stop=st.none() | st.lists(_text, max_size=3).map(tuple),
    min_p=st.none() | _number,
)
_format: st.SearchStrategy[Format | None] = st.sampled_from(
    [None, JsonFormat(), SchemaFormat(Raw(b'{"type":"object"}'))]
)
_keep_alive = st.none() | st.sampled_from([0.0, 1.5, 300.0, FOREVER])
_chat = st.builds(
    ChatRequest,
    model=st.just("there:1b"),
    messages=st.lists(_user | _assistant | _tool, max_size=4).map(tuple),
    tools=st.lists(st.just(TOOL), max_size=2).map(tuple),
    sampling=_sampling,
    format=_format,
    think=st.sampled_from([None, True, False, "low", "medium", "high", "max"]),
    logprobs=st.booleans(),
    top_logprobs=st.none() | st.integers(1, 20),
    stream=st.booleans(),
    keep_alive=_keep_alive,
    truncate=_optional,
    shift=_optional,
    runner=st.fixed_dictionaries({}, optional={"num_ctx": st.integers(1), "use_mmap": st.booleans()}),
    dialect=st.just("ollama"),
)


@given(_chat)
def test_a_chat_is_read_back_as_it_was(request: ChatRequest) -> None:
    outbound = sent(request)
    assert outbound.dropped == ()
    assert DIALECT.by_path["/api/chat"].decode(outbound.body) == request


@given(
    st.builds(
        CompletionRequest,
        model=st.just("there:1b"),
        prompt=_text,
        suffix=st.none() | _text,
        images=st.lists(_image, max_size=2).map(tuple),
        sampling=_sampling,
        format=_format,
        stream=st.booleans(),
        keep_alive=_keep_alive,
        dialect=st.just("ollama"),
    )
)
def test_a_completion_is_read_back_as_it_was(request: CompletionRequest) -> None:
    outbound = sent(request)
    assert outbound.dropped == ()
    assert DIALECT.by_path["/api/generate"].decode(outbound.body) == request


@given(
    st.builds(
        EmbedRequest,
        model=st.just("there:1b"),
        inputs=st.lists(st.text(st.characters(exclude_categories=["Cs"]))).map(tuple),
        dimensions=st.none() | st.integers(1, 9),
        truncate=_optional,
        keep_alive=_keep_alive,
        dialect=st.just("ollama"),
    )
)
def test_an_embed_is_read_back_as_it_was(request: EmbedRequest) -> None:
    assert DIALECT.by_path["/api/embed"].decode(sent(request).body) == request

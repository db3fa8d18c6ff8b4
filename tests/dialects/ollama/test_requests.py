"""Clients' bodies in, canonical requests out."""

import json

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
    Image,
    JsonFormat,
    Message,
    Request,
    Sampling,
    SchemaFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
)
from arriero.dialects.ollama import DIALECT, is_load
from arriero.dialects.ollama.memory import MARK, remembered
from arriero.dialects.ollama.requests import decode_chat, decode_embed, decode_embeddings, decode_generate
from arriero.errors import ArrieroError, BadRequest

PNG = "iVBORw0KGgo="
WAV = "UklGRgAAAABXQVZFZm10IA=="
HI = (Message("user", (Text("hi"),)),)
RULE = Message("system", (Text("be kind"),))
HELLO = Message("assistant", (Text("Hello"),))
TALKED = json.dumps(remembered((RULE, *HI), "Hello"), separators=(",", ":")).encode()


def chat(**fields: object) -> ChatRequest:
    return ChatRequest(**{"model": "x", "stream": True, "dialect": "ollama", **fields})  # type: ignore[arg-type]


def completion(**fields: object) -> CompletionRequest:
    given = {"model": "x", "prompt": "p", "stream": True, "dialect": "ollama", **fields}
    return CompletionRequest(**given)  # type: ignore[arg-type]


def embed(**fields: object) -> EmbedRequest:
    return EmbedRequest(**{"model": "x", "dialect": "ollama", **fields})  # type: ignore[arg-type]


TOOL = b'{"type":"function","function":{"name":"get_time","parameters":{"type":"object","additionalProperties":false}}}'

CHATS: list[tuple[bytes, ChatRequest]] = [
    (b'{"model":"x"}', chat()),
    (b'{"model":"x","messages":[],"tools":[],"stream":null}', chat()),
    (b'{"model":"x","keep_alive":0}', chat(keep_alive=0.0)),
    (b'{"model":"x","messages":[{"role":"user","content":"hi"}],"stream":false}', chat(messages=HI, stream=False)),
    (b'{"MODEL":"x","messages":[{"Role":"USER","content":"hi"}]} ...', chat(messages=HI)),
    (
        b'{"model":"x","messages":[{"role":"user","content":"hi"}],"foo":{"a": 1}}',
        chat(messages=HI, extra={"foo": Raw(b'{"a": 1}')}),
    ),
    (
        f'{{"model":"x","messages":[{{"role":"user","content":"see","images":["{PNG}","{WAV}"]}}]}}'.encode(),
        chat(
            messages=(
                Message("user", (Text("see"), Image(data=PNG, media_type="image/png"), Audio(WAV, "wav"))),
            )
        ),
    ),
    (
        b'{"model":"x","messages":[{"role":"assistant","content":"","thinking":"Hm","tool_calls":[{"id":"call_1",'
        b'"function":{"name":"f","arguments":{"b": 1,"a":[]}}},{"function":{"name":"g"}}]},'
        b'{"role":"tool","content":"7","tool_name":"f","tool_call_id":"call_1"},{"role":"tool","content":"8"}]}',
        chat(
            messages=(
                Message(
                    "assistant",
                    (Thinking("Hm"), ToolCall("f", '{"b": 1,"a":[]}', "call_1"), ToolCall("g", "{}")),
                ),
                Message("tool", (Text("7"),), tool_call_id="call_1", tool_name="f"),
                Message("tool", (Text("8"),)),
            )
        ),
    ),
    (b'{"model":"x","messages":[{}]}', chat(messages=(Message(""),))),
    (b'{"model":"x","tools":[' + TOOL + b"]}", chat(tools=(Tool("get_time", Raw(TOOL)),))),
    (b'{"model":"x","tools":[{"type":"web"}]}', chat(tools=(Tool("", Raw(b'{"type":"web"}')),))),
    (
        b'{"model":"x","options":{"temperature":0,"num_predict":5,"num_ctx":8192.0,"stop":["a"]}}',
        chat(sampling=Sampling(temperature=0.0, max_tokens=5, stop=("a",)), runner={"num_ctx": 8192}),
    ),
    (b'{"model":"x","format":"json","think":"high"}', chat(format=JsonFormat(), think="high")),
    (b'{"model":"x","format":{"type": "object"}}', chat(format=SchemaFormat(Raw(b'{"type": "object"}')))),
    (b'{"model":"x","format":"","think":false}', chat(think=False)),
    (b'{"model":"x","keep_alive":-1,"truncate":false,"shift":true}',
     chat(keep_alive=FOREVER, truncate=False, shift=True)),
    (b'{"model":"x","logprobs":true,"top_logprobs":20}', chat(logprobs=True, top_logprobs=20)),
    (b'{"model":"x","top_logprobs":0}', chat()),
    (b'{"model":"x","_debug_render_only":false}', chat()),  # Go clients always send it
    (b'{"model":"x","_debug_render_only":true}', chat(extra={"_debug_render_only": Raw(b"true")})),
    (b'{"model":"google/gemini-2.5-pro:free"}', chat(model="google/gemini-2.5-pro:free")),
]  # fmt: skip


@pytest.mark.parametrize(("body", "request_"), CHATS)
def test_chat(body: bytes, request_: ChatRequest) -> None:
    assert decode_chat(body) == request_


GENERATES: list[tuple[bytes, Request]] = [
    (b'{"model":"x"}', chat()),
    (b'{"model":"x","prompt":"","keep_alive":"0s","raw":true,"system":"s"}', chat(keep_alive=0.0)),
    (b'{"model":"x","prompt":null,"system":"s","suffix":"s","images":["aGk="]}', chat()),
    (b'{"model":"x","options":{"num_ctx":1},"think":true}', chat(runner={"num_ctx": 1}, think=True)),
    (b'{"model":"x","prompt":"hi","stream":false}', chat(messages=HI, stream=False)),
    (b'{"model":"x","prompt":"hi","system":"be kind"}', chat(messages=(Message("system", (Text("be kind"),)), *HI))),
    (
        f'{{"model":"x","prompt":"hi","images":["{PNG}"]}}'.encode(),
        chat(messages=(Message("user", (Text("hi"), Image(data=PNG, media_type="image/png"))),)),
    ),
    (
        b'{"model":"x","prompt":"hi","template":"{{ .Prompt }}","context":[1, 2],"_debug_render_only":true}',
        chat(
            messages=HI,
            continues=True,
            extra={
                "template": Raw(b'"{{ .Prompt }}"'),
                "context": Raw(b"[1,2]"),
                "_debug_render_only": Raw(b"true"),
            },
        ),
    ),
    (b'{"model":"x","prompt":"hi","template":"","context":[]}', chat(messages=HI, continues=True)),
    (
        b'{"model":"x","prompt":"hi","context":%b}' % TALKED,
        chat(messages=(RULE, *HI, HELLO, *HI), continues=True),
    ),
    (
        b'{"model":"x","prompt":"hi","system":"be brief","context":%b}' % TALKED,
        chat(messages=(Message("system", (Text("be brief"),)), *HI, HELLO, *HI), continues=True),
    ),
    (b'{"model":"x","context":%b}' % TALKED, chat()),
    (
        b'{"model":"x","prompt":"p","suffix":"s","context":%b}' % TALKED,
        completion(suffix="s", extra={"context": Raw(TALKED)}),
    ),
    (b'{"model":"x","prompt":"p","raw":true,"context":[],"template":""}', completion(extra={"context": Raw(b"[]")})),
    (b'{"model":"x","prompt":"p","suffix":"s"}', completion(suffix="s")),
    (
        b'{"model":"x","prompt":"p","suffix":"s","system":"t","think":false,"raw":false}',
        completion(suffix="s", extra={"system": Raw(b'"t"'), "think": Raw(b"false")}),
    ),
    (b'{"model":"x","prompt":"p","suffix":"s","raw":true}', completion(suffix="s", extra={"raw": Raw(b"true")})),
    (
        f'{{"model":"x","prompt":"p","raw":true,"images":["{PNG}"],"format":"json","truncate":true,"shift":false,'
        '"logprobs":true,"top_logprobs":2,"keep_alive":60,"options":{"top_k":1}}'.encode(),
        completion(
            images=(Image(data=PNG, media_type="image/png"),), format=JsonFormat(), truncate=True, shift=False,
            logprobs=True, top_logprobs=2, keep_alive=60.0, sampling=Sampling(top_k=1),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "request_"), GENERATES)
def test_generate(body: bytes, request_: Request) -> None:
    assert decode_generate(body) == request_


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (b'{"model":"x","input":"a"}', embed(inputs=("a",))),
        (b'{"model":"x","input":["a","b"],"dimensions":8,"truncate":false}',
         embed(inputs=("a", "b"), dimensions=8, truncate=False)),
        (b'{"model":"x","input":["",""]}', embed(inputs=("", ""))),
        (b'{"model":"x","input":""}', embed()),
        (b'{"model":"x","input":[]}', embed()),
        (b'{"model":"x","input":null}', embed()),
        (b'{"model":"x"}', embed()),
        (b'{"model":"x","input":"a","dimensions":0,"keep_alive":"5m","options":{"num_ctx":1,"temperature":1}}',
         embed(inputs=("a",), keep_alive=300.0, runner={"num_ctx": 1})),
        (b'{"model":"x","prompt":"a"}', embed(extra={"prompt": Raw(b'"a"')})),
    ],
)  # fmt: skip
def test_embed(body: bytes, request_: EmbedRequest) -> None:
    assert decode_embed(body) == request_


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (b'{"model":"x","prompt":"a"}', embed(inputs=("a",))),
        (b'{"model":"x","prompt":""}', embed()),
        (b'{"model":"x","keep_alive":0,"options":{"num_gpu":0}}', embed(keep_alive=0.0, runner={"num_gpu": 0})),
    ],
)
def test_embeddings(body: bytes, request_: EmbedRequest) -> None:
    assert decode_embeddings(body) == request_


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/generate", b'{"model":""}', 404, "model '' not found"),
        ("/api/chat", b'{"model":""}', 400, "model is required"),
        ("/api/embed", b"null", 404, "model '' not found"),
        ("/api/embeddings", b"{}", 400, "model is required"),
        *[(path, b'{"model":"a\\u0000"}', 400, "invalid model name") for path in DIALECT.by_path],
        *[(path, b"", 400, "missing request body") for path in DIALECT.by_path],
        *[(path, b'{"model":"x"', 400, "unexpected EOF") for path in DIALECT.by_path],
        ("/api/chat", b"hello", 400, "invalid character 'h' looking for beginning of value"),
        (
            "/api/chat",
            b'{"model":"x","messages":[{"role":"user","content":[{"type":"text"}]}]}',
            400,
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
        ),
        (
            "/api/chat",
            b'{"model":"x","messages":[{"images":["data:image/png;base64,aGk="]}]}',
            400,
            "illegal base64 data at input byte 4",
        ),
        *[
            (
                "/api/chat",
                b'{"model":"x","messages":[{"tool_calls":[{"function":{"name":"f","arguments":' + arguments + b"}}]}]}",
                400,
                "Value looks like object, but can't find closing '}' symbol",
            )
            for arguments in (b'"{}"', b"null", b"[]")
        ],
        ("/api/chat", b'{"model":"x","tools":["a"]}', 400,
         "json: cannot unmarshal string into Go struct field ChatRequest.tools of type api.Tool"),
        ("/api/chat", b'{"model":"x","tools":[{"function":"a"}]}', 400,
         "json: cannot unmarshal string into Go struct field ChatRequest.tools.function of type api.ToolFunction"),
        ("/api/chat", b'{"model":"x","top_logprobs":21}', 400, "top_logprobs must be between 0 and 20"),
        ("/api/generate", b'{"model":"","top_logprobs":-1}', 400, "top_logprobs must be between 0 and 20"),
        ("/api/chat", b'{"model":"x","options":{"stop":"a"}}', 500, 'option "stop" must be of type array'),
        ("/api/chat", b'{"model":"x","keep_alive":"-1"}', 400, 'time: missing unit in duration "-1"'),
        ("/api/generate", b'{"model":"x","prompt":"p","raw":true,"system":"s"}', 400,
         "raw mode does not support template, system, or context"),
        ("/api/generate", b'{"model":"x","raw":true,"context":[1]}', 400,
         "raw mode does not support template, system, or context"),
        ("/api/generate", b'{"model":"x","raw":true,"prompt":"p","context":%b}' % TALKED, 400,
         "raw mode does not support template, system, or context"),
        ("/api/generate", b'{"model":"x","prompt":"p","context":[%d,1]}' % MARK, 400,
         "context: it is not as it was given; send it back whole and unchanged, or leave it out"),
        ("/api/generate", b'{"model":"x","name":"y","prompt":1}', 400,
         "json: cannot unmarshal number into Go struct field GenerateRequest.prompt of type string"),
        ("/api/generate", b'{"model":"x:cloud:local"}', 400,
         'use either :local or :cloud, not both: "x:cloud:local"'),
        ("/api/embed", b'{"model":"x","input":1}', 400, "invalid input type"),
        ("/api/embed", b'{"model":"x","input":["a",1]}', 400, "invalid input type"),
        ("/api/embed", b'{"model":"x","input":{}}', 400, "invalid input type"),
        ("/api/chat", b'{"model":"x","x":' + b"[" * 20000, 400, "exceeded max depth"),
        ("/api/chat", b'{"model":"x","format":' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}", 400,
         "exceeded max depth"),
    ],
)  # fmt: skip
def test_what_is_refused(path: str, body: bytes, status: int, message: str) -> None:
    with pytest.raises(ArrieroError) as caught:
        DIALECT.by_path[path].decode(body)
    assert (caught.value.status, caught.value.message) == (status, message)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.text(min_size=1, max_size=20))
def test_the_two_lanes_agree(unknown: dict[str, str], content: str) -> None:
    known = {"model": "x", "messages": [{"role": "user", "content": content}], "think": True}
    fields = {name for name in unknown if name.casefold() in {field.casefold() for field in KNOWN}}
    unknown = {name: value for name, value in unknown.items() if name not in fields}
    fast = decode_chat(json.dumps(known).encode())
    slow = decode_chat(json.dumps({**unknown, **known}).encode())
    assert {name: json.loads(bytes(raw)) for name, raw in slow.extra.items()} == unknown
    assert (slow.messages, slow.think, slow.model) == (fast.messages, fast.think, fast.model)


KNOWN = (
    "model", "messages", "tools", "stream", "format", "keep_alive", "options", "think", "truncate", "shift",
    "logprobs", "top_logprobs", "_debug_render_only",
)  # fmt: skip


@given(st.binary())
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    for endpoint in DIALECT.endpoints:
        with pytest.raises(ArrieroError):
            endpoint.decode(body)
            raise BadRequest("a body of random bytes was understood, which is fine")


def test_a_request_without_content_loads() -> None:
    assert is_load(decode_chat(b'{"model":"x"}'))
    assert is_load(decode_generate(b'{"model":"x","prompt":""}'))
    assert is_load(decode_embed(b'{"model":"x"}'))
    assert not is_load(decode_generate(b'{"model":"x","prompt":"p","raw":true}'))
    assert not is_load(decode_embed(b'{"model":"x","input":[""]}'))

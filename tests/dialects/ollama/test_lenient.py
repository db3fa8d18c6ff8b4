"""Bodies as Go reads them, and type faults in Go's words."""

import pytest
from msgspec import Raw

from arriero.dialects.ollama.bodies import CallBody, ChatBody, EmbedBody, FunctionBody, GenerateBody, MessageBody
from arriero.dialects.ollama.lenient import reader
from arriero.errors import BadRequest

read_chat = reader(ChatBody, "ChatRequest")
read_generate = reader(GenerateBody, "GenerateRequest")
read_embed = reader(EmbedBody, "EmbedRequest")


@pytest.mark.parametrize(
    ("body", "read", "extra"),
    [
        (b"null", ChatBody(), {}),
        (b"{} trailing", ChatBody(), {}),
        (b'{"Model":"x"}', ChatBody(model="x"), {}),
        (b'{"MODEL":"x","model":"y"}', ChatBody(model="y"), {}),
        (b'{"model":"y","MODEL":"x"}', ChatBody(model="x"), {}),
        (b'{"model":"x","model":null}', ChatBody(), {}),
        (b'{"model":null,"messages":null,"options":null,"stream":null}', ChatBody(), {}),
        (b'{"model":"x","foo":[1, 2]}', ChatBody(model="x"), {"foo": Raw(b"[1, 2]")}),
        (b'{"_DEBUG_render_only":true}', ChatBody(debug_render_only=True), {}),
        (b'{"model":"a\xff\xfeb"}', ChatBody(model="a\ufffd\ufffdb"), {}),
        (b'{"model":"a\\ud800b"}', ChatBody(model="a\ufffdb"), {}),
        (b'{"model":"\\ud83d\\ude00\\\\ud800"}', ChatBody(model="😀\\ud800"), {}),
        (b'{"messages":[{"Role":"user","CONTENT":"hi","foo":1}]}', ChatBody(messages=[MessageBody("user", "hi")]), {}),
        (b'{"messages":[null,{}]}', ChatBody(messages=[MessageBody()]), {}),
        (
            b'{"messages":[{"tool_calls":[{"type":"function","function":{"name":"f","arguments":{"b": 1}}, "x":1}]}]}',
            ChatBody(
                messages=[
                    MessageBody(
                        tool_calls=[
                            CallBody(type=Raw(b'"function"'), function=FunctionBody("f", arguments=Raw(b'{"b": 1}')))
                        ]
                    )
                ]
            ),
            {},
        ),
        (b'{"top_logprobs":5,"x":0}', ChatBody(top_logprobs=5), {"x": Raw(b"0")}),
    ],
)
def test_a_body_is_read_as_go_reads_it(body: bytes, read: ChatBody, extra: dict[str, Raw]) -> None:
    assert read_chat(body) == (read, extra)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        (b'"x"', "json: cannot unmarshal string into Go value of type api.ChatRequest"),
        (b"7", "json: cannot unmarshal number into Go value of type api.ChatRequest"),
        (b'{"model":1}', "json: cannot unmarshal number into Go struct field ChatRequest.model of type string"),
        (b'{"Model":{}}', "json: cannot unmarshal object into Go struct field ChatRequest.model of type string"),
        (b'{"stream":"true"}', "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool"),
        (b'{"options":[]}', "array into Go struct field ChatRequest.options of type map[string]interface {}"),
        (b'{"messages":"hi"}', "string into Go struct field ChatRequest.messages of type []api.Message"),
        (b'{"messages":["hi"]}', "string into Go struct field ChatRequest.messages of type api.Message"),
        (b'{"messages":[{"content":[{}]}]}', "array into Go struct field ChatRequest.messages.content of type string"),
        (b'{"messages":[{"role":true}]}', "bool into Go struct field ChatRequest.messages.role of type string"),
        (b'{"messages":[{"images":"x"}]}', "string into Go struct field ChatRequest.messages.images of type []api."),
        (b'{"messages":[{"images":[1]}]}', "number into Go struct field ChatRequest.messages.images of type api.Ima"),
        (
            b'{"messages":[{"tool_calls":[{"function":{"name":1}}]}]}',
            "number into Go struct field ChatRequest.messages.tool_calls.function.name of type string",
        ),
        (b'{"tools":{}}', "object into Go struct field ChatRequest.tools of type api.Tools"),
        (b'{"top_logprobs":1.5}', "number 1.5 into Go struct field ChatRequest.top_logprobs of type int"),
        (b'{"top_logprobs":99999999999999999999}', "number 99999999999999999999 into Go struct field ChatRequest.top_"),
        (b'{"top_logprobs":"1"}', "string into Go struct field ChatRequest.top_logprobs of type int"),
    ],
)
def test_a_wrong_type_is_named_as_go_names_it(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_chat(body)
    assert message in caught.value.message
    assert caught.value.status == 400


def test_other_requests_have_their_own_names() -> None:
    with pytest.raises(BadRequest, match=r"Go struct field GenerateRequest.context of type int"):
        read_generate(b'{"context":["a"]}')
    with pytest.raises(BadRequest, match=r"Go struct field GenerateRequest.context of type \[\]int"):
        read_generate(b'{"context":"a"}')
    with pytest.raises(BadRequest, match=r"Go struct field EmbedRequest.dimensions of type int"):
        read_embed(b'{"dimensions":"8"}')


def test_nesting_that_nobody_can_follow_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"^exceeded max depth$"):
        read_chat(b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}")


def test_a_long_string_costs_no_memory_of_its_own() -> None:
    text = "A" * 1_000_000
    assert read_chat(f'{{"x":1,"model":"{text}"}}'.encode())[0].model == text

"""The strict bodies: what the fast path takes and what it leaves to the slow one."""

import msgspec
import pytest

from arriero.dialects.ollama.bodies import ChatBody, GenerateBody

chat = msgspec.json.Decoder(ChatBody).decode
generate = msgspec.json.Decoder(GenerateBody).decode


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"x","messages":[{"role":"user","content":"hi","images":null,"tool_calls":[]}],"tools":[]}',
        b'{"model":"x","messages":null,"format":null,"options":null,"keep_alive":null,"think":null,"stream":null}',
        b'{"model":"x","format":{"type":"object"},"keep_alive":-1,"think":"high","options":{"num_ctx":1}}',
        b'{"model":"x","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":'
        b'{"index":0,"name":"f","arguments":{}}}]},{"role":"tool","content":"1","tool_name":"f","tool_call_id":"a"}]}',
    ],
)
def test_what_real_clients_send_is_taken_at_once(body: bytes) -> None:
    chat(body)


@pytest.mark.parametrize("body", [b'{"Model":"x"}', b'{"foo":1}', b'{"model":1}', b"{} x", b"null"])
def test_what_is_out_of_the_ordinary_is_not(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        chat(body)


def test_generate_has_its_own_fields() -> None:
    read = generate(b'{"model":"x","prompt":"p","suffix":"s","context":[1],"raw":true,"_debug_render_only":true}')
    assert read == GenerateBody(model="x", prompt="p", suffix="s", context=[1], raw=True, debug_render_only=True)

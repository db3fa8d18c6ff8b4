"""What goes out: relayed bytes, or the request said anew."""

import json
from dataclasses import replace

import pytest
from msgspec import Raw

from arriero.backends.remote import Ollama, OpenAI, RemoteSettings
from arriero.canonical.requests import ChatRequest, CompletionRequest, Message, Text
from arriero.compose import DIALECTS
from arriero.dialects.profiles import profile_of
from arriero.errors import NotImplementedHere
from arriero.filters.rules import NO_CHANGES, Changes
from arriero.gateway.plan import Plan, driver_for, relayed, rendering, transcoded
from arriero.wire.splice import NotAnObject

OLLAMA, OPENAI = DIALECTS["ollama"], DIALECTS["openai"]
SERVER = Ollama(RemoteSettings(name="o", url="http://h:1", profile=profile_of("ollama")))
NATIVE = Ollama(RemoteSettings(name="n", url="http://h:1", profile=profile_of("ollama"), openai_api=False))
VENDOR = OpenAI(RemoteSettings(name="v", url="http://h:1/v1", profile=profile_of("generic")))
CHAT, V1_CHAT = OLLAMA.by_path["/api/chat"], OPENAI.by_path["/v1/chat/completions"]
NOW = 1_767_319_445_000_000_000
BODY = b'{"model":"Tiny","n":1.0}'


def test_a_name_that_the_server_finds_itself_stays() -> None:
    plan = relayed(OLLAMA, CHAT, BODY, SERVER, typed="Tiny", model="tiny:latest", made=NO_CHANGES)
    assert plan == Plan("/api/chat", BODY, OLLAMA)
    assert plan.body is BODY


def test_a_name_that_it_does_not_know_is_exchanged_and_will_be_exchanged_back() -> None:
    plan = relayed(OLLAMA, CHAT, BODY, SERVER, typed="Tiny", model="ns/tiny:1b", made=NO_CHANGES)
    assert plan == Plan("/api/chat", b'{"model":"ns/tiny:1b","n":1.0}', OLLAMA, typed="Tiny")


def test_the_path_stands_behind_the_dialects_root() -> None:
    assert relayed(OPENAI, V1_CHAT, BODY, SERVER, typed="Tiny", model="tiny", made=NO_CHANGES).path == (
        "/v1/chat/completions"
    )
    assert relayed(OPENAI, V1_CHAT, BODY, VENDOR, typed="Tiny", model="tiny", made=NO_CHANGES).path == (
        "/chat/completions"
    )


def test_a_vendor_may_want_the_model_in_the_path() -> None:
    placed = OpenAI(RemoteSettings(name="p", url="http://h:1/openai", profile=profile_of("azure-deployments")))
    path = "/deployments/my%20gpt/chat/completions"
    assert relayed(OPENAI, V1_CHAT, BODY, placed, typed="Tiny", model="my gpt", made=NO_CHANGES).path == path
    dialect, driver = driver_for(OLLAMA, DIALECTS, placed, REQUEST)
    assert transcoded(dialect, driver, REQUEST, placed, model="my gpt").path == path


def test_changes_are_edits() -> None:
    made = Changes({"temperature": 0.5}, frozenset({"n"}))
    plan = relayed(OPENAI, V1_CHAT, BODY, VENDOR, typed="Tiny", model="Tiny", made=made)
    assert json.loads(plan.body) == {"temperature": 0.5, "model": "Tiny"}


def test_what_cannot_be_edited_has_to_be_said_anew() -> None:
    with pytest.raises(NotAnObject):
        relayed(OPENAI, V1_CHAT, b'{"n":1', VENDOR, typed="a", model="b", made=NO_CHANGES)


REQUEST = ChatRequest(model="Tiny", messages=(Message("user", (Text("hi"),)),), runner={"num_ctx": 9})


def test_a_request_is_said_in_the_clients_own_dialect_where_the_backend_speaks_it() -> None:
    assert driver_for(OPENAI, DIALECTS, SERVER, REQUEST)[0] is OPENAI
    assert driver_for(OPENAI, DIALECTS, NATIVE, REQUEST)[0] is OLLAMA
    assert driver_for(OLLAMA, DIALECTS, VENDOR, REQUEST)[0] is OPENAI


def test_a_request_said_anew_names_what_was_left_out() -> None:
    dialect, driver = driver_for(OLLAMA, DIALECTS, VENDOR, REQUEST)
    plan = transcoded(dialect, driver, REQUEST, VENDOR, model="gpt-x")
    assert (plan.path, plan.driver, plan.dropped) == ("/chat/completions", driver, ("num_ctx",))
    assert json.loads(plan.body) == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }


def test_a_dialect_without_the_operation_says_so() -> None:
    mute = {**DIALECTS, "openai": replace(OPENAI, drivers={})}
    with pytest.raises(NotImplementedHere, match="v has no way to do what was asked in the openai dialect"):
        driver_for(OLLAMA, mute, VENDOR, REQUEST)


def test_a_template_becomes_text_where_text_is_continued() -> None:
    """Known of some servers; others get the conversation, and a server of the same dialect its own words."""
    template = ChatRequest(model="m", messages=REQUEST.messages, extra={"template": Raw(b'"> {{ .Prompt }}"')},
                           dialect="ollama")  # fmt: skip
    llama = OpenAI(RemoteSettings(name="l", url="http://h:1/v1", profile=profile_of("llama-server")))
    render = rendering(OLLAMA.by_path["/api/generate"], OLLAMA, llama, template, NOW)
    assert render is not None
    assert render() == CompletionRequest(model="m", prompt="> hi", dialect="ollama")
    for endpoint, own, backend in (
        (OLLAMA.by_path["/api/generate"], OLLAMA, VENDOR),
        (OLLAMA.by_path["/api/generate"], OLLAMA, SERVER),
        (CHAT, OLLAMA, llama),
        (V1_CHAT, OPENAI, llama),
    ):
        assert rendering(endpoint, own, backend, template, NOW) is None

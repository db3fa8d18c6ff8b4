"""The page about vendors is true: its table is the table of profiles, and its example is a vendor that can be asked."""

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

from msgspec import Raw

from arriero.backends.remote import OpenAI, RemoteSettings
from arriero.backends.scripted import Script, ScriptedServer
from arriero.backends.scripted.script import Play, Rule, When
from arriero.canonical.events import Answer
from arriero.canonical.requests import ChatRequest, Message, Sampling, Text
from arriero.dialects import openai, quirks
from arriero.dialects.base import Target
from arriero.dialects.quirks import Profile
from arriero.dialects.servers import SERVERS
from arriero.dialects.vendors import VENDORS

PAGE = (Path(__file__).parents[2] / "docs" / "vendors.md").read_text()
ENGINE = "engine"


def example() -> Profile:
    """The entry of "Adding a vendor", with nothing else in reach than a profile's own words."""
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"MappingProxyType": MappingProxyType}
    names |= {name: value for name, value in vars(quirks).items() if not name.startswith("_")}
    exec(text, names)
    made = names["acme"]
    assert isinstance(made, Profile)
    return made


def test_the_table_is_the_table() -> None:
    rows = [
        f"| `{vendor.name}` | {vendor.title} | {f'`{vendor.key_variable}`' if vendor.key_variable else ''} | "
        f"{f'`{vendor.base_url}`' if vendor.base_url else 'yours'} | "
        f"{'named by you' if vendor.models_path is None else 'listed'} |".replace("|  |", "| |")
        for vendor in VENDORS
    ]
    table = PAGE.split("|---|---|---|---|---|\n")[1].split("\n\n")[0]
    assert table.splitlines() == rows


def test_the_servers_of_the_house_are_named() -> None:
    named = set(re.findall(r"`([a-z-]+)`", PAGE.split("Servers that people run themselves")[1].split("## What")[0]))
    assert named == {server.name for server in SERVERS} - {ENGINE}


def test_every_field_that_the_example_explains_is_one() -> None:
    explained = PAGE.split("| field | meaning |")[1].split("All fields")[0]
    fields = {
        field for row in re.findall(r"^\| (.*?) \|", explained, re.MULTILINE) for field in re.findall(r"`(\w+)`", row)
    }
    assert len(fields) > 12
    assert fields <= set(Profile.__struct_fields__)


async def test_the_example_is_a_vendor_that_can_be_asked() -> None:
    acme = example()
    said = {"choices": [{"message": {"role": "assistant", "content": "It rains."}, "finish_reason": "stop"}]}
    rules = (
        Rule(Play(body={"data": [{"id": "deep-2", "window": 4096}]}), When(path="/v1/models", query="*page=2*")),
        Rule(
            Play(body={"data": [{"id": "deep-1", "window": 8192}], "links": {"next": "/v1/models?page=2"}}),
            When(path="/v1/models"),
        ),
        Rule(Play(body=said), When(path="/v1/chat/completions")),
    )
    async with ScriptedServer(Script(speaks=("openai",), rules=rules)) as server:
        settings = RemoteSettings(name="acme", url=f"{server.address}/v1", profile=acme, api_key="k")
        backend = OpenAI(settings)
        try:
            cards = await backend.list_models()
            assert [(card.id, card.context_length) for card in cards] == [("deep-1", 8192), ("deep-2", 4096)]
            request = ChatRequest(
                model="any",
                messages=(Message("user", (Text("Will it rain?"),)),),
                sampling=Sampling(max_tokens=9, top_k=40, seed=7, stop=("a", "b", "c", "d", "e")),
                think="max",
                extra={"safety": Raw(b'{"level":1}'), "keep": Raw(b"1")},
                dialect="ollama",
            )
            driver = openai.DIALECT.driver(request)
            assert driver is not None
            out = driver.encode(request, Target("deep-1", acme))
            answer = driver.decode(await backend.ask("POST", out.path, out.body), acme)
        finally:
            await backend.close()
        assert isinstance(answer, Answer)
        assert [part.text for part in answer.parts if isinstance(part, Text)] == ["It rains."]
        assert out.dropped == ("seed", "stop", "keep")
        asked = server.requests[-1]
        assert asked.path == "/v1/chat/completions?version=2026-11"
        assert (asked.headers["x-acme-key"], asked.headers["x-acme-app"]) == ("k", "arriero")
        assert "authorization" not in asked.headers
        assert asked.body == out.body
        assert out.body == (
            b'{"model":"deep-1","messages":[{"role":"user","content":"Will it rain?"}],"stream":false,"top_k":40,'
            b'"max_completion_tokens":9,"stop":["a","b","c","d"],"reasoning_effort":"high","safety":{"level":1}}'
        )


def test_its_errors_are_told_in_its_name() -> None:
    error = openai.DIALECT.read_error(429, b'{"error":"slow down"}', example())
    assert error.message == "Acme API error: 429 Too Many Requests: slow down"

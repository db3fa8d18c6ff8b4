"""Each command over a real socket, and what it changes for those who ask the server."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from arriero.backends.scripted.commands import COMMANDS, MAX_COMMAND_BYTES, is_command
from arriero.backends.scripted.faults import WORDS
from arriero.backends.scripted.script import SENTENCE, Model, Play, Rule, Script, When
from arriero.backends.scripted.seen import Seen
from arriero.backends.scripted.server import ScriptedServer

SECONDS = 5.0
CHAT = {"model": "scripted", "stream": False, "messages": [{"role": "user", "content": "hi"}]}


class Client:
    """Asks one server, each time on a connection of its own."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server

    async def __call__(self, request: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """`METHOD /path`; a text is sent as it is. The status and the JSON or text of the answer."""
        status, _, answer = await asyncio.to_thread(self._ask, request, body, headers)
        try:
            return status, json.loads(answer)
        except ValueError:
            return status, answer.decode()

    async def headers(self, request: str, body: Any = None) -> dict[str, str]:
        return (await asyncio.to_thread(self._ask, request, body, {}))[1]

    async def chat(self, path: str = "/api/chat") -> int:
        """The status of a question."""
        status: int = (await self(f"POST {path}", CHAT))[0]
        return status

    def _ask(self, request: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        method, _, target = request.partition(" ")
        data = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        connection = http.client.HTTPConnection(self.server.address.removeprefix("http://"), timeout=SECONDS)
        try:
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@asynccontextmanager
async def asking(script: Script | None = None, folder: Path | None = None) -> AsyncIterator[Client]:
    async with asyncio.timeout(4 * SECONDS), ScriptedServer(script, folder=folder) as server:
        yield Client(server)


async def arrived(server: ScriptedServer, in_flight: int) -> None:
    """Wait until so many requests are in flight."""
    while server.seen.in_flight != in_flight:  # noqa: ASYNC110 - nobody sets an event for it
        await asyncio.sleep(0.002)


async def test_what_can_be_commanded() -> None:
    async with asking(Script(name="gpu1")) as ask:
        said = {"name": "gpu1", "commanded": 0, "commands": dict(COMMANDS), "faults": list(WORDS)}
        assert await ask("GET /_scripted/") == await ask("GET /_scripted") == (200, said)
    async with asking() as ask:
        assert (await ask("GET /_scripted/"))[1]["name"] is None


# ---- plays ---------------------------------------------------------------------------------------------------------


async def test_commanded_rules_stand_before_the_scripts_own_until_they_are_taken_away() -> None:
    async with asking(Script(rules=(Rule(Play(status=501), When(path="/api/chat")),))) as ask:
        assert await ask.chat() == 501
        commanded = await ask("PUT /_scripted/play", {"rules": [{"when": {"call": 2}, "play": {"status": 418}}]})
        assert commanded == (200, {"name": None, "commanded": 1})
        assert [await ask.chat() for _ in range(3)] == [501, 418, 501]
        # The next ones go in their place, and are counted anew.
        await ask("PUT /_scripted/play", "{when: {path: /api/chat, times: 1}, play: {status: 420}}")
        assert [await ask.chat() for _ in range(2)] == [420, 501]
        await ask("PUT /_scripted/play", "play: {say: Hola}")
        assert (await ask("POST /v1/completions", CHAT))[1]["choices"][0]["text"] == "Hola"
        assert await ask("DELETE /_scripted/play") == (200, {"name": None, "commanded": 0})
        assert await ask.chat() == 501


async def test_a_recording_of_a_command_lies_in_the_folder_of_the_script(tmp_path: Path) -> None:
    folder = tmp_path / "play"
    folder.mkdir()
    (folder / "answer").write_bytes(b"HTTP/1.1 203 Yes\r\ncontent-length: 2\r\n\r\nok")
    (tmp_path / "secret").write_bytes(b"MARKER")
    async with asking(folder=folder) as ask:
        assert (await ask("PUT /_scripted/play", "play: {bytes: answer}"))[0] == 200
        assert await ask("GET /api/tags") == (203, "ok")
        for file in ("../secret", str(tmp_path / "secret"), "a\0b"):
            assert await ask("PUT /_scripted/play", {"play": {"bytes": file}}) == (
                400,
                {"error": f"the command: the recording {file} is not in the folder of the script; use raw"},
            )
    async with asking() as ask:
        assert (await ask("PUT /_scripted/play", "play: {bytes: answer}"))[0] == 400


# ---- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status", "later"), [("error", 500, None), ("overloaded", 503, "2"), ("rate_limited", 429, "2")]
)
async def test_words_that_refuse_inference(word: str, status: int, later: str | None) -> None:
    async with asking() as ask:
        assert await ask(f"POST /_scripted/fault/{word}") == (200, {"name": None, "commanded": 1})
        assert await ask("POST /api/chat", CHAT) == (status, {"error": f"scripted {status}"})
        error = {"message": f"scripted {status}", "type": "scripted", "code": status}
        assert await ask("POST /v1/chat/completions", CHAT) == (status, {"error": error})
        assert (await ask.headers("POST /v1/embeddings", CHAT)).get("retry-after") == later
        assert (await ask("GET /api/tags"))[0] == 200
        assert await ask("POST /_scripted/fault/none") == (200, {"name": None, "commanded": 0})
        assert await ask.chat() == 200


async def test_unhealthy_answers_and_fails_its_checks() -> None:
    async with asking() as ask:
        await ask("POST /_scripted/fault/unhealthy")
        checks = ["GET /", "HEAD /", "GET /api/tags", "GET /api/ps", "GET /v1/models"]
        assert [(await ask(check))[0] for check in checks] == [503] * 5
        assert [await ask.chat(path) for path in ("/api/chat", "/v1/chat/completions")] == [200, 200]


async def test_flaky_fails_every_second_time() -> None:
    async with asking() as ask:
        await ask("POST /_scripted/fault/flaky")
        assert [await ask.chat() for _ in range(5)] == [200, 500, 200, 500, 200]


async def test_how_often_and_where() -> None:
    async with asking() as ask:
        await ask("POST /_scripted/fault/error?times=2")
        assert [await ask.chat() for _ in range(3)] == [500, 500, 200]
        await ask("POST /_scripted/fault/error?path=/api/tags&path=/v1/*")
        assert [await ask.chat(), await ask.chat("/v1/chat/completions")] == [200, 500]
        assert [(await ask(f"GET {path}"))[0] for path in ("/api/tags", "/api/ps")] == [500, 200]
        await ask("POST /_scripted/fault/rate_limited?path=*&times=1")
        assert [(await ask("GET /"))[0] for _ in range(2)] == [429, 200]


async def test_a_fault_of_the_wire_leaves_the_commands_alone() -> None:
    async with asking() as ask:
        await ask("POST /_scripted/fault/refuse")
        with pytest.raises(http.client.RemoteDisconnected):
            await ask("GET /api/tags")
        assert await ask("POST /_scripted/fault/none") == (200, {"name": None, "commanded": 0})
        assert (await ask("GET /api/tags"))[0] == 200


# ---- what was seen -------------------------------------------------------------------------------------------------


async def test_requests_are_counted_and_commands_are_not() -> None:
    async with asking(Script(key="MARKER")) as ask:
        for _ in range(2):
            await ask("POST /api/show?a=1", {"model": "scripted"}, Authorization="Bearer MARKER")
        await ask("GET /api/tags", Authorization="Bearer MARKER")
        status, seen = await ask("GET /_scripted/seen?last=1", Authorization="Bearer MARKER")
        (last,) = seen.pop("last")
        assert (status, seen) == (
            200,
            {
                "name": None,
                "requests": 3,
                "in_flight": 0,
                "gone": 0,
                "paths": {"/api/show": 2, "/api/tags": 1},
                "models": {"scripted": 2},
            },
        )
        assert (last["method"], last["path"], last["headers"]["authorization"]) == ("GET", "/api/tags", "***")
        assert len(ask.server.requests) == 3
        nothing = {"name": None, **Seen().value(0)}
        assert await ask("DELETE /_scripted/seen", Authorization="Bearer MARKER") == (200, nothing)
        assert await ask("GET /_scripted/seen", Authorization="Bearer MARKER") == (200, nothing)


async def test_those_in_flight_and_those_who_left() -> None:
    async with asking() as ask:
        await ask("POST /_scripted/fault/hang_stream")
        host, _, port = ask.server.address.removeprefix("http://").rpartition(":")
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /api/tags HTTP/1.1\r\nhost: x\r\n\r\n")
            writers.append(writer)
        await arrived(ask.server, 3)
        assert (await ask("GET /_scripted/seen"))[1]["in_flight"] == 3
        writers[0].transport.abort()
        writers[1].close()
        await arrived(ask.server, 1)
        seen = (await ask("GET /_scripted/seen?last=0"))[1]
        assert (seen["requests"], seen["in_flight"], seen["gone"]) == (3, 1, 2)
        writers[2].close()


# ---- models --------------------------------------------------------------------------------------------------------


async def names(ask: Client, path: str = "/api/tags") -> list[str]:
    return [model["name"] for model in (await ask(f"GET {path}"))[1]["models"]]


async def test_models_come_and_go() -> None:
    async with asking(Script(models=(Model(name="tiny", loaded=True),))) as ask:
        added = await ask("POST /_scripted/models", "{name: org/big:7b, context_length: 99, loaded: true}")
        assert added == (200, {"models": ["tiny:latest", "org/big:7b"]})
        assert await names(ask) == await names(ask, "/api/ps") == ["tiny:latest", "org/big:7b"]
        assert (await ask("GET /v1/models/org/big:7b"))[1]["context_length"] == 99
        await ask("POST /_scripted/models", {"name": "org/big:7b"})
        assert await names(ask, "/api/ps") == ["tiny:latest"]
        assert await ask("DELETE /_scripted/models/TINY") == (200, {"models": ["org/big:7b"]})
        assert await names(ask, "/api/ps") == []
        assert await ask(f"DELETE /_scripted/models/{quote('org/big:7b', safe='')}") == (200, {"models": []})
        assert await ask("DELETE /_scripted/models/tiny") == (404, {"error": "model 'tiny' not found"})


# ---- what cannot be carried out ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "body", "message"),
    [
        (
            "PUT /_scripted/play",
            "rules: [{play: {sya: x}}]",
            "the command: Object contains unknown field `sya` - at `$.rules[0].play`",
        ),
        ("PUT /_scripted/play", "rules: [], more: 1", "the command is not YAML: "),
        ("PUT /_scripted/play", "{rules: [], more: 1}", "the command: Object contains unknown field `more`"),
        ("PUT /_scripted/play", "", "the command: says nothing; give rules, or a play with its when"),
        ("PUT /_scripted/play", "hello", "the command: Expected `object`, got `str`"),
        ("PUT /_scripted/play", "{play: {fault: boom}}", "the command: Invalid enum value 'boom' - at `$.play.fault`"),
        ("PUT /_scripted/play", "{when: {every: 0}}", "the command: Expected `int` >= 1 - at `$.when.every`"),
        ("PUT /_scripted/play", "{play: {exact: AAAA}}", "the command: Object contains unknown field `exact`"),
        ("PUT /_scripted/play", "{play: {say: 2020-13-45}}", "the command is not YAML: month must be in 1..12"),
        ("PUT /_scripted/play", "[" * 5000, "the command is not YAML: "),
        ("PUT /_scripted/play", b"\xff", "the command is not UTF-8"),
        ("PUT /_scripted/play", "#" * (MAX_COMMAND_BYTES + 1), "the command: has more than 1048576 bytes"),
        ("PUT /_scripted/play?times=1", "play: {}", "the command: Object contains unknown field `times`"),
        ("POST /_scripted/fault/boom", None, "the command: Invalid enum value 'boom'; the words are refuse, reset, "),
        ("POST /_scripted/fault/hang?times=0", None, "the command: Expected `int` >= 1 - at `$.times`"),
        ("POST /_scripted/fault/hang?times=x", None, "the command: Expected `int | null`, got `str` - at `$.times`"),
        ("POST /_scripted/fault/hang?model=a", None, "the command: Object contains unknown field `model`"),
        ("GET /_scripted/seen?last=101", None, "the command: Expected `int` <= 100 - at `$.last`"),
        ("POST /_scripted/models", "{}", "the command: Object missing required field `name`"),
        ("POST /_scripted/models", "{name: a, load_ms: -1}", "the command: Expected `float` >= 0.0 - at `$.load_ms`"),
    ],
)
async def test_a_bad_command_is_told_in_the_words_of_the_script_reader(
    request_line: str, body: Any, message: str
) -> None:
    async with asking() as ask:
        status, said = await ask(request_line, body)
        assert (status, list(said)) == (400, ["error"])
        assert said["error"].startswith(message)
        assert (await ask("GET /_scripted/"))[1]["commanded"] == 0
        assert await ask.chat() == 200


@pytest.mark.parametrize(
    ("request_line", "status", "message"),
    [
        ("GET /_scripted/no", 404, "there is no command /_scripted/no; GET /_scripted/ lists them"),
        ("POST /_scripted/fault", 404, "there is no command /_scripted/fault; GET /_scripted/ lists them"),
        ("POST /_scripted/fault/", 404, "there is no command /_scripted/fault/; GET /_scripted/ lists them"),
        ("GET /_scripted/seen/x", 404, "there is no command /_scripted/seen/x; GET /_scripted/ lists them"),
        ("GET /_scripted/play", 405, "/_scripted/play takes PUT and DELETE"),
        ("GET /_scripted/fault/hang", 405, "/_scripted/fault/hang takes POST"),
    ],
)
async def test_what_is_no_command(request_line: str, status: int, message: str) -> None:
    async with asking() as ask:
        assert await ask(request_line) == (status, {"error": message})
        assert ask.server.seen.requests == 0


async def test_the_key_is_demanded() -> None:
    async with asking(Script(key="secret")) as ask:
        assert await ask("POST /_scripted/fault/hang") == (401, {"error": "Incorrect API key provided"})
        assert (await ask("GET /_scripted/", Authorization="Bearer secret"))[1]["commanded"] == 0


async def test_every_answer_says_whose_it_is() -> None:
    async with asking(Script(name="gpu1", rules=(Rule(Play(say="I am {name}"), When(call=1)),))) as ask:
        said = [(await ask("POST /api/chat", CHAT))[1]["message"]["content"] for _ in range(2)]
        assert said == ["I am gpu1", "Hello from gpu1! This is a scripted answer: no model has read your question."]
        for request in ("GET /", "GET /nowhere", "GET /_scripted/", "GET /_scripted/nowhere"):
            assert (await ask.headers(request))["x-scripted-name"] == "gpu1"
    async with asking() as ask:
        assert (await ask("POST /api/chat", CHAT))[1]["message"]["content"] == SENTENCE
        assert "x-scripted-name" not in await ask.headers("GET /")


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("/_scripted", True),
        ("/_scripted/", True),
        ("/_scripted?x", True),
        ("/_scripted/seen?last=1", True),
        ("/_scripted2", False),
        ("/api/tags?/_scripted/", False),
        ("/", False),
    ],
)
def test_what_a_command_is(target: str, command: bool) -> None:
    assert is_command(target) is command

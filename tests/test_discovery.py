"""Who is there: names that are looked up, local servers that answer or do not."""

import asyncio
import json
import socket
from itertools import pairwise

import pytest
import structlog

from arriero.config import BackendConfig, Config, OllamaConfig, OpenAIConfig
from arriero.config.members import Host
from arriero.discovery import MAX_ROUNDS, Addresses, LocalServers, is_model_server, look_up, resolve
from arriero.errors import BackendUnreachable
from support.gateway import Played, http
from support.program import free_port
from support.raw_backend import Peer

GPU, LAB = Host("gpu.svc", 11434), Host("lab.svc", 80)


class Resolver:
    """A resolver that answers what it is told to."""

    def __init__(self, **answers: list[str] | Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: Host) -> list[str]:
        self.asked.append(host.name)
        answer = self.answers[host.name.partition(".")[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


# ---- names ---------------------------------------------------------------------------------------------------------


async def test_the_system_s_resolver_knows_localhost() -> None:
    found = await resolve(Host("localhost", 80))
    assert set(found) <= {"127.0.0.1", "::1"}
    assert found and list(found) == sorted(found, key=lambda address: ":" in address)


async def test_an_address_is_its_own_name() -> None:
    assert await resolve(Host("127.0.0.1", 80)) == ("127.0.0.1",)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "there is no such host"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "temporary failure in name res"),
        (TimeoutError(), "no answer within 5 s"),
        (OSError(), "unknown reason"),
    ],
)
async def test_a_look_up_that_fails_says_why(error: Exception, reason: str) -> None:
    with pytest.raises(BackendUnreachable, match=f"^gpu.svc cannot be looked up: {reason}"):
        await look_up(GPU, Resolver(gpu=error))


async def test_a_name_without_an_address_is_a_failure_too() -> None:
    with pytest.raises(BackendUnreachable, match=r"^gpu.svc cannot be looked up: it has no address$"):
        await look_up(GPU, Resolver(gpu=[]))


async def test_a_failed_look_up_takes_nothing_away_and_is_told_once() -> None:
    by = Resolver(gpu=["10.0.0.1", "10.0.0.2", "10.0.0.1"], lab=OSError(5, "Broken"))
    addresses = Addresses(by)
    with structlog.testing.capture_logs() as logs:
        await addresses.look([GPU, LAB])
        by.answers["gpu"] = OSError(5, "Broken")
        for _ in range(3):
            await addresses.look([GPU, LAB])
        assert addresses.known == {GPU: ("10.0.0.1", "10.0.0.2")}
        by.answers.update(gpu=["10.0.0.3"], lab=["10.0.0.9"])
        await addresses.look([GPU, LAB])
        assert addresses.known == {GPU: ("10.0.0.3",), LAB: ("10.0.0.9",)}
        by.answers["gpu"] = OSError(5, "Broken")
        await addresses.look([GPU])
    told = {"event": "backends cannot be discovered", "log_level": "warning"}
    assert logs == [
        {**told, "error": "lab.svc cannot be looked up: broken", "kept": 0},
        {**told, "error": "gpu.svc cannot be looked up: broken", "kept": 2},
        {**told, "error": "gpu.svc cannot be looked up: broken", "kept": 1},
    ]


# ---- local servers -------------------------------------------------------------------------------------------------


async def test_local_servers_that_answer_are_found() -> None:
    """One answers, one is away, one hangs, one is no model server."""

    async def hang(peer: Peer) -> None:
        await peer.gone()

    well = Played("ollama", http(b"{}"))
    stranger = Played("openai", http(b"{}"), models=b"<html>It works!</html>")
    hanging = Played("openai", hang)
    hanging.raw._scripts = (hang,)
    async with well.raw as one, stranger.raw as two, hanging.raw as three:
        candidates: list[BackendConfig] = [
            OllamaConfig(name="ollama", url=one.url),
            OpenAIConfig(name="web", url=f"{two.url}/v1"),
            OpenAIConfig(name="hangs", url=f"{three.url}/v1"),
            OllamaConfig(name="away", url=f"http://127.0.0.1:{free_port()}"),
        ]
        async with asyncio.timeout(5):
            heard = [await is_model_server(Config(), candidate) for candidate in candidates]
            assert heard == [True, False, False, None]
            servers = LocalServers()
            await servers.look(Config(), candidates)
        assert servers.found == {"ollama"}


async def test_who_is_found_is_asked_no_more_and_stays_found() -> None:
    played = Played("ollama", http(b"{}"))
    async with played.raw as raw:
        candidates = [OllamaConfig(name="ollama", url=raw.url)]
        servers = LocalServers()
        for _ in range(3):
            await servers.look(Config(), candidates)
        assert (servers.found, raw.connections) == ({"ollama"}, 1)
    await servers.look(Config(), candidates)
    assert servers.found == {"ollama"}


async def test_who_comes_later_is_found_at_the_next_look() -> None:
    port = free_port()
    servers, candidates = LocalServers(), [OllamaConfig(name="ollama", url=f"http://127.0.0.1:{port}")]
    for _ in range(10):
        await servers.look(Config(), candidates)
    assert servers.found == set()
    listing = json.dumps({"models": []}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(listing))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await servers.look(Config(), candidates)
    server.close()
    await server.wait_closed()
    assert servers.found == {"ollama"}


async def test_a_stranger_is_asked_less_and_less_often() -> None:
    stranger = Played("openai", http(b"{}"), models=b"<html>It works!</html>")
    async with stranger.raw as raw:
        candidates = [OpenAIConfig(name="web", url=f"{raw.url}/v1")]
        servers, asked = LocalServers(), []
        for round in range(40):
            before = raw.connections
            await servers.look(Config(), candidates)
            if raw.connections != before:
                asked.append(round)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses[:5] == [2, 3, 4, 5, 6]
    assert set(pauses[5:]) == {MAX_ROUNDS + 1}

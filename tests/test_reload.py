"""The configuration as it runs: what a changed file, a name with other addresses and a new local server do to it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict

from arriero.config import Config, ConfigError, Flags, Loaded, OllamaConfig, load
from arriero.config.members import Host
from arriero.discovery import Resolve, resolve
from arriero.errors import ArrieroError
from arriero.reload import STAYS, Change, Running, change_of, fixed_of, read_again
from support.engine import eventually
from support.gateway import Played, http
from support.program import free_port, write_config

A = {"name": "a", "kind": "ollama", "url": "http://127.0.0.1:9"}
B = {"name": "b", "kind": "ollama", "url": "http://127.0.0.1:19"}


def config(*backends: Mapping[str, Any], **sections: Any) -> Config:
    return Config.model_validate({"backends": list(backends), **sections})


class Folder:
    """A folder to run in, with a file that may change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "arriero.yaml"
        self.again = partial(load, Flags(), {}, path, path / "home")

    def write(self, *backends: Mapping[str, Any], **sections: Any) -> None:
        write_config(self.path / "new", backends, **sections).replace(self.file)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write(A)
    return made


@asynccontextmanager
async def running(
    loaded: Loaded, again: Callable[[], Loaded] | None = None, *, by: Resolve = resolve, every: float = 3600
) -> AsyncIterator[Running]:
    """What runs, asked to follow; nothing of it is left behind."""
    made = Running(loaded, again, by=by, every=every)
    others = asyncio.all_tasks()
    try:
        await made.start()
        yield made
    finally:
        async with asyncio.timeout(5):
            await made.close()
            await made.app.roster.close()
    await asyncio.sleep(0)
    left = [task.get_coro() for task in asyncio.all_tasks() - others]
    assert not [work for work in left if "/src/arriero/" in work.cr_code.co_filename]  # type: ignore[union-attr]


def names(made: Running) -> list[str]:
    """Those who are in the roster."""
    return list(made.app.roster.entries)


async def logged(work: Callable[[], Any], event: str) -> list[EventDict]:
    """What is logged until a line says this."""
    with structlog.testing.capture_logs() as logs:
        work()
        await eventually(lambda: any(line["event"] == event for line in logs))
        await asyncio.sleep(0)
    return [line for line in logs if line["event"] not in ("backend does not answer", "backend answers")]


# ---- what differs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (config(A), config(A), Change()),
        (config(A), config(A, B), Change(added=("b",))),
        (config(A, B), config(B), Change(removed=("a",))),
        (config(A), config({**A, "priority": 7}), Change(changed=("a",))),
        (config(A, B), config(B, A), Change(sections=("backends",))),
        (config(A), config(B, limits={"burst": 3}), Change(("b",), ("a",), (), ("limits",))),
        (config(routing={"aliases": {"x": ["y"]}}), config(), Change(sections=("routing",))),
    ],
)
def test_how_configurations_differ(before: Config, after: Config, change: Change) -> None:
    assert change_of(before, after) == change


def test_what_is_told_of_a_change_holds_names_and_no_values() -> None:
    before, after = config({**A, "api_key": "sk-1"}), config({**A, "api_key": "sk-2"}, B)
    assert change_of(before, after).told == {"added": ["b"], "changed": ["a"]}


def test_what_cannot_change_while_it_runs() -> None:
    after = config(
        server={"host": "::1", "port": 1, "cors_origins": "*"}, logging={"level": "debug"}, limits={"burst": 3}
    )
    assert fixed_of(config(), after) == ["server.host", "server.port", "logging.level"]


# ---- what is no configuration for a running one --------------------------------------------------------------------


def test_a_file_that_is_gone_is_named_even_where_there_is_another(folder: Folder) -> None:
    before = folder.again()
    folder.file.unlink()
    with pytest.raises(ConfigError, match=f"^{folder.file}: is gone$"):
        read_again(folder.again, before)


def test_an_empty_file_is_taken_for_one_that_is_being_written(folder: Folder) -> None:
    before = folder.again()
    folder.file.write_text("")
    with pytest.raises(ConfigError, match=f"^{folder.file}: is empty; write {{}} into it if nothing shall be set$"):
        read_again(folder.again, before)
    folder.file.write_text("{}")
    assert read_again(folder.again, before).file == folder.file


def test_what_is_no_file_is_not_read_twice(folder: Folder) -> None:
    device = Loaded(config=Config(), origins={}, file=Path("/dev/zero"))
    with pytest.raises(ConfigError, match=r"^/dev/zero: is no file, and cannot be read a second time$"):
        read_again(folder.again, device)


def test_a_file_that_comes_where_none_was_is_taken(tmp_path: Path) -> None:
    again = partial(load, Flags(), {}, tmp_path, tmp_path / "home")
    before = again()
    write_config(tmp_path / "arriero.yaml", [A])
    assert (before.file, read_again(again, before).file) == (None, tmp_path / "arriero.yaml")


# ---- a file that changes -------------------------------------------------------------------------------------------


async def test_a_changed_file_is_taken_up(folder: Folder) -> None:
    async with running(folder.again(), folder.again) as made:
        a = made.app.roster.entries["a"]
        folder.write(B, {**A, "priority": 7}, routing={"aliases": {"fast": ["tiny"]}})
        lines = await logged(made.ask, "the configuration has changed")
        assert lines == [
            {
                "event": "the configuration has changed",
                "log_level": "info",
                "file": str(folder.file),
                "added": ["b"],
                "changed": ["a"],
                "sections": ["routing"],
            }
        ]
        assert (names(made), made.app.roster.entries["a"] is a, a.seat.priority) == (["b", "a"], True, 7)
        assert list(made.app.roster.names.aliases) == ["fast"]


async def test_the_watcher_asks_by_itself(folder: Folder) -> None:
    async with running(folder.again(), folder.again) as made:
        await asyncio.sleep(0.3)
        folder.write(B)
        await eventually(lambda: names(made) == ["b"])
        (folder.path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:29/v1\n")
        await eventually(lambda: names(made) == ["b", "openai"])


async def test_a_file_that_was_asked_for_is_not_read_once_more_by_the_watcher(folder: Folder) -> None:
    readings = 0

    def again() -> Loaded:
        nonlocal readings
        readings += 1
        return folder.again()

    async with running(folder.again(), again) as made:
        await asyncio.sleep(0.3)
        folder.write(B)
        made.ask()
        await eventually(lambda: names(made) == ["b"])
        await asyncio.sleep(0.6)
        assert readings == 1
        folder.write(A)
        await eventually(lambda: names(made) == ["a"])
        assert readings == 2


async def test_watching_is_switched_off_and_on_by_the_file(folder: Folder) -> None:
    folder.write(A, server={"watch": False})
    async with running(folder.again(), folder.again) as made:
        await asyncio.sleep(0.3)
        folder.write(A, B, server={"watch": True})
        await asyncio.sleep(0.6)
        assert names(made) == ["a"]
        made.ask()
        await eventually(lambda: names(made) == ["a", "b"])
        await asyncio.sleep(0.3)
        folder.write(B, server={"watch": False})
        await eventually(lambda: names(made) == ["b"])
        await eventually(lambda: not made._watches)
        folder.write(A)
        await asyncio.sleep(0.6)
        assert names(made) == ["b"]


async def test_a_bad_file_is_refused_with_every_problem_and_all_stays(folder: Folder) -> None:
    async with running(folder.again(), folder.again) as made:
        before, table = made.config, made.app.table
        folder.file.write_text("server: {prot: 1}\nrouting: {policy: fast}\n")
        lines = await logged(made.ask, STAYS)
        assert [(line["event"], line["log_level"], line["problem"].split(": ")[:2]) for line in lines] == [
            (STAYS, "error", [f"{folder.file}:1", "server.prot"]),
            (STAYS, "error", [f"{folder.file}:2", "routing.policy"]),
        ]
        assert (made.config, names(made), made.app.table is table) == (before, ["a"], True)
        folder.write(B)
        made.ask()
        await eventually(lambda: names(made) == ["b"])


async def test_a_backend_that_cannot_be_built_refuses_the_whole(folder: Folder) -> None:
    wrong = {"name": "w", "kind": "openai", "url": "https://127.0.0.1:1/v1", "tls": {"ca_file": "/nowhere.pem"}}
    async with running(folder.again(), folder.again) as made:
        folder.write(B, wrong)
        (line,) = await logged(made.ask, STAYS)
        assert line["problem"].startswith("backend w: ca_file '/nowhere.pem' cannot be read")
        assert names(made) == ["a"]


async def test_a_file_that_is_the_same_changes_nothing(folder: Folder) -> None:
    async with running(folder.again(), folder.again) as made:
        table = made.app.table
        lines = await logged(made.ask, "the configuration was read again and is the same")
        assert (len(lines), made.app.table is table) == (1, True)


async def test_what_needs_a_restart_is_named_and_does_not_change(folder: Folder) -> None:
    async with running(folder.again(), folder.again) as made:
        folder.write(A, server={"host": "0.0.0.0", "port": 1, "shutdown_seconds": 3})
        lines = await logged(made.ask, "restart arriero for these settings: they do not change while it runs")
        assert [(line["log_level"], line.get("settings"), line.get("sections")) for line in lines] == [
            ("info", None, ["server"]),
            ("warning", ["server.host", "server.port"], None),
        ]
        server = made.config.server
        assert (server.host, server.port, server.shutdown_seconds) == ("127.0.0.1", 11434, 3.0)
        # Who may ask follows where arriero listens in truth.
        assert made.app.access.check("GET", ((b"host", b"evil.example"),)).status == 403


async def test_a_warning_is_told_when_it_is_new(folder: Folder) -> None:
    folder.write(A, server={"workers": 2})
    async with running(folder.again(), folder.again) as made:
        folder.write(A, server={"workers": 2}, routing={"aliases": {"a": ["b"], "b": ["c"]}})
        lines = await logged(made.ask, "the configuration has changed")
    told = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert [text.partition(";")[0] for text in told] == ["routing.aliases.a: b is an alias"]


async def test_readings_do_not_overlap_and_what_changes_meanwhile_is_read_after(folder: Folder) -> None:
    inside, most, readings = 0, 0, 0
    go_on = threading.Event()

    def again() -> Loaded:
        nonlocal inside, most, readings
        inside, readings = inside + 1, readings + 1
        most = max(most, inside)
        loaded = folder.again()
        assert go_on.wait(5)
        inside -= 1
        return loaded

    async with running(folder.again(), again) as made:
        made.ask()
        await eventually(lambda: readings == 1)
        folder.write(B)  # too late for the reading that is on its way
        for _ in range(5):
            made.ask()
            await asyncio.sleep(0)
        go_on.set()
        await eventually(lambda: names(made) == ["b"])
        assert (most, readings <= 3) == (1, True)


async def test_a_fault_in_one_reading_does_not_end_the_readings(folder: Folder) -> None:
    faults = [KeyError("oh")]

    def again() -> Loaded:
        if faults:
            raise faults.pop()
        return folder.again()

    async with running(folder.again(), again) as made:
        (line,) = await logged(made.ask, STAYS)
        assert isinstance(line["exc_info"], KeyError)
        folder.write(B)
        made.ask()
        await eventually(lambda: names(made) == ["b"])


async def test_a_file_without_a_reader_stays_as_it_is(folder: Folder) -> None:
    async with running(folder.again()) as made:
        made.ask()
        folder.write(B)
        await asyncio.sleep(0.05)
        assert names(made) == ["a"]


# ---- names ---------------------------------------------------------------------------------------------------------


class Resolver:
    """A resolver that answers what it is told to."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def __call__(self, host: Host) -> tuple[str, ...]:
        self.asked += 1
        if not self.addresses:
            raise OSError(5, "Broken")
        return self.addresses


GPU = {"name": "gpu", "kind": "ollama", "url": "http://gpu.svc:11434", "discover": "dns"}


async def test_members_come_and_go_with_the_addresses_of_the_name() -> None:
    by = Resolver("10.0.0.1", "10.0.0.2")
    async with running(Loaded(config=config(GPU, A), origins={}), by=by, every=0.02) as made:
        assert names(made) == ["gpu-10.0.0.1", "gpu-10.0.0.2", "a"]
        kept = made.app.roster.entries["gpu-10.0.0.2"]
        assert kept.backend.where == "http://gpu.svc:11434 at 10.0.0.2"

        def move() -> None:
            by.addresses = ("10.0.0.2", "fd00::1")

        (line,) = await logged(move, "backends have come or gone")
        assert (line["added"], line["removed"]) == (["gpu-fd00--1"], ["gpu-10.0.0.1"])
        assert names(made) == ["gpu-10.0.0.2", "gpu-fd00--1", "a"]
        assert made.app.roster.entries["gpu-10.0.0.2"] is kept


async def test_a_name_that_cannot_be_looked_up_keeps_its_members() -> None:
    by = Resolver("10.0.0.1")
    async with running(Loaded(config=config(GPU), origins={}), by=by, every=0.02) as made:
        by.addresses = ()
        asked = by.asked
        await eventually(lambda: by.asked > asked + 3)
        assert names(made) == ["gpu-10.0.0.1"]


async def test_a_name_that_does_not_resolve_at_the_start_has_no_members_until_it_does() -> None:
    by = Resolver()
    async with running(Loaded(config=config(GPU, A), origins={}), by=by, every=0.02) as made:
        assert names(made) == ["a"]
        by.addresses = ("10.0.0.1",)
        await eventually(lambda: names(made) == ["gpu-10.0.0.1", "a"])


async def test_a_resolver_that_hangs_does_not_hold_up_the_start() -> None:
    told = asyncio.Event()

    async def slow(host: Host) -> tuple[str, ...]:
        await told.wait()
        return ("10.0.0.1",)

    async with asyncio.timeout(4):
        async with running(Loaded(config=config(GPU, A), origins={}), by=slow, every=0.02) as made:
            assert names(made) == ["a"]
            told.set()
            await eventually(lambda: names(made) == ["gpu-10.0.0.1", "a"])


async def test_a_reading_looks_names_up_at_once(folder: Folder) -> None:
    by = Resolver("10.0.0.1")
    async with running(folder.again(), folder.again, by=by) as made:
        folder.write(GPU)
        made.ask()
        await eventually(lambda: names(made) == ["gpu-10.0.0.1"])
        by.addresses = ("10.0.0.9",)
        made.ask()
        await eventually(lambda: names(made) == ["gpu-10.0.0.9"])


async def test_a_real_name() -> None:
    """`localhost` has one address or two; the server listens on the first."""
    played = Played("ollama", http(b"{}"))
    async with played.raw as raw:
        here = {**GPU, "url": f"http://localhost:{raw.port}", "check_interval": 0}
        async with running(Loaded(config=config(here), origins={})) as made:
            assert set(names(made)) <= {"gpu-127.0.0.1", "gpu---1"}
            await made.app.roster.start()
            assert [offer.backend for offer in made.app.roster.names.offers] == ["gpu-127.0.0.1"]


async def test_a_member_that_cannot_be_built_is_an_error_at_the_start() -> None:
    wrong = {**GPU, "url": "https://gpu.svc", "tls": {"ca_file": "/nowhere.pem"}}
    made = Running(Loaded(config=config(wrong), origins={}), by=Resolver("10.0.0.1"))
    with pytest.raises(ArrieroError, match=r"^backend gpu-10.0.0.1: ca_file '/nowhere.pem' cannot be read"):
        await made.start()
    await made.close()


async def test_a_member_that_cannot_be_built_later_is_told_once() -> None:
    wrong = {**GPU, "url": "https://gpu.svc", "tls": {"ca_file": "/nowhere.pem"}}
    by = Resolver()
    async with running(Loaded(config=config(wrong, A), origins={}), by=by, every=0.02) as made:
        with structlog.testing.capture_logs() as logs:
            by.addresses = ("10.0.0.1",)
            asked = by.asked
            await eventually(lambda: by.asked > asked + 4)
        assert [line["event"] for line in logs] == [STAYS]
        assert names(made) == ["a"]


# ---- local servers -------------------------------------------------------------------------------------------------


async def test_a_local_server_that_answers_is_taken_up_and_stays() -> None:
    port = free_port()
    candidate = OllamaConfig(name="ollama", url=f"http://127.0.0.1:{port}")
    loaded = Loaded(config=config(A), origins={}, candidates=(candidate,))
    listing = http(json.dumps({"models": []}).encode())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(listing)
        await writer.drain()
        writer.close()

    async with running(loaded, every=0.02) as made:
        assert names(made) == ["a"]
        server = await asyncio.start_server(answer, "127.0.0.1", port)
        await eventually(lambda: names(made) == ["a", "ollama"])
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.1)
        assert names(made) == ["a", "ollama"]


async def test_one_that_is_named_in_the_file_meanwhile_is_no_longer_found_beside_it(tmp_path: Path) -> None:
    played = Played("ollama", http(b"{}"))
    async with played.raw as raw:
        candidate = OllamaConfig(name="ollama", url=raw.url)
        named = OllamaConfig(name="mine", url=raw.url)
        loadeds = [
            Loaded(config=Config(), origins={}, candidates=(candidate,)),
            Loaded(config=Config(backends=(named,)), origins={}),
        ]
        async with running(loadeds[0], lambda: loadeds[1]) as made:
            assert names(made) == ["ollama"]
            made.ask()
            await eventually(lambda: names(made) == ["mine"])


async def test_arriero_does_not_find_itself_where_it_listens_until_a_restart() -> None:
    """The file names another port now, so that the candidates have arriero's own: it is left alone."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    candidate = OllamaConfig(name="ollama", url=f"http://127.0.0.1:{port}")
    before = Loaded(config=config(server={"port": port}), origins={})
    after = Loaded(config=config(server={"port": port + 1}), origins={}, candidates=(candidate,))
    async with running(before, lambda: after, every=0.02) as made:
        lines = await logged(made.ask, "restart arriero for these settings: they do not change while it runs")
        await asyncio.sleep(0.1)
        assert (len(lines), names(made), asked) == (2, [], 0)
    server.close()
    await server.wait_closed()

"""`arriero pull` as somebody types it: by a running arriero and by itself, on a terminal and not, and when it fails.

The registry is a scripted one on loopback; the program, its store and the terminal are real.
"""

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from support.engine import needs_engine
from support.gguf import scripted
from support.program import Program, command, environment, free_port, program, until
from support.registry import ScriptedRegistry, digest_of
from support.store import check_store, models
from support.terminal import on_terminal, screen

BIG = random.Random(5).randbytes(3_000_000)
SENTENCE = "Hello there, traveller."
KEPT = "What has come is kept: the same command goes on from there."


class Person:
    """Somebody with a home, a registry, and no arriero that runs unless one is started."""

    def __init__(self, folder: Path, registry: ScriptedRegistry) -> None:
        self.folder = folder
        self.registry = registry
        self.home = folder / "home"
        self.store = self.home / ".arriero" / "models"
        self.port = free_port()

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        variables = {"OLLAMA_HOST": f"127.0.0.1:{self.port}", "ARRIERO_DISCOVER": "false", **more}
        return environment(self.folder, variables)

    async def type(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a command; the registry's port is written as PORT."""
        process = await asyncio.create_subprocess_exec(
            *command(*arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env=self.environ(variables),
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        return process.returncode, self._read(out.decode()), self._read(err.decode())

    async def pull(self, model: str, *flags: str, **variables: str) -> tuple[int, str, str]:
        return await self.type("pull", f"{self.registry.host}/library/{model}", "--insecure", *flags, **variables)

    async def watch(self, model: str, *, columns: int = 80, interrupt_at: str | None = None) -> tuple[int, list[str]]:
        """Exit status, and what stands on the terminal in the end."""
        status, said = await asyncio.to_thread(
            on_terminal,
            command("pull", f"{self.registry.host}/library/{model}", "--insecure"),
            cwd=self.folder,
            environ=self.environ({}),
            columns=columns,
            interrupt_at=interrupt_at,
        )
        assert said.count("\x1b[?25l") == said.count("\x1b[?25h"), "the cursor is left hidden"
        return status, screen(self._read(said))

    def brought(self) -> int:
        """How many bytes of the big blob the registry was asked for since the last time."""
        asked = 0
        for request in self.registry.told("GET", f"/blobs/{digest_of(BIG)}"):
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
            asked += int(found[2]) - int(found[1]) + 1 if found else len(BIG)
        self.registry.requests.clear()
        return asked

    def slowly(self) -> None:
        """The big blob takes seconds."""
        self.registry.fault(f"/blobs/{digest_of(BIG)}", "GET", times=None, pace=0.02, piece=16384)

    def _read(self, text: str) -> str:
        return text.replace(str(self.registry.port), "PORT")


@pytest_asyncio.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    async with ScriptedRegistry() as registry:
        model = scripted(tmp_path / "hello.gguf", SENTENCE)
        registry.hold("library/tiny:latest", model, config=b'{"model_format":"gguf","model_family":"llama"}\n')
        registry.hold("library/big:latest", BIG)
        yield Person(tmp_path, registry)


BIG_12, CONFIG_12 = digest_of(BIG)[7:19], digest_of(b"{}\n")[7:19]
BY_ITSELF = "arriero is not running here: pulling into ~/.arriero/models\n"
ASK = 'arriero ask 127.0.0.1:PORT/library/big "Why is the sky blue?"'


# ---- by itself ------------------------------------------------------------------------------------------------------


async def test_where_no_arriero_runs_it_comes_into_the_store(person: Person) -> None:
    status, out, err = await person.pull("big")
    assert (status, err) == (0, BY_ITSELF)
    lines = out.splitlines()
    assert (lines[0], lines[-5:]) == (
        "pulling manifest",
        [
            f"pulling {CONFIG_12}: 3 B",
            "verifying sha256 digest",
            "writing manifest",
            "success",
            f"Try:  arriero serve, and in another terminal:  {ASK}",
        ],
    )
    assert f"pulling {BIG_12}: 3.0 MB" in lines
    assert list(models(person.store)) == [f"{person.registry.host}/library/big/latest"]
    check_store(person.store)
    assert person.brought() == len(BIG)
    again = await person.pull("big")
    assert (again[0], again[1].splitlines()[0], again[1].splitlines()[-2], person.brought()) == (
        0,
        "pulling manifest",
        "success",
        0,
    )


async def test_on_a_terminal_there_are_bars(person: Person) -> None:
    status, shown = await person.watch("big")
    assert (status, shown) == (
        0,
        [
            BY_ITSELF.strip(),
            "pulling manifest",
            f"pulling {BIG_12} 100% {'━' * 16} 3.0 MB",
            f"pulling {CONFIG_12} 100% {'━' * 16}    3 B",
            "verifying sha256 digest",
            "writing manifest",
            "success",
            f"Try:  arriero serve, and in another terminal:  {ASK}",
            "",
        ],
    )


async def test_ctrl_c_keeps_what_has_come(person: Person) -> None:
    person.slowly()
    status, shown = await person.watch("big", interrupt_at=rf"{BIG_12}.* [2-9]\d%")
    assert status == 130
    assert shown[-2:] == [f"Stopped. {KEPT}", ""]
    assert re.match(rf"pulling {BIG_12} \d\d% ━.*/3\.0 MB", shown[2])
    assert person.brought() == len(BIG)
    check_store(person.store)
    person.registry.well()
    assert (await person.pull("big"))[0] == 0
    assert 0 < person.brought() < 0.85 * len(BIG)


@pytest.mark.parametrize(
    ("name", "flags", "variables", "told"),
    [
        (
            "HOST/library/nope",
            ["--insecure"],
            {},
            f"{BY_ITSELF}arriero: pull model manifest: file does not exist\n"
            "  The registry has no such model: look at the name and its tag.\n",
        ),
        (
            "HOST/library/tiny",
            [],
            {},
            f"{BY_ITSELF}arriero: pull model manifest: cannot reach https://127.0.0.1:PORT: TLS failed (...); a "
            "registry without TLS is asked only with `insecure: true`\n  Here that is:  --insecure\n",
        ),
        (
            "127.0.0.1:9/library/tiny",
            ["--insecure"],
            {},
            f"{BY_ITSELF}arriero: pull model manifest: cannot reach http://127.0.0.1:9: connection refused\n"
            "  Is there a network? A proxy is taken from the variable HTTPS_PROXY.\n",
        ),
        (
            "a\x1b[2Jb",
            [],
            {},
            f"{BY_ITSELF}arriero: invalid model name\n"
            "  A name is MODEL, MODEL:TAG, NAMESPACE/MODEL:TAG or HOST/NAMESPACE/MODEL:TAG.\n",
        ),
        ("x:cloud", [], {}, f"{BY_ITSELF}arriero: ollama cloud is disabled: remote model is unavailable\n"),
        (
            "HOST/library/tiny",
            ["--insecure"],
            {"ARRIERO_READ_ONLY": "1"},
            "arriero: no backend of kind engine is configured whose store may be written (read_only is its setting)\n",
        ),
        (
            "HOST/library/tiny",
            ["--insecure"],
            {"ARRIERO_CONFIG": "none.yaml"},
            "arriero: no backend of kind engine is configured whose store may be written (read_only is its setting)\n",
        ),
        (
            "HOST/library/tiny",
            ["--insecure"],
            {"OLLAMA_MODELS": "none.yaml"},
            "arriero is not running here: pulling into FOLDER/none.yaml\n"
            "arriero: the model store cannot be written: a file stands where a directory has to be\n",
        ),
        (
            "HOST/library/tiny",
            ["--insecure", "--host", "127.0.0.1:9"],
            {},
            "arriero: nothing listens at http://127.0.0.1:9 (Connection refused).\n"
            "  Start arriero in another terminal:  arriero serve\n",
        ),
    ],
)
async def test_what_cannot_be_is_told_in_words(
    person: Person, name: str, flags: list[str], variables: dict[str, str], told: str
) -> None:
    (person.folder / "none.yaml").write_text("backends: []")
    status, _, err = await person.type("pull", name.replace("HOST", person.registry.host), *flags, **variables)
    assert status == 1
    assert re.sub(r"(?<=TLS failed \().*?(?=\);)", "...", err.replace(str(person.folder), "FOLDER")) == told
    assert not person.store.exists() or models(person.store) == {}


async def test_who_works_on_another_machine_gets_nothing_here(person: Person) -> None:
    status, out, err = await person.pull("tiny", OLLAMA_HOST="nowhere.invalid:11434")
    assert (status, out) == (1, "")
    assert err.startswith("arriero: nothing listens at http://nowhere.invalid:11434 (")
    assert not person.store.exists()


# ---- by a running arriero -------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(person: Person) -> AsyncIterator[Program]:
    """A running arriero, which the commands find, with a store that is not the one of their configuration."""
    backend = {"name": "local", "kind": "engine", "models_dir": person.folder / "served", "demo_model": False}
    with ExitStack() as stack:
        folder = person.folder / f"serve-{person.port}"
        running = await asyncio.to_thread(stack.enter_context, program(folder, [backend], wait=False))
        person.port = running.port
        try:
            yield running
        finally:
            await asyncio.to_thread(stack.close)


async def test_a_server_that_dies_is_told_and_the_next_one_goes_on(person: Person) -> None:
    async with serving(person) as running:
        person.slowly()
        pulling = asyncio.create_task(person.pull("big"))
        await asyncio.to_thread(until, lambda: far(person.folder / "served") > 600_000)
        running.process.kill()
        status, out, err = await pulling
        assert (status, out.splitlines()[0]) == (1, "pulling manifest")
        assert err in (
            f"arriero: the answer was cut off\n  {KEPT}\n",
            f"arriero: the connection to {running.url} broke (ConnectionResetError)\n  {KEPT}\n",
        )
    person.brought()
    person.registry.well()
    async with serving(person):
        status, out, err = await person.pull("big")
        assert (status, err, out.splitlines()[-1]) == (0, "", f"Try:  {ASK}")
        assert 0 < person.brought() < len(BIG)
        check_store(person.folder / "served")


def far(store: Path) -> int:
    """How many bytes of an unfinished download are noted as safe."""
    found = [json.loads(path.read_text() or "{}") for path in store.glob("blobs/*-partial-*")]
    return sum(part.get("Completed", 0) for part in found)


async def test_ctrl_c_stops_what_the_server_does(person: Person) -> None:
    async with serving(person):
        person.slowly()
        status, shown = await person.watch("big", interrupt_at=rf"{BIG_12}.* [2-9]\d%")
        assert (status, shown[-2:]) == (130, [f"Stopped. {KEPT}", ""])
        person.brought()
        person.registry.well()
        assert (await person.pull("big"))[0] == 0
        assert 0 < person.brought() < 0.85 * len(BIG)


@needs_engine
async def test_from_an_empty_store_to_an_answer(person: Person) -> None:
    store = person.folder / "served"
    async with serving(person) as running:
        use = f"arriero pull NAME --host 127.0.0.1:{running.port}"
        assert f"Store {store}: empty; to fill it:  {use}\n" in running.printed
        status, shown = await person.watch("tiny")
        use = 'arriero ask 127.0.0.1:PORT/library/tiny "Why is the sky blue?"'
        assert (status, shown[-3:]) == (0, ["success", f"Try:  {use}", ""])
        name = f"{person.registry.host}/library/tiny"
        assert await person.type("ask", name, "Why is the sky blue?") == (0, f"{SENTENCE}\n", "")
        assert not person.store.exists()
    size = sum(path.stat().st_size for path in (store / "blobs").iterdir())
    async with serving(person) as running:
        assert f"Store {store}: 1 model, {size / 1000:.0f} KB\n" in running.printed

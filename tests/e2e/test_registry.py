"""Models between two stores over a registry: Debian's docker-registry as it is, and a scripted one that fails.

What the programs make of it, over HTTP and with the `ollama` client, is tested elsewhere; here are the functions.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from arriero.backends.engine.progress import Frame
from arriero.backends.engine.registry.download import Downloads
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.pull import pull
from arriero.backends.engine.registry.push import push
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.manifest import (
    CONFIG_TYPE,
    LICENSE,
    MODEL,
    TEMPLATE,
    Layer,
    Manifest,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name
from arriero.errors import ArrieroError, RegistryError, StoreError
from support.cuttable import Wire
from support.docker_registry import DockerRegistry, running_docker_registry
from support.raw_backend import eventually
from support.registry import ScriptedRegistry, TokenAuth, digest_of
from support.store import check_store

SIZES = Sizes(smallest=300_000)
WEIGHTS = random.Random(5).randbytes(1_000_000)
"""Four parts."""
TEXT = b"{{ .Prompt }}"
CONFIG = b'{"model_format":"gguf"}\n'


class Machine:
    """One store and its ways to registries. Pauses take no time, and are written down."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.slept: list[float] = []
        self.on_sleep: Callable[[], object] = bool
        self.registries = Registries(user_agent="ollama/0.1 (test)")
        self.downloads = Downloads(sizes=SIZES, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()

    async def close(self) -> None:
        await self.downloads.close()
        await self.registries.close()

    def layer(self, data: bytes, kind: str = MODEL, *, origin: str = "") -> Layer:
        return Layer(kind, self.store.put(data)[0], len(data), origin)

    def make(self, name: Name, *layers: Layer) -> bytes:
        """A model of these layers, or of weights and a template; the bytes of its manifest."""
        made = layers or (self.layer(WEIGHTS), self.layer(TEXT, TEMPLATE))
        data = write_manifest(Manifest(self.layer(CONFIG, CONFIG_TYPE), made))
        self.store.write(name, data)
        return data

    async def push(self, name: Name) -> list[Frame]:
        frames: list[Frame] = []
        await push(
            self.store,
            self.registries,
            name,
            insecure=True,
            report=frames.append,
            sizes=SIZES,
            sleep=self.sleep,
        )
        return frames

    async def pull(self, name: Name) -> list[Frame]:
        frames: list[Frame] = []
        await pull(self.store, self.registries, self.downloads, name, insecure=True, report=frames.append)
        return frames

    def files(self) -> dict[str, bytes]:
        """What the store holds: paths and bytes, without its lock."""
        root = self.store.root
        paths = (path for path in root.rglob("*") if path.is_file() and path.name != "arriero.lock")
        return {str(path.relative_to(root)): path.read_bytes() for path in paths}

    def check(self) -> None:
        """Whatever happened, the store is whole."""
        if self.store.root.exists():
            check_store(self.store.root)


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path / "here")
    yield machine
    await machine.close()
    machine.check()


@pytest_asyncio.fixture
async def there(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path / "there")
    yield machine
    await machine.close()
    machine.check()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_docker_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest_asyncio.fixture
async def wire(registry: DockerRegistry) -> AsyncIterator[Wire]:
    async with Wire(registry.port) as found:
        yield found


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[ScriptedRegistry]:
    async with ScriptedRegistry() as found:
        yield found


def told(frames: list[Frame]) -> list[str]:
    """The words of the frames, each once where it comes several times in a row."""
    words = [frame.status for frame in frames]
    return [word for place, word in enumerate(words) if not place or words[place - 1] != word]


def word(data: bytes) -> str:
    return digest_of(data)[7:19]


async def refusal(work: Awaitable[Any]) -> ArrieroError:
    with pytest.raises(ArrieroError) as raised:
        await work
    return raised.value


# ---- the real registry ----------------------------------------------------------------------------------------------


async def test_a_model_comes_back_as_it_went(registry: DockerRegistry, here: Machine) -> None:
    name = registry.name("there-and-back")
    manifest = here.make(name)
    before = here.files()
    pushed = await here.push(name)
    assert told(pushed) == [
        "retrieving manifest",
        f"pushing {word(WEIGHTS)}",
        f"pushing {word(TEXT)}",
        f"pushing {word(CONFIG)}",
        "pushing manifest",
        "success",
    ]
    assert registry.manifest(name) == manifest
    assert registry.blob(name, digest_of(WEIGHTS)) == digest_of(WEIGHTS)
    here.store.delete(name)
    assert here.files() == {}
    pulled = await here.pull(name)
    assert told(pulled) == [
        "pulling manifest",
        f"pulling {word(WEIGHTS)}",
        f"pulling {word(TEXT)}",
        f"pulling {word(CONFIG)}",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert here.files() == before
    assert here.slept == []


async def test_the_last_frame_of_each_blob_is_full(registry: DockerRegistry, here: Machine) -> None:
    name = registry.name("frames")
    here.make(name)
    for frames in (await here.push(name), await here.push(name)):
        last = {frame.digest: frame for frame in frames if frame.digest}
        assert [(frame.total, frame.completed) for frame in last.values()] == [
            (len(data), len(data)) for data in (WEIGHTS, TEXT, CONFIG)
        ]


async def test_the_requests_of_a_push_are_these(registry: DockerRegistry, here: Machine) -> None:
    name = registry.name("requests")
    here.make(name, here.layer(WEIGHTS))
    await here.push(name)
    root = "/v2/library/requests"
    assert [line for line in registry.requests if root in line] == [
        f"HEAD {root}/blobs/{word(WEIGHTS)} 404",
        f"POST {root}/blobs/uploads/ 202",
        *[f"PATCH {root}/blobs/uploads/* 202"] * 4,
        f"PUT {root}/blobs/uploads/*?digest={word(WEIGHTS)} 201",
        f"HEAD {root}/blobs/{word(CONFIG)} 404",
        f"POST {root}/blobs/uploads/ 202",
        f"PATCH {root}/blobs/uploads/* 202",
        f"PUT {root}/blobs/uploads/*?digest={word(CONFIG)} 201",
        f"PUT {root}/manifests/latest 201",
    ]


async def test_a_second_tag_of_the_same_blobs_sends_its_manifest_alone(registry: DockerRegistry, here: Machine) -> None:
    first, second = registry.name("tags", "one"), registry.name("tags", "two")
    here.make(first)
    await here.push(first)
    before = len(registry.requests)
    here.store.copy(first, second)
    frames = await here.push(second)
    assert [(frame.total, frame.completed) for frame in frames if frame.digest] == [
        (len(data), len(data)) for data in (WEIGHTS, TEXT, CONFIG)
    ]
    root = "/v2/library/tags"
    assert registry.requests[before:] == [
        f"HEAD {root}/blobs/{word(WEIGHTS)} 200",
        f"HEAD {root}/blobs/{word(TEXT)} 200",
        f"HEAD {root}/blobs/{word(CONFIG)} 200",
        f"PUT {root}/manifests/two 201",
    ]
    assert registry.manifest(second) == registry.manifest(first)


async def test_a_layer_of_another_model_is_mounted(registry: DockerRegistry, here: Machine) -> None:
    base, child = registry.name("base"), registry.name("child", namespace="me")
    here.make(base)
    await here.push(base)
    here.make(child, here.layer(WEIGHTS, origin=base.full), here.layer(b"a license", LICENSE))
    before = len(registry.requests)
    await here.push(child)
    root = "/v2/me/child"
    assert registry.requests[before : before + 3] == [
        f"HEAD {root}/blobs/{word(WEIGHTS)} 404",
        f"POST {root}/blobs/uploads/?from=library/base&mount={word(WEIGHTS)} 201",
        f"HEAD {root}/blobs/{word(b'a license')} 404",
    ]
    assert registry.blob(child, digest_of(WEIGHTS)) == digest_of(WEIGHTS)


async def test_two_machines_pull_what_a_third_has_pushed_at_once(
    registry: DockerRegistry, here: Machine, there: Machine
) -> None:
    names = [registry.name("shared", tag) for tag in ("a", "b", "c")]
    for name in names:
        here.make(name)
    await asyncio.gather(*(here.push(name) for name in names))
    await asyncio.gather(*(there.pull(name) for name in names))
    assert there.files() == here.files()


async def test_an_unknown_model(registry: DockerRegistry, there: Machine) -> None:
    error = await refusal(there.pull(registry.name("nosuch")))
    assert isinstance(error, RegistryError)
    assert error.message == "pull model manifest: file does not exist"


async def test_a_damaged_blob_is_found_out_by_the_registry(registry: DockerRegistry, here: Machine) -> None:
    name = registry.name("damaged")
    here.make(name)
    path = here.store.blob(digest_of(TEXT))
    path.write_bytes(TEXT[::-1])
    error = await refusal(here.push(name))
    path.write_bytes(TEXT)
    assert isinstance(error, StoreError)
    assert error.message.startswith(f"the registry finds that the bytes of {digest_of(TEXT)} are other ones")
    assert registry.manifest(name) is None


# ---- a wire that is cut ---------------------------------------------------------------------------------------------


async def test_a_push_that_is_cut_in_a_part_arrives(registry: DockerRegistry, wire: Wire, here: Machine) -> None:
    name = Name("cut-up", host=wire.host)
    manifest = here.make(name)
    wire.cut_up = 500_000
    await here.push(name)
    # The registry, which gives up what was cut, may not have seen it yet when it is asked.
    assert (wire.cuts, here.slept in ([1.0], [1.0, 2.0])) == (1, True)
    assert registry.manifest(name) == manifest
    assert registry.blob(name, digest_of(WEIGHTS)) == digest_of(WEIGHTS)


async def test_a_push_that_is_cut_between_parts_goes_on_there(
    registry: DockerRegistry, wire: Wire, here: Machine
) -> None:
    name = Name("cut-between", host=wire.host)
    manifest = here.make(name)
    wire.cut_before = b"content-range: 600000-899999"
    await here.push(name)
    assert (wire.cuts, here.slept) == (1, [1.0])
    root = "/v2/library/cut-between/blobs"
    told = [line for line in registry.requests if root in line]
    assert told[:8] == [
        f"HEAD {root}/{word(WEIGHTS)} 404",
        f"POST {root}/uploads/ 202",
        f"PATCH {root}/uploads/* 202",
        f"PATCH {root}/uploads/* 202",
        f"GET {root}/uploads/* 204",
        f"PATCH {root}/uploads/* 202",
        f"PATCH {root}/uploads/* 202",
        f"PUT {root}/uploads/*?digest={word(WEIGHTS)} 201",
    ]
    assert registry.manifest(name) == manifest


async def test_a_push_outlives_the_registry(tmp_path: Path, here: Machine) -> None:
    with running_docker_registry(tmp_path / "mortal") as mortal:
        async with Wire(mortal.port) as wire:
            name = Name("restart", host=wire.host)
            manifest = here.make(name)
            wire.cut_before = b"content-range: 300000-599999"

            def restart() -> None:
                if len(here.slept) == 1:
                    mortal.kill()
                if len(here.slept) == 3:
                    mortal.start()

            here.on_sleep = restart
            await here.push(name)
            assert here.slept == [1.0, 2.0, 4.0]
            assert mortal.manifest(name) == manifest


async def test_a_pull_that_is_cut_goes_on_where_it_was(wire: Wire, here: Machine, there: Machine) -> None:
    name = Name("cut-down", host=wire.host)
    here.make(name)
    await here.push(name)
    wire.new_count()
    wire.cut_down = 700_000
    await there.pull(name)
    assert wire.cuts == 1
    assert there.files() == here.files()


async def test_a_pull_that_was_given_up_goes_on_with_the_next(
    wire: Wire, tmp_path: Path, here: Machine, there: Machine
) -> None:
    name = Name("given-up", host=wire.host)
    big = random.Random(6).randbytes(24_000_000)
    here.make(name, here.layer(big))
    await here.push(name)
    blob = there.store.blob(digest_of(big))
    pulling = asyncio.create_task(there.pull(name))
    wire.new_count()
    await eventually(lambda: wire.down > 4_000_000)
    pulling.cancel()
    await asyncio.wait((pulling,))
    await there.close()
    assert not blob.exists()
    wire.new_count()
    again = Machine(tmp_path / "there")
    await again.pull(name)
    await again.close()
    assert wire.down < 23_000_000
    assert again.files() == here.files()


# ---- faults of a scripted one ---------------------------------------------------------------------------------------

MENDED: dict[str, dict[str, Any]] = {
    "a cut blob": {"path": "/blobs/sha256", "method": "GET", "cut": 200_000, "times": 3},
    "a blob that is not there at once": {"path": "/blobs/sha256", "method": "GET", "status": 502, "times": 2},
    "a registry that is busy": {"path": "/blobs/", "status": 429, "headers": {"retry-after": "3"}, "times": 2},
    "ranges that are passed over": {"path": "/blobs/sha256", "method": "GET", "ignore_range": True, "times": None},
    "an endless blob": {"path": "/blobs/sha256", "method": "GET", "endless": True, "times": None},
    "slow bytes": {"path": "/blobs/sha256", "method": "GET", "pace": 0.002, "piece": 65536},
    "a part that is cut on its way up": {"path": "/uploads/", "method": "PATCH", "cut_upload": 100_000, "times": 3},
    "a part whose answer is lost": {"path": "/uploads/", "method": "PATCH", "lose": True, "times": 2},
    "an upload that is forgotten": {"path": "/uploads/", "method": "PATCH", "forget_upload": True, "after": 2},
    "an end whose answer is lost": {"path": "/uploads/", "method": "PUT", "lose": True},
    "a manifest that is not taken at once": {"path": "/manifests/", "method": "PUT", "status": 504},
}


@pytest.mark.parametrize("what", MENDED)
async def test_what_a_registry_does_wrong_for_a_while_is_mended(
    scripted: ScriptedRegistry, here: Machine, there: Machine, what: str
) -> None:
    name = scripted.name("tiny")
    here.make(name)
    fault = scripted.fault(**MENDED[what])
    await here.push(name)
    await there.pull(name)
    assert there.files() == here.files()
    assert fault.hits > 0


@pytest.mark.parametrize(
    "way",
    [
        {"direct": 307},
        {"location_with_200": True},
        {"ranges": False},
        {"direct_parts": True, "direct": 307},
        {"direct_parts": True, "parts_here": True},
        {"chunked": False},
        {"chunked": False, "patch_refusal": 416},
        {"relative": True, "upload_header": "Docker-Upload-Location"},
        {"strict": True, "mounts": False},
        {"auth": TokenAuth()},
        {"auth": TokenAuth(uses=3), "direct": 307, "direct_parts": True},
    ],
    ids=str,
)
async def test_every_way_of_a_registry(
    scripted: ScriptedRegistry, here: Machine, there: Machine, way: dict[str, Any]
) -> None:
    for key, value in way.items():
        setattr(scripted, key, value)
    name = scripted.name("tiny")
    here.make(name)
    await here.push(name)
    await there.pull(name)
    assert there.files() == here.files()
    assert (here.slept, there.slept) == ([], [])


LASTING: dict[str, tuple[dict[str, Any], str]] = {
    "wrong bytes": (
        {"path": f"/blobs/{digest_of(TEXT)}", "method": "GET", "wrong": True},
        f"digest mismatch, file must be downloaded again: want {digest_of(TEXT)}, got ",
    ),
    "a blob of another size": (
        {"path": f"/blobs/{digest_of(WEIGHTS)}", "method": "HEAD", "length": 5, "times": None},
        f"the registry has 5 bytes for the blob {digest_of(WEIGHTS)}, and its manifest says {len(WEIGHTS)}",
    ),
    "a blob that is not there": (
        {"path": f"/blobs/{digest_of(TEXT)}", "status": 404, "times": None},
        f"404: the registry does not have the blob {digest_of(TEXT)}",
    ),
    "a busy registry": ({"path": "/manifests/", "status": 503, "body": b"later"}, "pull model manifest: 503: later"),
    "a manifest that is none": ({"path": "/manifests/", "body": b"<html>hello</html>"}, "pull model manifest: "),
    "a manifest of another planet": (
        {"path": "/manifests/", "body": b'{"config":{"digest":"sha256:../../x","size":1},"layers":[]}'},
        "pull model manifest: ",
    ),
    "an endless manifest": ({"path": "/manifests/", "endless": True}, "pull model manifest: "),
    "no entry": ({"path": "/manifests/", "status": 403, "body": b"no"}, "pull model manifest: 403: no"),
}


@pytest.mark.parametrize("what", LASTING)
async def test_what_cannot_be_mended_is_told_and_leaves_the_store_whole(
    scripted: ScriptedRegistry, there: Machine, what: str
) -> None:
    scripted.hold("library/tiny:latest", WEIGHTS, TEXT, config=CONFIG)
    fault, message = LASTING[what]
    scripted.fault(**fault)
    error = await refusal(there.pull(scripted.name("tiny")))
    assert isinstance(error, RegistryError)
    assert error.message.startswith(message)
    assert there.store.find(scripted.name("tiny")) is None
    there.check()
    scripted.well()
    await there.pull(scripted.name("tiny"))
    there.check()
    assert there.store.find(scripted.name("tiny")) is not None

"""A blob to disk: parts side by side, resumed where they broke off, once for all who want it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from arriero.backends.engine.registry.download import DigestMismatch, Downloads, Pace
from arriero.backends.engine.registry.partial import Partial
from arriero.backends.engine.registry.parts import Part, Sizes, write_state
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.manifest import MODEL, Layer
from arriero.backends.engine.store.store import Store
from arriero.errors import ArrieroError, RegistryError
from support.raw_backend import eventually
from support.registry import ScriptedRegistry, TokenAuth, digest_of

DATA = bytes(n * n % 251 for n in range(10_000))
DIGEST = digest_of(DATA)
LAYER = Layer(MODEL, DIGEST, len(DATA))
SMALL = Sizes(smallest=1000)
"""Ten parts of a thousand bytes."""


class Downloading:
    """A store, a registry, downloads, and what was told."""

    def __init__(self, registry: ScriptedRegistry, folder: Path) -> None:
        self.registry = registry
        self.store = Store(folder / "models")
        self.registries = Registries(user_agent="x")
        self.slept: list[float] = []
        self.told: list[int] = []
        self.downloads = self.anew()

    def anew(self, sizes: Sizes = SMALL, **pace: Any) -> Downloads:
        self.downloads = Downloads(sizes=sizes, pace=Pace(**{"look": 0.02, **pace}), sleep=self._sleep)
        return self.downloads

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def fetch(self, layer: Layer = LAYER, model: str = "tiny") -> None:
        session = self.registries.session(self.registry.name(model), insecure=True)
        async with asyncio.timeout(20):
            await self.downloads.fetch(self.store, session, layer, self.told.append)

    async def failure(self, layer: Layer = LAYER) -> str:
        with pytest.raises(ArrieroError) as raised:
            await self.fetch(layer)
        return raised.value.message

    @property
    def files(self) -> dict[str, bytes]:
        """What is in `blobs/`, by names without digests."""
        found = sorted((self.store.root / "blobs").glob("*"))
        return {path.name.replace(DIGEST.replace(":", "-"), "blob"): path.read_bytes() for path in found}

    @property
    def ranges(self) -> list[str]:
        return [request.headers.get("range", "").removeprefix("bytes=") for request in self.registry.told("GET")]


@pytest_asyncio.fixture
async def it(tmp_path: Path) -> AsyncIterator[Downloading]:
    async with ScriptedRegistry() as registry:
        registry.hold("library/tiny:latest", DATA)
        made = Downloading(registry, tmp_path)
        yield made
        await made.downloads.close()
        await made.registries.close()


WHOLE = {"blob": DATA}


async def test_in_parts(it: Downloading) -> None:
    await it.fetch()
    assert (it.files, it.told[-1], it.slept) == (WHOLE, len(DATA), [])
    assert sorted(it.ranges) == sorted(f"{n}-{n + 999}" for n in range(0, 10_000, 1000))
    assert [request.method for request in it.registry.requests][:1] == ["HEAD"]
    assert (it.store.root / "blobs" / DIGEST.replace(":", "-")).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("data", [b"", b"x"])
async def test_the_smallest_blobs(it: Downloading, data: bytes) -> None:
    layer = Layer(MODEL, it.registry.blob("library/tiny", data)["digest"], len(data))
    await it.fetch(layer)
    assert (it.store.root / "blobs" / layer.digest.replace(":", "-")).read_bytes() == data


async def test_from_abroad_without_the_token(it: Downloading) -> None:
    it.registry.auth = TokenAuth()
    it.registry.direct = 307
    await it.fetch()
    direct = it.registry.told("GET", "/direct/")
    assert (it.files, len(direct), {"authorization" in request.headers for request in direct}) == (WHOLE, 10, {False})
    assert len(it.registry.told("GET", "/blobs/")) == 1  # the first part alone asks where the bytes are


async def test_a_place_that_expires_on_the_way(it: Downloading) -> None:
    it.registry.direct = 307
    gate = it.registry.hold_back("/direct/")
    it.registry.faults[0].after = 3
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: gate.waiting > 0)
    it.registry.ticket = 2
    gate.open()
    await fetching
    assert (it.files, it.slept) == (WHOLE, [])


async def test_few_at_a_time_where_it_is_fast_and_many_where_it_is_slow(it: Downloading) -> None:
    gate = it.registry.hold_back("/blobs/", "GET")
    it.registry.faults[0].after = 1
    it.anew(few=3, most=6, look=3600)
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: gate.waiting == 3)
    await asyncio.sleep(0.05)
    assert gate.waiting == 3
    gate.open()
    await fetching
    it.registry.well()
    (it.store.root / "blobs" / DIGEST.replace(":", "-")).unlink()
    gate = it.registry.hold_back("/blobs/", "GET")
    it.registry.faults[0].after = 1
    it.anew(few=3, most=6)
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: gate.waiting == 6)
    await asyncio.sleep(0.05)
    assert gate.waiting == 6
    gate.open()
    await fetching


# ---- faults ----------------------------------------------------------------------------------------------------------


async def test_a_cut_goes_on_at_the_byte_reached(it: Downloading) -> None:
    it.anew(Sizes())
    it.registry.fault("/blobs/", "GET", cut=300)
    it.registry.fault("/blobs/", "GET", cut=400)
    await it.fetch()
    assert (it.files, it.ranges, it.slept) == (WHOLE, ["0-9999", "300-9999", "700-9999"], [1.0, 2.0])


async def test_a_registry_that_never_recovers(it: Downloading) -> None:
    it.anew(Sizes())
    it.registry.fault("/blobs/", "GET", times=None, status=503, body=b"tired")
    assert await it.failure() == "max retries exceeded: 503: tired"
    assert (it.slept, len(it.ranges)) == ([1.0, 2.0, 4.0, 8.0, 16.0], 6)


async def test_it_comes_again_when_the_registry_wants_it(it: Downloading) -> None:
    it.registry.fault("/blobs/", "HEAD", status=429, headers={"retry-after": "7"})
    it.registry.fault("/blobs/", "GET", status=503, headers={"retry-after": "9999"})
    await it.fetch()
    assert (it.files, it.slept) == (WHOLE, [7.0, 60.0])


async def test_what_does_not_pass_is_told_at_once(it: Downloading) -> None:
    it.registry.fault("/blobs/", "GET", times=None, status=404)
    assert await it.failure() == f"404: the registry does not have the blob {DIGEST}"
    assert (it.slept, it.files) == ([], {})


async def test_a_stall_uses_no_try(it: Downloading) -> None:
    it.anew(Sizes(), stall=0.05, tries=2)
    it.registry.fault("/blobs/", "GET", stall=300)
    it.registry.fault("/blobs/", "GET", stall=0)
    await it.fetch()
    assert (it.files, it.ranges, it.slept) == (WHOLE, ["0-9999", "300-9999", "300-9999"], [])


async def test_a_registry_that_only_stalls(it: Downloading) -> None:
    it.anew(Sizes(), stall=0.02, tries=2)
    it.registry.fault("/blobs/", "GET", times=None, stall=0)
    assert await it.failure() == f"max retries exceeded: {it.registry.url} sent nothing for 0.02 s"


async def test_a_wrong_digest_leaves_nothing(it: Downloading) -> None:
    it.registry.fault("/blobs/", "GET", wrong=True)
    with pytest.raises(DigestMismatch) as raised:
        await it.fetch()
    wrong = bytes([DATA[0] ^ 255]) + DATA[1:]
    assert raised.value.message == (
        f"digest mismatch, file must be downloaded again: want {DIGEST}, got {digest_of(wrong)}"
    )
    assert it.files == {}
    await it.fetch()
    assert it.files == WHOLE


async def test_a_server_without_ranges_sends_one_stream(it: Downloading) -> None:
    it.registry.ranges = False
    it.registry.fault("/blobs/", "GET", cut=300)
    it.registry.fault("/blobs/", "GET", cut=4000, after=2)
    await it.fetch()
    assert (it.files, it.told[-1]) == (WHOLE, len(DATA))


async def test_a_server_that_forgets_ranges_on_the_way(it: Downloading) -> None:
    it.registry.fault("/blobs/", "GET", times=None, after=4, ignore_range=True)
    await it.fetch()
    assert (it.files, it.ranges[-1]) == (WHOLE, "")


async def test_a_range_refused_begins_the_part_anew(it: Downloading) -> None:
    it.anew(Sizes())
    it.registry.fault("/blobs/", "GET", cut=300)
    it.registry.fault("/blobs/", "GET", status=416)
    await it.fetch()
    assert (it.files, it.ranges) == (WHOLE, ["0-9999", "300-9999", "0-9999"])


async def test_an_endless_body_is_cut_off(it: Downloading) -> None:
    it.registry.fault("/blobs/", "GET", times=None, endless=True)
    await it.fetch()
    assert it.files == WHOLE


async def test_an_answer_that_ends_early_is_gone_on_with(it: Downloading) -> None:
    it.anew(Sizes())
    it.registry.fault("/blobs/", "GET", status=206, headers={"content-range": "bytes 0-2999/10000"}, body=DATA[:3000])
    await it.fetch()
    assert (it.files, it.ranges, it.slept) == (WHOLE, ["0-9999", "3000-9999"], [])


async def test_an_empty_answer_uses_a_try(it: Downloading) -> None:
    it.anew(Sizes())
    it.registry.fault(
        "/blobs/", "GET", times=None, status=206, headers={"content-range": "bytes 0-9999/10000"}, body=b""
    )
    assert await it.failure() == f"max retries exceeded: {it.registry.url} ended its answer too early"


async def test_the_disk_fails_at_once(it: Downloading) -> None:
    it.store.root.mkdir()
    (it.store.root / "blobs").write_bytes(b"")
    assert await it.failure() == "the model store cannot be written: a file stands where a directory has to be"
    assert it.registry.requests == []


# ---- resumed ---------------------------------------------------------------------------------------------------------


async def test_a_cancelled_one_goes_on_where_it_was(it: Downloading) -> None:
    it.anew(few=1, most=1)
    it.registry.fault("/blobs/", "GET", times=None, after=3, stall=400)
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: it.told[-1:] == [3400])
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    state = it.files["blob-partial-2"]
    assert state == b'{"N":2,"Offset":2000,"Size":1000,"Completed":1000}\n'
    assert it.files["blob-partial-3"] == b'{"N":3,"Offset":3000,"Size":1000,"Completed":400}\n'
    assert it.files["blob-partial"] == DATA[:3400] + bytes(6600)
    it.registry.well()
    it.registry.requests.clear()
    it.told.clear()
    await it.fetch()
    assert (it.files, it.ranges[0], len(it.ranges)) == (WHOLE, "3400-3999", 7)
    assert min(it.told) >= 3400
    assert it.registry.told("HEAD") == []


async def test_a_download_of_ollamas_goes_on(it: Downloading) -> None:
    blobs = it.store.root / "blobs"
    blobs.mkdir(parents=True)
    partial = blobs / f"{DIGEST.replace(':', '-')}-partial"
    partial.write_bytes(DATA[:2500] + bytes(2500) + DATA[5000:6000] + bytes(4000))
    write_state(partial, Part(0, 0, 5000), 2500)
    write_state(partial, Part(1, 5000, 5000), 1000)
    await it.fetch()
    assert (it.files, sorted(it.ranges)) == (WHOLE, ["2500-4999", "6000-9999"])


async def test_one_that_was_only_to_be_checked(it: Downloading) -> None:
    blobs = it.store.root / "blobs"
    blobs.mkdir(parents=True)
    partial = blobs / f"{DIGEST.replace(':', '-')}-partial"
    partial.write_bytes(DATA)
    write_state(partial, Part(0, 0, 10_000), 10_000)
    await it.fetch()
    assert (it.files, it.registry.requests) == (WHOLE, [])


async def test_states_are_saved_on_the_way(it: Downloading) -> None:
    it.anew(few=1, most=1, save=0.02)
    it.registry.fault("/blobs/", "GET", times=None, after=3, stall=0)
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: b'"Completed":1000' in it.files.get("blob-partial-2", b""))
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching


# ---- shared ----------------------------------------------------------------------------------------------------------


async def test_two_want_it_and_it_comes_once(it: Downloading) -> None:
    gate = it.registry.hold_back("/blobs/", "GET")
    both = asyncio.gather(it.fetch(), it.fetch())
    await eventually(lambda: gate.waiting > 0)
    gate.open()
    await both
    assert (it.files, len(it.ranges), it.told.count(len(DATA))) == (WHOLE, 10, 2)


async def test_it_goes_on_while_one_waits_and_stops_after_the_last(it: Downloading) -> None:
    gate = it.registry.hold_back("/blobs/", "GET")
    first, second = asyncio.create_task(it.fetch()), asyncio.create_task(it.fetch())
    await eventually(lambda: gate.waiting > 0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (it.files, it.downloads._blobs) == ({}, {})
    it.registry.well()
    gate.open()
    await it.fetch()
    assert it.files == WHOLE


async def test_one_who_comes_while_it_is_being_stopped(it: Downloading) -> None:
    gate = it.registry.hold_back("/blobs/", "GET")
    first = asyncio.create_task(it.fetch())
    await eventually(lambda: gate.waiting > 0)
    first.cancel()
    await asyncio.sleep(0)
    it.registry.well()
    second = asyncio.create_task(it.fetch())
    await second
    assert (it.files, first.cancelled()) == (WHOLE, True)


async def test_one_fails_for_all_of_its_repository(it: Downloading) -> None:
    it.registry.fault("/blobs/", "GET", status=404)
    gate = it.registry.hold_back("/blobs/", "HEAD")
    both = asyncio.gather(it.fetch(), it.fetch(), return_exceptions=True)
    await eventually(lambda: gate.waiting > 0)
    gate.open()
    results = await both
    assert [isinstance(result, RegistryError) for result in results] == [True, True]


async def test_another_repository_may_have_it(it: Downloading) -> None:
    it.registry.hold("library/other:latest", DATA)
    it.registry.fault("/tiny/blobs/", "GET", times=None, status=404)
    gate = it.registry.hold_back("/blobs/", "HEAD")
    first, second = asyncio.create_task(it.failure()), asyncio.create_task(it.fetch(model="other"))
    await eventually(lambda: gate.waiting > 0)
    await asyncio.sleep(0.01)
    gate.open()
    assert await first == f"404: the registry does not have the blob {DIGEST}"
    await second
    assert it.files == WHOLE


async def test_what_another_process_fetches_is_waited_for(it: Downloading) -> None:
    blob = it.store.root / "blobs" / DIGEST.replace(":", "-")
    other = Partial.take(blob, len(DATA), SMALL)
    assert other is not None
    other.write(0, [DATA[:1000]])
    other.parts[0].completed = 1000
    other.save()
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: it.told[-1:] == [1000])
    other.write(0, [DATA])
    other.finish()
    other.close()
    await fetching
    assert (it.files, it.registry.requests) == (WHOLE, [])


async def test_what_another_process_gives_up_is_gone_on_with(it: Downloading) -> None:
    blob = it.store.root / "blobs" / DIGEST.replace(":", "-")
    other = Partial.take(blob, len(DATA), SMALL)
    assert other is not None
    other.write(0, [DATA[:1000]])
    other.parts[0].completed = 1000
    other.save()
    fetching = asyncio.create_task(it.fetch())
    await eventually(lambda: it.told[-1:] == [1000])
    other.close()
    await fetching
    assert (it.files, len(it.ranges)) == (WHOLE, 9)


async def test_those_who_wait_at_the_close_are_told(it: Downloading) -> None:
    gate = it.registry.hold_back("/blobs/", "GET")
    fetching = asyncio.create_task(it.failure())
    await eventually(lambda: gate.waiting > 0)
    await it.downloads.close()
    assert await fetching == "the download was stopped: pull again to go on from there"
    assert it.downloads._blobs == {}

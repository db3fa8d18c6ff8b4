"""Small requests: what is asked again, how often, and after which pauses."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from arriero.backends.engine.registry.asking import Asking, Passing, pause_after
from arriero.backends.engine.registry.session import Registries
from arriero.errors import RegistryError
from support.registry import ScriptedRegistry

DOING = "tell whether it has a blob"


class Asker:
    """One registry, and the seconds that were slept."""

    def __init__(self, registry: ScriptedRegistry, registries: Registries) -> None:
        self.registry = registry
        self.slept: list[float] = []
        self.asking = Asking(registries.session(registry.name("tiny"), insecure=True), sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def status(self) -> int:
        head, _ = await self.asking.surely("GET", "blobs/x", doing=DOING)
        return head.status


@pytest_asyncio.fixture
async def asker() -> AsyncIterator[Asker]:
    async with ScriptedRegistry() as registry:
        registries = Registries(user_agent="test")
        yield Asker(registry, registries)
        await registries.close()


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause_after(failures, None) for failures in (1, 2, 3, 6, 7, 99)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]
    assert [pause_after(3, wanted) for wanted in (0.0, 2.5, 9.0, 1e9)] == [4.0, 4.0, 9.0, 60.0]


@pytest.mark.parametrize("status", [200, 201, 301, 400, 403, 404, 405, 413, 501])
async def test_an_answer_is_an_answer(asker: Asker, status: int) -> None:
    asker.registry.fault("/blobs/", status=status, times=None)
    assert await asker.status() == status
    assert (asker.slept, len(asker.registry.requests)) == ([], 1)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_passes_by_itself_is_asked_again(asker: Asker, status: int) -> None:
    asker.registry.fault("/blobs/", status=status, times=2)
    assert await asker.status() == 404
    assert asker.slept == [1.0, 2.0]


async def test_no_answer_is_asked_again(asker: Asker) -> None:
    assert await asker.status() == 404
    asker.registry.fault("/blobs/", cut_upload=0, times=3)
    head, _ = await asker.asking.surely("PUT", "blobs/x", body=b"x", doing=DOING)
    assert head.status == 404
    assert asker.slept[-2:] == [1.0, 2.0]


async def test_a_registry_that_never_answers_is_asked_twice(asker: Asker) -> None:
    asker.registry.stop_listening()
    with pytest.raises(RegistryError) as raised:
        await asker.status()
    assert raised.value.message == f"cannot reach {asker.registry.url}: connection refused"
    assert asker.slept == [1.0]


async def test_six_times_at_most(asker: Asker) -> None:
    asker.registry.fault("/blobs/", status=500, body=b'{"errors":[{"code":"UNKNOWN","message":"no disk"}]}', times=None)
    with pytest.raises(RegistryError) as raised:
        await asker.status()
    assert raised.value.message == f"{asker.registry.url} does not {DOING} (500: no disk (UNKNOWN))"
    assert (asker.slept, len(asker.registry.requests)) == ([1.0, 2.0, 4.0, 8.0, 16.0], 6)


async def test_once_is_once_and_tells_the_pause(asker: Asker) -> None:
    asker.registry.fault("/blobs/", status=503, headers={"retry-after": "12"})
    with pytest.raises(Passing) as raised:
        await asker.asking.once("GET", "blobs/x", doing=DOING)
    assert raised.value.pause == 12.0
    assert raised.value.error.message == f"{asker.registry.url} does not {DOING} now (503): try again later"

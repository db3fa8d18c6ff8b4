"""Who is served when, what is unloaded for whom: through the real engine, in small steps."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from arriero.backends.base import Tuning
from arriero.backends.engine.instance import FOREVER, Lease, State
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.scheduler import Scheduler, Settings
from arriero.errors import Busy, EngineCrashed, ModelBroken, ModelTooLarge, NoBackend
from support.engine import FakeMachine, Stream, ask, engine_processes, eventually, models_in, needs_engine
from support.gguf import adapter, random_llama, scripted

pytestmark = needs_engine

Make = Callable[..., Scheduler]


class Clock:
    """Unix seconds that a test may push forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(models: Path) -> dict[str, ModelFile]:
    return {id.removesuffix(":latest"): model for id, model in models_in(models).items()}


@pytest.fixture
def endless(models: Path) -> ModelFile:
    """A model whose load does not end: llama.cpp tries templates while it loads."""
    loops = "{% for i in range(100000) %}{% for j in range(100000) %}{% set x = i %}{% endfor %}{% endfor %}"
    scripted(models / "endless.gguf", "It ends.", template=loops)
    return models_in(models)["endless:latest"]


@pytest_asyncio.fixture
async def make(sockets: Path, clock: Clock) -> AsyncIterator[Make]:
    made: list[Scheduler] = []

    def build(machine: FakeMachine | None = None, **settings: object) -> Scheduler:
        scheduler = Scheduler(
            Settings(environment={"XDG_RUNTIME_DIR": str(sockets)}, threads=1, **settings),  # type: ignore[arg-type]
            label="local",
            machine=machine or FakeMachine(),
            clock=clock,
        )
        made.append(scheduler)
        return scheduler

    yield build
    for scheduler in made:
        await scheduler.close()
    assert engine_processes() == []


def ids(scheduler: Scheduler) -> list[str]:
    return sorted(instance.model.id.removesuffix(":latest") for instance in scheduler.instances)


async def take(scheduler: Scheduler, model: ModelFile, context_length: int = 512, embedding: bool = False) -> Lease:
    async with asyncio.timeout(20):
        return await scheduler.acquire(model, context_length=context_length, embedding=embedding)


async def not_yet(work: Awaitable[object], seconds: float = 0.1) -> None:
    """It has to be waiting still."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=seconds)
    assert not done


async def test_requests_for_one_model_share_its_slots_and_wait_in_line(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(num_parallel=2)
    first, second = await asyncio.gather(take(scheduler, files["hello"]), take(scheduler, files["hello"]))
    assert len(engine_processes()) == 1
    order: list[str] = []

    async def wait(name: str) -> Lease:
        lease = await take(scheduler, files["hello"])
        order.append(name)
        return lease

    third, fourth = asyncio.create_task(wait("third")), asyncio.create_task(wait("fourth"))
    await not_yet(asyncio.shield(third))
    assert scheduler.waiting == 2
    second.release()
    await eventually(third.done)
    assert order == ["third"]
    first.release()
    await eventually(fourth.done)
    assert order == ["third", "fourth"]
    third.result().release()
    fourth.result().release()
    assert scheduler.instances[0].runs == 0


async def test_a_full_line_is_busy(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(num_parallel=1, max_queue=1)
    lease = await take(scheduler, files["hello"])
    waiting = asyncio.create_task(take(scheduler, files["hello"]))
    await eventually(lambda: scheduler.waiting == 1)
    with pytest.raises(Busy):
        await take(scheduler, files["hello"])
    lease.release()
    (await waiting).release()


async def test_a_request_that_gives_up_leaves_the_line(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(num_parallel=1)
    lease = await take(scheduler, files["hello"])
    waiting = asyncio.create_task(take(scheduler, files["hello"]))
    await eventually(lambda: scheduler.waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert scheduler.waiting == 0
    # Given up between the grant and its news: the place comes back.
    late = asyncio.create_task(take(scheduler, files["hello"]))
    await eventually(lambda: scheduler.waiting == 1)
    lease.release()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    await eventually(lambda: scheduler.instances[0].runs == 0)


async def test_keep_alive_runs_from_the_end_of_a_request(make: Make, files: dict[str, ModelFile], clock: Clock) -> None:
    scheduler = make(keep_alive=60.0)
    lease = await take(scheduler, files["hello"])
    clock.now += 1000
    lease.release()
    (instance,) = scheduler.instances
    assert instance.deadline == clock.now + 60
    assert instance.state is State.READY
    lease = await take(scheduler, files["hello"])
    lease.release(keep_alive=5.0)
    assert instance.deadline == clock.now + 5


async def test_the_timer_unloads(make: Make, files: dict[str, ModelFile], clock: Clock) -> None:
    scheduler = make()
    lease = await take(scheduler, files["hello"])
    lease.release(keep_alive=0.05)
    clock.now += 0.06
    await eventually(lambda: scheduler.instances == ())
    assert engine_processes() == []


async def test_keep_alive_zero_unloads_after_the_last_request(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(num_parallel=2)
    first, second = await take(scheduler, files["hello"]), await take(scheduler, files["hello"])
    first.release(keep_alive=0)
    await asyncio.sleep(0.05)
    assert (await ask(second.pool, "hi"))["content"] == "Hello there, traveller."
    second.release(keep_alive=0)
    await eventually(lambda: scheduler.instances == ())


@pytest.mark.parametrize("keep_alive", [FOREVER, -1.0])
async def test_forever_is_for_ever(keep_alive: float, make: Make, files: dict[str, ModelFile], clock: Clock) -> None:
    scheduler = make()
    (await take(scheduler, files["hello"])).release(keep_alive)
    clock.now += 1e9
    (await take(scheduler, files["random"])).release(0)
    await eventually(lambda: ids(scheduler) == ["hello"])


async def test_the_longest_unused_goes_first(make: Make, files: dict[str, ModelFile], clock: Clock) -> None:
    scheduler = make(max_loaded=2)
    (await take(scheduler, files["hello"])).release()
    clock.now += 1
    (await take(scheduler, files["random"])).release()
    clock.now += 1
    (await take(scheduler, files["hello"])).release()
    clock.now += 1
    (await take(scheduler, files["embed"], embedding=True)).release()
    assert ids(scheduler) == ["embed", "hello"]


async def test_a_model_in_use_is_never_unloaded(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(max_loaded=1)
    lease = await take(scheduler, files["hello"])
    waiting = asyncio.create_task(take(scheduler, files["random"]))
    await not_yet(asyncio.shield(waiting))
    # Whoever comes later for the loaded model does not overtake the one that needs room.
    late = asyncio.create_task(take(scheduler, files["hello"]))
    await not_yet(asyncio.shield(late))
    assert (await ask(lease.pool, "hi"))["content"] == "Hello there, traveller."
    lease.release()
    other = await waiting
    assert ids(scheduler) == ["random"]
    other.release()
    (await late).release()
    assert ids(scheduler) == ["hello"]


async def test_a_larger_context_reloads_once_nobody_uses_it(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make()
    lease = await take(scheduler, files["hello"], 512)
    (pid,) = engine_processes()
    for smaller_or_equal in (256, 512):
        (await take(scheduler, files["hello"], smaller_or_equal)).release()
    assert engine_processes() == [pid]
    larger = asyncio.create_task(take(scheduler, files["hello"], 1024))
    await not_yet(asyncio.shield(larger))
    lease.release()
    reloaded = await larger
    assert reloaded.context_length == 1024
    reloaded.release()
    (await take(scheduler, files["hello"], 512)).release()
    (second,) = engine_processes()
    assert second != pid
    assert len(scheduler.instances) == 1


async def test_other_threads_reload_and_what_is_not_said_does_not(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make()

    async def process_of(tuning: Tuning) -> int:
        async with asyncio.timeout(20):
            lease = await scheduler.acquire(files["hello"], context_length=512, embedding=False, tuning=tuning)
        assert (await ask(lease.pool, "hi"))["content"] == "Hello there, traveller."
        lease.release()
        (pid,) = engine_processes()
        return pid

    first = await process_of(Tuning())
    assert await process_of(Tuning(threads=1, batch=512, mmap=True)) == first
    second = await process_of(Tuning(threads=2, batch=64, mmap=False))
    assert second != first
    assert await process_of(Tuning(batch=64)) == await process_of(Tuning()) == second
    assert await process_of(Tuning(mmap=True)) != second
    # More than a machine has is not started.
    await process_of(Tuning(threads=100_000, batch=1_000_000))
    assert scheduler.instances[0].tuning == Tuning(128, 8192, True)


async def test_names_of_the_same_parts_share_one_process(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(num_parallel=2)
    other = replace(files["hello"], id="other:latest", parameters={"top_k": 1})
    first, second = await take(scheduler, files["hello"]), await take(scheduler, other)
    (pid,) = engine_processes()
    assert (first.model, second.model, second.model_alias) == (files["hello"], other, "hello:latest")
    await scheduler.unload("other:latest", other)
    first.release()
    assert (await ask(second.pool, "hi"))["content"] == "Hello there, traveller."
    assert engine_processes() == [pid]
    second.release()
    await eventually(lambda: engine_processes() == [])
    bent = replace(files["random"], id="bent:latest", adapters=(adapter(files["random"].path.with_suffix(".lora")),))
    (await take(scheduler, bent)).release()
    (await take(scheduler, files["random"])).release()
    assert ids(scheduler) == ["bent", "random"]


async def test_crashes_are_shared_as_the_process_is(make: Make, files: dict[str, ModelFile], clock: Clock) -> None:
    scheduler = make()
    other = replace(files["hello"], id="other:latest")
    for model in (files["hello"], other, files["hello"]):
        lease = await take(scheduler, model)
        os.kill(engine_processes()[0], signal.SIGKILL)
        assert isinstance(await lease.diagnose(), EngineCrashed)
        lease.release()
        clock.now += 4
    with pytest.raises(ModelBroken, match=r"other:latest crashed 3 times in 60 seconds: .* memory ran out"):
        await take(scheduler, other)


async def test_a_file_that_goes_while_it_answers(make: Make, files: dict[str, ModelFile], models: Path) -> None:
    scheduler = make()
    lease = await take(scheduler, files["random"], 8192)
    stream = await Stream.endless(lease.pool, max_tokens=3000)
    files["random"].path.unlink()
    scripted(files["random"].path, "I am new here.")
    fresh = asyncio.create_task(take(scheduler, models_in(models)["random:latest"]))
    await eventually(stream.ended.is_set)
    assert (stream.error, stream.data.endswith(b"data: [DONE]\n\n")) == (None, True)
    assert not fresh.done()
    lease.release()
    lease = await fresh
    assert (await ask(lease.pool, "hi"))["content"] == "I am new here."
    lease.release()


async def test_no_queue_is_room_for_one_that_loads(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(max_queue=0, num_parallel=1)
    lease = await take(scheduler, files["hello"])
    waiting = asyncio.create_task(take(scheduler, files["hello"]))
    await eventually(lambda: scheduler.waiting == 1 or waiting.done())
    with pytest.raises(Busy):
        await take(scheduler, files["random"])
    lease.release()
    (await waiting).release()


async def test_a_changed_file_is_loaded_anew(make: Make, files: dict[str, ModelFile], models: Path) -> None:
    scheduler = make()
    (await take(scheduler, files["hello"])).release()
    before = engine_processes()
    os.utime(files["hello"].path, (7, 7))
    changed = models_in(models)["hello:latest"]
    (await take(scheduler, changed)).release()
    assert engine_processes() != before
    assert scheduler.instances[0].model == changed


async def test_a_model_may_be_there_for_chat_and_for_embedding(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make()
    (await take(scheduler, files["hello"])).release()
    (await take(scheduler, files["hello"], embedding=True)).release()
    assert ids(scheduler) == ["hello", "hello"]
    await scheduler.unload("hello:latest")
    assert scheduler.instances == ()


async def test_unloading_a_model_in_use_waits_for_it(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make()
    lease = await take(scheduler, files["hello"])
    (pid,) = engine_processes()
    await scheduler.unload("hello:latest")
    await scheduler.unload("no-such-model:latest")
    # A request after that gets a process of its own time.
    waiting = asyncio.create_task(take(scheduler, files["hello"]))
    await not_yet(asyncio.shield(waiting))
    assert engine_processes() == [pid]
    lease.release(FOREVER)
    (await waiting).release()
    assert engine_processes() != [pid]


async def test_unloading_while_it_loads_serves_who_waits_and_no_longer(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make()
    waiting = asyncio.create_task(take(scheduler, files["hello"]))
    await eventually(lambda: len(scheduler.instances) == 1)
    assert scheduler.instances[0].state is State.LOADING
    await scheduler.unload("hello:latest")
    lease = await waiting
    assert (await ask(lease.pool, "hi"))["content"] == "Hello there, traveller."
    lease.release(FOREVER)
    await eventually(lambda: scheduler.instances == ())


async def _abandoned(scheduler: Scheduler, model: ModelFile) -> None:
    """A load that does not end, and nobody who waits for it."""
    waiting = asyncio.create_task(take(scheduler, model))
    await eventually(lambda: ids(scheduler) == [model.id.removesuffix(":latest")] and engine_processes() != [])
    await not_yet(asyncio.shield(waiting), 0.5)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_load_that_nobody_waits_for_makes_way(
    make: Make, files: dict[str, ModelFile], endless: ModelFile
) -> None:
    scheduler = make()
    await _abandoned(scheduler, endless)
    (await take(scheduler, files["hello"])).release()
    assert ids(scheduler) == ["hello"]


async def test_unloading_ends_a_load_that_nobody_waits_for(make: Make, endless: ModelFile) -> None:
    scheduler = make()
    await _abandoned(scheduler, endless)
    await scheduler.unload("endless:latest")
    await eventually(lambda: scheduler.instances == () and engine_processes() == [])
    # Whoever asks again waits again.
    waiting = asyncio.create_task(take(scheduler, endless))
    await not_yet(asyncio.shield(waiting), 0.3)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_too_large_a_model_is_refused_before_it_starts(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(FakeMachine(available=10 << 20))
    with pytest.raises(ModelTooLarge, match=r"random:latest needs about 4\d MiB"):
        await take(scheduler, files["random"])
    assert engine_processes() == []
    (await take(make(FakeMachine(available=10 << 20), check_memory=False), files["random"])).release()


async def test_idle_models_make_room_in_memory(make: Make, files: dict[str, ModelFile]) -> None:
    machine = FakeMachine(available=1 << 30)
    scheduler = make(machine)
    (await take(scheduler, files["hello"])).release()
    machine.available = 20 << 20
    waiting = asyncio.create_task(take(scheduler, files["random"]))
    await eventually(lambda: scheduler.instances == () or ids(scheduler) == ["random"] or waiting.done())
    # With the idle model gone and memory as short as before, there is nothing more to hope for.
    with pytest.raises(ModelTooLarge):
        await waiting
    assert ids(scheduler) == []


async def test_a_crash_is_followed_by_a_restart_and_three_by_a_pause(
    make: Make, files: dict[str, ModelFile], clock: Clock
) -> None:
    scheduler = make()
    for crash in range(3):
        lease = await take(scheduler, files["hello"])
        (pid,) = engine_processes()
        os.kill(pid, signal.SIGSEGV)
        assert isinstance(await lease.diagnose(), EngineCrashed)
        assert scheduler.instances == ()
        lease.release()
        clock.now += (1, 2, 4)[crash]
    with pytest.raises(ModelBroken, match=r"hello:latest crashed 3 times in 60 seconds: .*SIGSEGV"):
        await take(scheduler, files["hello"])
    clock.now += 60
    (await take(scheduler, files["hello"])).release()


async def test_the_back_off_is_waited_for(make: Make, files: dict[str, ModelFile], clock: Clock) -> None:
    scheduler = make()
    for seconds in (1, 2):
        lease = await take(scheduler, files["hello"])
        os.kill(engine_processes()[0], signal.SIGSEGV)
        await lease.diagnose()
        lease.release()
        waiting = asyncio.create_task(take(scheduler, files["hello"]))
        await not_yet(asyncio.shield(waiting))
        assert engine_processes() == []
        clock.now += seconds
        (await waiting).release()


async def test_everyone_who_waits_for_a_load_hears_of_its_failure(
    make: Make, files: dict[str, ModelFile], models: Path
) -> None:
    random_llama(models / "lacking.gguf", block_count=5)
    lacking = models_in(models)["lacking:latest"]
    scheduler = make()
    results = await asyncio.gather(
        *(take(scheduler, lacking) for _ in range(3)), take(scheduler, files["hello"]), return_exceptions=True
    )
    assert [type(result) for result in results] == [ModelBroken] * 3 + [Lease]
    assert isinstance(results[3], Lease)
    results[3].release()
    assert scheduler.waiting == 0


async def test_close_ends_all_of_it(make: Make, files: dict[str, ModelFile]) -> None:
    scheduler = make(num_parallel=1)
    await take(scheduler, files["hello"])
    in_line = asyncio.create_task(take(scheduler, files["hello"]))
    loading = asyncio.create_task(take(scheduler, files["random"]))
    await eventually(lambda: len(scheduler.instances) == 2)
    await scheduler.close()
    assert engine_processes() == []
    for task in (in_line, loading):
        with pytest.raises(NoBackend):
            await task
    with pytest.raises(NoBackend):
        await take(scheduler, files["hello"])

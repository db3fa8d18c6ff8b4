"""The store keeps nobody else waiting, and what has begun comes to its end, however often one is told to stop."""

import asyncio
import threading

import pytest

from arriero.backends.engine.lasting import THREADS, Threads, to_its_end


async def test_it_is_the_work_itself_where_nobody_stops_it() -> None:
    assert await to_its_end(asyncio.to_thread(lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        await to_its_end(asyncio.to_thread(lambda: 1 // 0))


@pytest.mark.parametrize("fails", [False, True], ids=["well", "with an error"])
async def test_cancelled_twice_it_ends_when_the_work_has(fails: bool) -> None:
    go_on, done = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait(5)
        done.set()
        if fails:
            raise ZeroDivisionError

    waiting = asyncio.create_task(to_its_end(asyncio.to_thread(work)))
    for _ in range(2):
        await asyncio.sleep(0.01)
        waiting.cancel()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done.is_set()


async def test_work_that_hangs_keeps_no_thread_of_the_loop_nor_of_another_store() -> None:
    go_on, threads = threading.Event(), Threads()
    hanging = [asyncio.create_task(threads.run(go_on.wait, 5)) for _ in range(3 * THREADS)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 2) == 7
    assert await asyncio.wait_for(Threads().run(lambda: 8), 2) == 8, "another store"
    go_on.set()
    assert await asyncio.gather(*hanging) == [True] * len(hanging)

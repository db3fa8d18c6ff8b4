"""Blobs from registries to disk: parts side by side, resumed where they broke off, hashed while they come.

Each blob is fetched once in a process, however many want it, and by one process at a time. What is decided here is
which part is asked when, and when it is given up; where the bytes come from is `source`, where they go `partial`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct

from arriero.backends.engine.lasting import to_its_end
from arriero.backends.engine.progress import FRAME_SECONDS
from arriero.backends.engine.registry.asking import TRIES, pause_after
from arriero.backends.engine.registry.intake import Intake
from arriero.backends.engine.registry.partial import Partial
from arriero.backends.engine.registry.parts import Part, Sizes, front, read_states
from arriero.backends.engine.registry.session import Session, Unanswered
from arriero.backends.engine.registry.source import RangeIgnored, RangeRefused, Source, is_passing
from arriero.backends.engine.store.layout import partial_path
from arriero.backends.engine.store.manifest import Layer
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Timeouts
from arriero.errors import BackendError, BackendTimeout, RegistryError, StoreError

LOOK_SECONDS = 0.25
"""How often a blob that another process fetches is looked for."""

PIECE_BYTES = 256 << 10
"""Of one write. A part gathers at most about two pieces while a third is written."""

FORGIVING_BYTES = 16 << 20
"""A part that got so far since its last failure has all its tries again."""


class Pace(Struct, frozen=True):
    """How hard a registry is asked, in seconds and bytes.

    `few` parts are fetched at once, more, up to `most`, only while all together bring less than `fast` bytes a second:
    the fewer, the closer behind is the hash. A stall is `stall` seconds without data.
    """

    few: int = 4
    most: int = 16
    fast: int = 100_000_000
    look: float = 0.5
    tries: int = TRIES
    stall: float = 30.0
    connect: float = 15.0
    save: float = 1.0


class DigestMismatch(RegistryError):
    """What came is not what was asked. Nothing of it is kept."""

    def __init__(self, want: str, got: str) -> None:
        super().__init__(f"digest mismatch, file must be downloaded again: want {want}, got {got}")


class Downloads:
    """All downloads of a process. Used from one event loop."""

    def __init__(
        self,
        *,
        sizes: Sizes | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sleep` and `clock` are for the pauses between tries and for measuring the speed."""
        self.sizes = sizes or Sizes()
        self.pace = pace or Pace()
        self.sleep = sleep
        self.clock = clock
        self._blobs: dict[tuple[Path, str], _Blob] = {}

    async def fetch(self, store: Store, session: Session, layer: Layer, watch: Callable[[int], None]) -> None:
        """Returns when the blob is in the store, checked. `watch` is told every 60 ms how many bytes there are.

        Raises RegistryError or StoreError. Whoever is cancelled waits no longer; when nobody waits the download stops,
        and goes on from there when it is wanted again.
        """
        key = (store.root, layer.digest)
        while True:
            blob = self._blobs.get(key)
            own = blob is None
            if blob is None:
                blob = self._begin(key, store, session, layer)
            elif blob.leaving:
                await asyncio.wait({blob.task})
                continue
            try:
                told = await self._wait(blob, watch)
            except RegistryError:
                if own or blob.session.home == session.home:
                    raise
                continue  # Another registry, or another repository of it, may have it.
            if told != layer.size:
                watch(layer.size)
            return

    async def close(self) -> None:
        """Stop all of them; those who wait get an error."""
        tasks = [blob.task for blob in self._blobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, key: tuple[Path, str], store: Store, session: Session, layer: Layer) -> "_Blob":
        blob = _Blob(self, store, session, layer)
        self._blobs[key] = blob

        def ended(task: asyncio.Task[None]) -> None:
            del self._blobs[key]
            if not task.cancelled():
                task.exception()  # Nobody may be left to take it.

        blob.task.add_done_callback(ended)
        return blob

    async def _wait(self, blob: "_Blob", watch: Callable[[int], None]) -> int | None:
        """Returns what was told last."""
        told: int | None = None
        blob.waiting += 1
        try:
            while not blob.task.done():
                completed = blob.completed
                # It is told once that all is there, though the disk may need a moment more.
                if completed is not None and told != blob.total:
                    told = completed
                    watch(told)
                await asyncio.wait({blob.task}, timeout=FRAME_SECONDS)
        finally:
            blob.waiting -= 1
            if not blob.waiting and not blob.task.done():
                blob.leaving = True
                blob.task.cancel()
                await asyncio.wait({blob.task})
        if blob.task.cancelled():
            raise RegistryError("the download was stopped: pull again to go on from there")
        blob.task.result()
        return told


class _Blob:
    """One blob on its way, as a task."""

    def __init__(self, downloads: Downloads, store: Store, session: Session, layer: Layer) -> None:
        pace = downloads.pace
        self.session = session
        self.waiting = 0
        self.leaving = False
        self._downloads = downloads
        self._pace = pace
        self._store = store
        self._digest = layer.digest
        self.total = layer.size
        timeouts = Timeouts(connect=pace.connect, first_byte=pace.stall, idle=pace.stall)
        self._source = Source(session, layer.digest, layer.size, timeouts)
        self._partial: Partial | None = None
        self._intakes: set[Intake] = set()
        self._unwritten: list[tuple[Part, list[bytes]]] = []
        self._elsewhere: int | None = None
        self._single = False
        self._opened = asyncio.get_running_loop().create_future()
        self.task = asyncio.get_running_loop().create_task(self._run())

    @property
    def completed(self) -> int | None:
        """Bytes that are there; `None` before the disk has been looked at."""
        if self._partial is None:
            return self._elsewhere
        done = sum(part.completed for part in self._partial.parts)
        return done + sum(intake.gathered + intake.taken for intake in self._intakes)

    async def _run(self) -> None:
        partial = await self._take()
        if partial is None:
            return
        self._partial = partial
        # Threads of its own: a slow disk must not hold up what else the process does in threads.
        threads = ThreadPoolExecutor(3, thread_name_prefix="pull")
        self._threads = threads
        self._follower = follower = partial.follower()
        hashing = asyncio.get_running_loop().run_in_executor(threads, follower.run)
        digest: str | None = None
        try:
            follower.advance(front(partial.parts))
            if partial.fresh:
                await self._patiently(self._source.check)
            try:
                await self._fetch()
            except RangeIgnored:
                self._single = True
                self._unwritten.clear()
                await self._in_thread(partial.replan, [Part(0, 0, self.total)])
                follower.rewind(0)
                await self._fetch()
            digest = await hashing
        finally:
            follower.stop()
            hashing.add_done_callback(lambda told: told.cancelled() or told.exception())
            await to_its_end(self._store.threads.run(_leave, threads, partial, self._unwritten, self._digest, digest))
        if digest is not None and f"sha256:{digest}" != self._digest:
            raise DigestMismatch(self._digest, f"sha256:{digest}")

    async def _take(self) -> Partial | None:
        """The partial file; `None` if the blob is there, made by another process."""
        blob = await self._store.threads.run(self._store.blob, self._digest)
        while True:
            partial = await self._try_to_take(blob)
            if partial is not None:
                return partial
            if await self._store.threads.run(self._there):
                return None
            parts = await self._store.threads.run(read_states, partial_path(blob), self.total)
            self._elsewhere = sum(part.completed for part in parts or ())
            await asyncio.sleep(LOOK_SECONDS)

    async def _try_to_take(self, blob: Path) -> Partial | None:
        def take() -> Partial | None:
            partial = Partial.take(blob, self.total, self._downloads.sizes)
            # The look comes after the lock: whoever had it may just have finished.
            if partial is not None and self._there():
                _throw_away(partial)
                return None
            return partial

        task = asyncio.ensure_future(self._store.threads.run(take))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if task.exception() is None and (partial := task.result()) is not None:
                partial.close()  # Else its lock would outlive the download.
            raise

    def _there(self) -> bool:
        return self._store.size(self._digest) == self.total

    async def _fetch(self) -> None:
        """All parts that are not yet there, in order, several at a time."""
        partial, pace = self._partial, self._pace
        assert partial is not None
        todo = deque(part for part in partial.parts if part.left)
        lanes: set[asyncio.Task[None]] = set()
        wanted, clock = 1, self._downloads.clock
        looked_at = saved_at = clock()
        received = self.completed or 0
        saving: asyncio.Future[None] | None = None
        try:
            while todo or lanes:
                while todo and len(lanes) < wanted:
                    lanes.add(asyncio.create_task(self._fetch_part(todo.popleft())))
                waits: set[asyncio.Future[None]] = {*lanes, *(() if self._opened.done() else (self._opened,))}
                done, _ = await asyncio.wait(waits, timeout=pace.look, return_when=asyncio.FIRST_COMPLETED)
                for task in done & lanes:
                    lanes.discard(task)
                    task.result()
                now = clock()
                if wanted == 1 and self._opened.done():
                    wanted = min(pace.few, pace.most)
                    looked_at, received = now, self.completed or 0
                elif now - looked_at >= pace.look:
                    completed = self.completed or 0
                    if completed - received < pace.fast * (now - looked_at):
                        wanted = min(2 * wanted, pace.most)
                    looked_at, received = now, completed
                if now - saved_at >= pace.save and (saving is None or saving.done()):
                    if saving is not None:
                        saving.result()
                    saved_at, saving = now, self._in_thread(partial.save)
        finally:
            for task in lanes:
                task.cancel()
            left = lanes | ({saving} if saving is not None else set())
            if left:
                await to_its_end(asyncio.wait(left))
            for ended in left:
                _ = ended.cancelled() or ended.exception()  # The first failure is told; nobody asks for the others.

    async def _fetch_part(self, part: Part) -> None:
        """Raises what cannot be mended by trying again, and `max retries exceeded`."""
        tries = stalls = forgiven = 0
        while part.left:
            begun = part.completed
            error: BackendError = Unanswered(f"{self.session.home.origin.address} ended its answer too early")
            try:
                await self._attempt(part)
            except RangeRefused as refused:
                error = refused
                self._reset(part)
            except BackendError as failed:
                if not is_passing(failed):
                    raise
                error = failed
            else:
                if part.completed > begun:
                    continue
            if part.completed - forgiven >= FORGIVING_BYTES:
                tries, forgiven = 0, part.completed
            stalls = 0 if part.completed > begun else stalls
            if isinstance(error, Unanswered) and error.stalled and stalls < self._pace.tries:
                stalls += 1
                continue
            tries += 1
            await self._pause(tries, error)

    async def _patiently(self, ask: Callable[[], Awaitable[None]]) -> None:
        tries = 0
        while True:
            try:
                return await ask()
            except BackendError as error:
                if not is_passing(error):
                    raise
                tries += 1
                await self._pause(tries, error)

    async def _pause(self, tries: int, error: BackendError) -> None:
        if tries >= self._pace.tries:
            raise RegistryError(f"max retries exceeded: {error.message}") from error
        await self._downloads.sleep(pause_after(tries, error.retry_after))

    async def _attempt(self, part: Part) -> None:
        """One answer, as far as it goes."""
        partial = self._partial
        assert partial is not None
        if self._single and part.completed:
            self._reset(part)
        answer = await self._source.open(part.reached, part.offset + part.size, ranged=not self._single)
        if not self._opened.done():
            self._opened.set_result(None)
        intake = Intake(answer, part.left, PIECE_BYTES)
        self._intakes.add(intake)
        pieces: list[bytes] = []
        try:
            answer.feed(intake)
            while True:
                await intake.ready()
                pieces, size = intake.take()
                if not size and intake.over:
                    break
                await self._in_thread(partial.write, part.reached, pieces)
                part.completed += size
                intake.taken = 0
                pieces = []
                self._follower.advance(front(partial.parts))
        except asyncio.CancelledError:
            # Whether a thread still writes them is not known: they are written again at the end.
            self._unwritten.append((part, pieces + intake.take()[0]))
            raise
        finally:
            self._intakes.discard(intake)
            answer.abort()
        if intake.error is not None:
            raise Unanswered(intake.error.message, stalled=isinstance(intake.error, BackendTimeout)) from intake.error

    def _reset(self, part: Part) -> None:
        assert self._partial is not None
        part.completed = 0
        self._follower.rewind(front(self._partial.parts))

    def _in_thread(self, work: Callable[..., None], *arguments: object) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _leave(
    threads: ThreadPoolExecutor,
    partial: Partial,
    unwritten: list[tuple[Part, list[bytes]]],
    want: str,
    digest: str | None,
) -> None:
    """The end of a download, good or bad: what came is made the blob, thrown away, or kept for the next time."""
    threads.shutdown(wait=True)  # No thread writes any more to what is now closed.
    try:
        if digest is None:
            for part, pieces in unwritten:
                try:
                    partial.write(part.reached, pieces)
                except StoreError:
                    break  # The disk may be full, which is told already. What came before counts all the same.
                part.completed += sum(map(len, pieces))
            if any(part.completed for part in partial.parts):
                partial.save()
            else:
                partial.drop()
        elif f"sha256:{digest}" == want:
            partial.finish()
        else:
            partial.drop()
    finally:
        partial.close()


def _throw_away(partial: Partial) -> None:
    try:
        partial.drop()
    finally:
        partial.close()

"""Which model is in memory, for whom, and for how long.

Requests wait in one line. `_dispatch` walks it at every event (a request comes or goes, a process starts or ends, a
timer rings) and decides, without suspending, for each request in turn:

1. its model is loaded, suits and has a free slot: served;
2. its model is loaded and suits, all slots taken: waits, and so does everyone after it for the same model;
3. its model is loaded with too small a context or other tuning, or its file has changed: reloaded once nobody uses it;
4. its model is not loaded: loaded, one load at a time, after unloading idle models, the longest unused first, if
   there are too many or memory is short. While room has to be made, nobody further down the line is served: else a
   steady stream of requests for the loaded models would keep this one out for ever.

A request in progress is never disturbed. Which models exist is `engine`'s, how one is started `loading`'s business.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from msgspec import Struct

from arriero.backends.base import Tuning
from arriero.backends.engine.faults import Faults
from arriero.backends.engine.instance import FOREVER, Instance, Key, Learnt, Lease, State, bounded, key_of, weights_of
from arriero.backends.engine.loading import load, template_of
from arriero.backends.engine.machine import Machine
from arriero.backends.engine.memory import Need, need, own_bytes, too_large
from arriero.backends.engine.model import Fingerprint, ModelFile
from arriero.backends.engine.process import DEFAULT_BATCH, ChildSettings
from arriero.backends.http.call import Timeouts
from arriero.errors import ArrieroError, Busy, EngineError, InternalError, ModelTooLarge, NoBackend

UNTUNED = Tuning()


class Settings(Struct, frozen=True, kw_only=True):
    """How an engine behaves.

    `keep_alive` and `load_seconds` are seconds; a negative keep-alive is for ever. `num_parallel` requests run at once
    on one model, `max_queue` may wait in all. `threads` per model; `None` takes all cores. `environment` is the
    gateway's own, for what children need of it. `check_memory` off loads whatever is asked for. `timeouts` are those
    of calls to a model.
    """

    keep_alive: float = 300.0
    max_loaded: int = 3
    num_parallel: int = 2
    max_queue: int = 512
    threads: int | None = None
    load_seconds: float = 300.0
    check_memory: bool = True
    timeouts: Timeouts = Timeouts()
    environment: Mapping[str, str] = {}


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request in the line."""

    model: ModelFile
    embedding: bool
    context_length: int
    tuning: Tuning
    lease: asyncio.Future[Lease]

    @property
    def key(self) -> Key:
        return key_of(self.model, embedding=self.embedding)


class Scheduler:
    """The line, the loaded models, and the one who decides. Used from one event loop. `label` begins error sentences,
    `clock` gives unix seconds.
    """

    def __init__(self, settings: Settings, *, label: str, machine: Machine, clock: Callable[[], float]) -> None:
        self.faults = Faults()
        self._learnt: dict[tuple[Fingerprint | None, Key], Learnt] = {}
        self._settings = settings
        self._default_keep_alive = _endless(settings.keep_alive)
        self._label = label
        self._machine = machine
        self._clock = clock
        self._instances: dict[Key, Instance] = {}
        self._waiting: list[_Waiter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The models in memory, coming and going ones among them."""
        return tuple(self._instances.values())

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._waiting)

    def learnt(self, model: ModelFile) -> Learnt | None:
        """What llama.cpp made of a model when it was last loaded for chat; `None` if it never was."""
        return self._learnt.get((weights_of(model), key_of(model, embedding=False)))

    async def acquire(
        self, model: ModelFile, *, context_length: int, embedding: bool, tuning: Tuning = UNTUNED
    ) -> Lease:
        """Wait for a place on a process of this kind. Raises `Busy`, `NoBackend` after `close`, or an `EngineError`."""
        if self._closed:
            raise NoBackend("the engine is closing")
        # Even with no queue one has to wait for its model to load.
        if len(self._waiting) >= max(1, self._settings.max_queue):
            raise Busy()
        waiter = _Waiter(model, embedding, context_length, bounded(tuning), asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._dispatch()
        try:
            return await waiter.lease
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._dispatch()
            elif waiter.lease.done() and not waiter.lease.cancelled() and waiter.lease.exception() is None:
                waiter.lease.result().release()
            raise

    async def unload(self, id: str, model: ModelFile | None = None) -> None:
        """Take a model out of memory, after its last request if it is in use: what was loaded under this name, and what
        `model`, which has the name now, shares with others.
        """
        keys = () if model is None else (key_of(model, embedding=False), key_of(model, embedding=True))
        ending: list[Instance] = []
        for instance in self.instances:
            if instance.model.id != id and instance.key not in keys:
                continue
            if instance.state is State.LOADING:
                instance.leaving = True
                if not self._is_awaited(instance):
                    _give_up(instance)
            elif instance.state is State.READY:
                instance.retired = True
                if instance.idle:
                    ending.append(instance)
                    self._stop(instance)
        for instance in ending:
            if instance.child is not None:
                await instance.child.gone()

    async def close(self) -> None:
        """End every process, also those that are answering. Waiting requests get `NoBackend`."""
        self._closed = True
        self._wake(FOREVER)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _fail(waiter, NoBackend("the engine is closing"))
        for instance in self.instances:
            if instance.loader is not None:
                instance.loader.cancel()
            if instance.state is State.READY:
                self._stop(instance)
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    # ---- decisions: no await below this line until "loading" -------------------------------------------------------

    def _dispatch(self) -> None:
        """Serve whoever can be served, start what has to be started, end what is over."""
        if self._closed:
            return
        now = self._clock()
        wake_at = FOREVER
        held: set[Key] = set()
        for waiter in tuple(self._waiting):
            if waiter.lease.done():
                # Cancelled; its acquire takes it out of the line.
                continue
            if waiter.key in held:
                continue
            instance = self._instances.get(waiter.key)
            if instance is not None:
                if not self._serve(waiter, instance, now):
                    held.add(waiter.key)
                continue
            held.add(waiter.key)
            refusal = self.faults.refusal(waiter.model, now)
            if refusal is not None:
                held.discard(waiter.key)
                self._refuse(waiter, refusal)
                continue
            start_at = self.faults.not_before(waiter.model, now)
            if start_at > now:
                wake_at = min(wake_at, start_at)
                continue
            if self._loading:
                # Those who asked for it may have left, and a template without end keeps a load from ending.
                for each in self.instances:
                    if each.state is State.LOADING and not self._is_awaited(each):
                        _give_up(each)
                continue
            try:
                room = self._room(waiter)
            except ModelTooLarge as error:
                held.discard(waiter.key)
                self._refuse(waiter, error)
                continue
            if room is None:
                break
            self._begin(waiter, *room, now)
        for instance in self.instances:
            if instance.idle and (instance.retired or instance.deadline <= now):
                self._stop(instance)
            elif instance.idle:
                wake_at = min(wake_at, instance.deadline)
        self._wake(wake_at - now)

    def _serve(self, waiter: _Waiter, instance: Instance, now: float) -> bool:
        """Give the request a place if there is one; start the unloading if it needs another instance."""
        if instance.state is not State.READY or instance.pool is None:
            return False
        if instance.retired or not instance.suits(waiter.model, waiter.context_length, waiter.tuning):
            if instance.idle:
                self._stop(instance)
            return False
        if instance.runs >= self._settings.num_parallel:
            return False
        self._waiting.remove(waiter)
        instance.runs += 1
        instance.used_at = now
        waiter.lease.set_result(Lease(instance, waiter.model, instance.pool, self._returned))
        return True

    def _returned(self, instance: Instance, keep_alive: float | None) -> None:
        now = self._clock()
        instance.runs -= 1
        instance.used_at = now
        instance.keep_alive = self._default_keep_alive if keep_alive is None else _endless(keep_alive)
        instance.deadline = now if instance.leaving else now + instance.keep_alive
        self._dispatch()

    def _refuse(self, waiter: _Waiter, error: ArrieroError) -> None:
        self._waiting.remove(waiter)
        _fail(waiter, error)

    def _room(self, waiter: _Waiter) -> tuple[Need, bool] | None:
        """What the load will take and whether weights may be repacked; `None` while room is being made.

        Raises `ModelTooLarge` if it would not fit into an empty machine.
        """
        instances = self._instances.values()
        idle = sorted((instance for instance in instances if instance.idle), key=lambda instance: instance.used_at)
        stopping = any(instance.state is State.STOPPING for instance in instances)
        if len(self._instances) >= self._settings.max_loaded:
            if idle and not stopping:
                self._stop(idle[0])
            return None
        fast, small = (
            need(
                waiter.model,
                context_length=waiter.context_length,
                parallel=self._settings.num_parallel,
                embedding=waiter.embedding,
                repack=repack,
            )
            for repack in (True, False)
        )
        available = self._machine.available_bytes() if self._settings.check_memory else None
        if available is None or fast.total <= available:
            return fast, True
        if small.total <= available:
            return small, False
        if small.total > available + sum(instance.need.total for instance in instances):
            raise too_large(
                waiter.model,
                small,
                available,
                context_length=waiter.context_length,
                parallel=self._settings.num_parallel,
            )
        if idle and not stopping:
            self._stop(idle[0])
        return None

    def _is_awaited(self, instance: Instance) -> bool:
        return any(waiter.key == instance.key and not waiter.lease.done() for waiter in self._waiting)

    @property
    def _loading(self) -> bool:
        return any(instance.state is State.LOADING for instance in self._instances.values())

    def _begin(self, waiter: _Waiter, wanted: Need, repack: bool, now: float) -> None:
        instance = Instance(
            model=waiter.model,
            embedding=waiter.embedding,
            context_length=waiter.context_length,
            tuning=self._tuned(waiter.tuning),
            need=wanted,
            keep_alive=self._default_keep_alive,
            deadline=now + self._default_keep_alive,
            used_at=now,
        )
        self._instances[instance.key] = instance
        instance.loader = self._task(self._bring_up(instance, repack))

    def _tuned(self, tuning: Tuning) -> Tuning:
        """With a value for everything."""
        return Tuning(
            threads=tuning.threads or self._settings.threads or self._machine.cores(),
            batch=tuning.batch or DEFAULT_BATCH,
            mmap=tuning.mmap is not False,
        )

    def _stop(self, instance: Instance) -> None:
        assert instance.child is not None and instance.pool is not None
        instance.state = State.STOPPING
        instance.pool.close()
        self._task(instance.child.stop())

    def _ended(self, instance: Instance) -> None:
        """The process is gone, as it was asked to or not."""
        assert instance.child is not None and instance.pool is not None
        instance.pool.close()
        instance.state = State.STOPPING
        self._forget(instance)
        failure = instance.child.failure()
        if failure is not None:
            self.faults.note(instance.model, failure, self._clock())
        self._dispatch()

    def _forget(self, instance: Instance) -> None:
        if self._instances.get(instance.key) is instance:
            del self._instances[instance.key]

    def _wake(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds < FOREVER:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._dispatch)

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- loading -----------------------------------------------------------------------------------------------------

    async def _bring_up(self, instance: Instance, repack: bool) -> None:
        """Start the process and make the instance ready, or tell everyone who waits for it why not."""
        error: ArrieroError = InternalError(f"{instance.model.id} was not loaded")
        try:
            await self._load(instance, repack)
        except asyncio.CancelledError:
            # Nobody waited for it when it was given up; who has come since gets a load of their own.
            self._forget(instance)
            instance.state = State.STOPPING
            raise
        except ArrieroError as raised:
            error = raised
        except OSError as raised:
            error = EngineError(f"{instance.model.id} cannot be loaded: {raised.strerror or raised}")
        finally:
            instance.loader = None
            if instance.state is State.LOADING:
                self._not_loaded(instance, error)
            self._dispatch()

    async def _load(self, instance: Instance, repack: bool) -> None:
        model, settings, tuning = instance.model, self._settings, instance.tuning
        chats = not instance.embedding
        loaded = await load(
            model,
            ChildSettings(
                model=str(model.path),
                alias=model.id,
                context_length=instance.context_length,
                parallel=settings.num_parallel,
                threads=tuning.threads or 0,
                embedding=instance.embedding,
                # Models made for embedding say how they pool; for a chat model there is no right way, only a usual one.
                pooling="mean" if instance.embedding and model.header.integer("pooling_type") is None else None,
                repack=repack,
                sampling=model.sampling if chats else {},
                projector=str(model.projector) if chats and model.projector is not None else None,
                adapters=tuple(map(str, model.adapters)),
                template=template_of(model) if chats else None,
                batch=tuning.batch or DEFAULT_BATCH,
                mmap=tuning.mmap is not False,
                own_bytes=own_bytes(instance.need),
            ),
            label=self._label,
            ready_seconds=settings.load_seconds,
            timeouts=settings.timeouts,
            environment=settings.environment,
        )
        instance.learnt = loaded.learnt
        if chats:
            self._learnt[weights_of(model), instance.key] = loaded.learnt
        now = self._clock()
        instance.child, instance.pool, instance.state = loaded.child, loaded.pool, State.READY
        instance.used_at, instance.deadline = now, now if instance.leaving else now + instance.keep_alive
        loaded.child.on_exit(lambda: self._ended(instance))

    def _not_loaded(self, instance: Instance, error: ArrieroError) -> None:
        self._forget(instance)
        if isinstance(error, EngineError):
            self.faults.note(instance.model, error, self._clock())
        for waiter in tuple(self._waiting):
            too_much = waiter.context_length >= instance.context_length or not isinstance(error, ModelTooLarge)
            if waiter.key == instance.key and too_much:
                self._refuse(waiter, error)


def _give_up(instance: Instance) -> None:
    if instance.loader is not None and not instance.loader.cancelling():
        instance.loader.cancel()


def _endless(keep_alive: float) -> float:
    """Negative is for ever, as in Ollama."""
    return FOREVER if keep_alive < 0 else keep_alive


def _fail(waiter: _Waiter, error: ArrieroError) -> None:
    if not waiter.lease.done():
        waiter.lease.set_exception(error)

"""The kind `engine`: llama.cpp on this machine as one more backend, reached in the OpenAI dialect on a unix socket."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
import structlog

from arriero.backends.base import Want
from arriero.backends.engine.engine import Engine
from arriero.backends.engine.instance import Lease
from arriero.backends.engine.place import EnginePlace
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Headers, Rendered, Timeouts
from arriero.canonical.catalog import LoadedModel, ModelCard, ModelDetail
from arriero.dialects.profiles import profile_of
from arriero.errors import StoreError

if TYPE_CHECKING:
    from arriero.backends.engine.library.desk import Desk
    from arriero.backends.engine.registry.session import Registries

log = structlog.get_logger("arriero.engine")

_AUTOMATIC_LOADED = 3


class EngineBackend:
    """The embedded engine. `registries` makes the connections to registries when they are first needed."""

    kind = "engine"
    has_memory = True
    curated = True
    forwards_client = False
    silent = True
    private: frozenset[bytes] = frozenset()
    error_type = "engine_error"

    def __init__(
        self,
        name: str,
        *,
        store: Store,
        demo_model: bool,
        keep_alive: float,
        max_loaded: int | None,
        num_parallel: int,
        context_length: int | None,
        max_queue: int,
        threads: int | None,
        timeouts: Timeouts,
        load_seconds: float = 300.0,
        environment: Mapping[str, str] | None = None,
        registries: "Callable[[], Registries] | None" = None,
    ) -> None:
        self.name = name
        self.library = not store.read_only
        self.store = store
        self._registries = registries
        self._desk: Desk | None = None
        self._tidying: asyncio.Task[None] | None = None
        self.where = "this machine"
        self.profile = profile_of("engine")
        self.roots: Mapping[str, str] = {"openai": "/v1"}
        self.headers: Headers = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))
        self.rendered = Rendered.of(self.headers)
        self.engine = Engine(
            name,
            store,
            demo_model,
            keep_alive=keep_alive,
            max_loaded=max_loaded or _AUTOMATIC_LOADED,
            num_parallel=num_parallel,
            context_length=context_length,
            max_queue=max_queue,
            threads=threads,
            load_seconds=load_seconds,
            timeouts=timeouts,
            environment=environment,
        )

    def at_hand(self, want: Want) -> EnginePlace | None:
        """None: whether the model is loaded, and whether a slot is free, is the scheduler's to say."""
        return None

    async def reach(self, want: Want) -> EnginePlace:
        """A place on the model, which is loaded if it is not. Waits its turn."""
        lease = await self._acquire(want)
        return EnginePlace(lease, self.headers, self.engine.fill(lease.model))

    async def load(self, want: Want, keep_alive: float | None) -> None:
        """Bring the model into memory for `keep_alive` seconds; 0 takes it out."""
        if keep_alive == 0:
            await self.engine.unload(want.model)
        else:
            (await self._acquire(want)).release(keep_alive)

    async def _acquire(self, want: Want) -> Lease:
        return await self.engine.acquire(
            want.model, num_ctx=want.context_length, embedding=want.embedding, tuning=want.tuning
        )

    async def check(self) -> None:
        """Nothing to ask: it is here."""

    async def list_models(self) -> tuple[ModelCard, ...]:
        """The store as it is now, and the demo model; none where no engine is installed."""
        if self._tidying is None:
            self._tidying = asyncio.create_task(self._tidy())
        if self.engine.missing() is not None:
            return ()
        return await self.engine.list_models()

    @property
    def broken(self) -> Mapping[str, str]:
        """Models that cannot be used, by the id that they would have."""
        return {broken.id: broken.reason for broken in self.engine.broken.values()}

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """The models that have a process."""
        merged: dict[str, LoadedModel] = {}
        for model in self.engine.loaded():
            # A model that chats and embeds has two processes; clients know it as one model.
            other = merged.get(model.card.id)
            merged[model.card.id] = model if other is None else _together(other, model)
        return tuple(merged.values())

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        """The file's own metadata."""
        return await self.engine.show(card.id, verbose)

    async def courier(self) -> "Desk":
        """Who answers library operations."""
        if self._desk is None:
            # Only who manages models pays for it.
            from arriero.backends.engine.library.operations import open_desk

            self._desk = open_desk(self.store, self.engine.find, self._registries)
        return self._desk

    async def close(self) -> None:
        """End every process, and what goes on in the store."""
        self.store.close()
        if self._desk is not None:
            await self._desk.close()
        if self._tidying is not None:
            await asyncio.gather(self._tidying, return_exceptions=True)
        await self.engine.close()

    async def _tidy(self) -> None:
        """Clear away what nobody needs, once, while the first requests are answered."""
        try:
            await self.store.threads.run(self.store.tidy, time.time())
        except StoreError as error:
            log.warning("the model store was not tidied", backend=self.name, error=error.message)


def _together(one: LoadedModel, other: LoadedModel) -> LoadedModel:
    longest = max((one, other), key=lambda model: model.expires_at or 0.0)
    size = (one.size_bytes or 0) + (other.size_bytes or 0)
    return msgspec.structs.replace(longest, size_bytes=size)

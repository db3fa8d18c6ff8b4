"""The engine as a backend: what models it has, what is known of them, and a place on one for a request.

What is said to a model over the lease's pool, and in which dialect, is the caller's business.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from arriero.backends.base import Tuning, whole
from arriero.backends.engine.infill import Fill, fill_of
from arriero.backends.engine.instance import FOREVER, LEAST_CONTEXT, NOTHING_LEARNT, Lease, State
from arriero.backends.engine.machine import Machine
from arriero.backends.engine.model import Fingerprint, ModelFile
from arriero.backends.engine.models import DEMO_PATH, Broken, Listing, Models, key
from arriero.backends.engine.scheduler import UNTUNED, Scheduler, Settings
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Timeouts
from arriero.canonical.catalog import Capability, LoadedModel, ModelCard, ModelDetail
from arriero.errors import EngineMissing, ModelBroken, ModelNotFound

__all__ = ["FOREVER", "Engine", "Lease"]

DEFAULT_CONTEXT: Final = 4096


class Engine:
    """llama.cpp models of one store. Used from one event loop; `close` leaves no process behind.

    `demo_model` adds the model that ships with arriero; a path takes another file for it. `context_length` is the
    default for models that were trained for more. The other settings are those of `scheduler.Settings`.
    """

    def __init__(
        self,
        name: str,
        store: Store | None,
        demo_model: bool | Path = True,
        *,
        keep_alive: float = 300.0,
        max_loaded: int = 3,
        num_parallel: int = 2,
        context_length: int | None = None,
        max_queue: int = 512,
        threads: int | None = None,
        load_seconds: float = 300.0,
        timeouts: Timeouts | None = None,
        check_memory: bool = True,
        environment: Mapping[str, str] | None = None,
        machine: Machine | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        demo = demo_model if isinstance(demo_model, Path) else DEMO_PATH if demo_model else None
        self._models = Models(store, demo=demo)
        self._listing = Listing()
        self._fills: dict[Fingerprint, Fill | None] = {}
        self._scan_turn = asyncio.Lock()
        self._context_length = context_length
        self._machine = machine or Machine()
        self._able = False
        self._clock = clock
        self._scheduler = Scheduler(
            Settings(
                keep_alive=keep_alive,
                max_loaded=max_loaded,
                num_parallel=num_parallel,
                max_queue=max_queue,
                threads=threads,
                load_seconds=load_seconds,
                check_memory=check_memory,
                timeouts=timeouts or Timeouts(),
                environment=environment or {},
            ),
            label=name,
            machine=self._machine,
            clock=clock,
        )

    # ---- what there is -----------------------------------------------------------------------------------------------

    async def list_models(self) -> tuple[ModelCard, ...]:
        """All usable models, by id. The directory is looked at anew each time."""
        listing = await self._scan()
        return tuple(self._card(model) for model in listing.models.values())

    async def show(self, id: str, verbose: bool = False) -> ModelDetail:
        """Everything about one model. Raises `ModelNotFound`, or `ModelBroken` for a file that cannot be used."""
        model = await self._find(id)
        try:
            detail = await asyncio.to_thread(model.detail, verbose=verbose)
        except OSError as error:
            raise ModelBroken(f"{model.id} cannot be read: {error.strerror or error}") from error
        return msgspec.structs.replace(detail, card=self._card(model))

    @property
    def broken(self) -> Mapping[Path, Broken]:
        """Models that cannot be used, with the reason, as of the last look; also those that llama.cpp refused."""
        now = self._clock()
        refused = {
            Path(model.fingerprint[0]): Broken(model.id, reason)
            for model in self._listing.models.values()
            if (reason := self._scheduler.faults.reason(model, now)) is not None
        }
        return {**self._listing.broken, **refused}

    @property
    def models(self) -> Mapping[str, ModelFile]:
        """The usable models by id, as of the last look."""
        return self._listing.models

    def fill(self, model: ModelFile) -> Fill | None:
        """How the model fills in between two texts, if it can, as of the last look."""
        return self._fills.get(model.fingerprint)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """What is in memory now or on its way there."""
        now = self._clock()
        return tuple(
            LoadedModel(
                card=self._card(instance.model),
                size_bytes=instance.need.total,
                vram_bytes=0,
                expires_at=instance.deadline if instance.idle else now + instance.keep_alive,
                context_length=instance.context_length,
            )
            for instance in self._scheduler.instances
            if instance.state is not State.STOPPING
        )

    def missing(self) -> str | None:
        """Why no model can be loaded here, in a sentence; `None` if nothing is known to be in the way."""
        return self._machine.missing()

    # ---- the use of a model ----------------------------------------------------------------------------------------

    async def acquire(
        self, id: str, *, num_ctx: int | None = None, embedding: bool = False, tuning: Tuning = UNTUNED
    ) -> Lease:
        """A place on the model, loaded if it is not. Every lease has to be released.

        `num_ctx` is capped at what the model was trained for. `embedding` asks for a process that embeds; a chat model
        gets one of its own for that. What is not said is as the model has it. Raises `ModelNotFound`, `Busy`,
        `NoBackend` after `close`, or an `EngineError`.
        """
        if not self._able:
            missing = self.missing()
            if missing is not None:
                raise EngineMissing(missing)
            self._able = True
        model = await self._find(id)
        if model.refused is not None and not embedding:
            raise ModelBroken(f"the template of {model.id} cannot be used by the engine: {model.refused}")
        usual = model.card.defaults.runner if model.card.defaults is not None else {}
        only_embeds = model.card.capabilities == frozenset({Capability.EMBEDDING})
        return await self._scheduler.acquire(
            model,
            context_length=self._context(model, num_ctx or whole(usual.get("num_ctx"))),
            embedding=embedding or only_embeds,
            tuning=tuning.over(Tuning.asked(usual)),
        )

    async def unload(self, id: str) -> None:
        """Take the model out of memory, after its last request if in use. It is no error if it is not loaded."""
        model = self._listing.find(id)
        await self._scheduler.unload(id if model is None else model.id, model)

    async def close(self) -> None:
        """End every process, also those that are answering. Waiting requests get `NoBackend`."""
        await self._scheduler.close()

    async def find(self, id: str) -> ModelFile | None:
        """The model of that name, `None` where there is none. Raises `ModelBroken` for one that cannot be used."""
        try:
            return await self._find(id)
        except ModelNotFound:
            return None

    # ---- finding -----------------------------------------------------------------------------------------------------

    async def _scan(self) -> Listing:
        async with self._scan_turn:
            self._listing, self._fills = await asyncio.to_thread(self._look)
            return self._listing

    def _look(self) -> tuple[Listing, dict[Fingerprint, Fill | None]]:
        """The models as they are now, and how each of them fills in. Blocks for the disk."""
        listing, known = self._models.scan(), self._fills
        fills: dict[Fingerprint, Fill | None] = {}
        for model in listing.models.values():
            mark = model.fingerprint
            if mark in known:
                fills[mark] = known[mark]
            elif mark not in fills:
                try:
                    fills[mark] = fill_of(model)
                except (OSError, ModelBroken):
                    continue  # the next look sees what has become of it
        return listing, fills

    async def _find(self, id: str) -> ModelFile:
        model = self._listing.find(id)
        if model is not None and model.unchanged():
            return model
        listing = await self._scan()
        model = listing.find(id)
        if model is not None:
            return model
        for broken in listing.broken.values():
            if key(broken.id) == key(id):
                raise ModelBroken(f"{broken.id} cannot be used: {broken.reason}")
        raise ModelNotFound(id)

    def _card(self, model: ModelFile) -> ModelCard:
        """The file's card, with what its other parts add, corrected by what the engine has learnt since."""
        told = model.card.capabilities
        if told is None or told == frozenset({Capability.EMBEDDING}):
            return model.card
        learnt = self._scheduler.learnt(model) or NOTHING_LEARNT
        facts = {
            Capability.INSERT: self.fill(model) is not None,
            Capability.TOOLS: learnt.tools,
            Capability.VISION: learnt.vision,
            Capability.AUDIO: learnt.audio,
        }
        if model.projector is not None and learnt.vision is None:
            facts[Capability.VISION] = True
        able = (told | {each for each, fact in facts.items() if fact}) - {
            each for each, fact in facts.items() if fact is False
        }
        return model.card if able == told else msgspec.structs.replace(model.card, capabilities=able)

    def _context(self, model: ModelFile, num_ctx: int | None) -> int:
        trained = model.card.context_length or DEFAULT_CONTEXT
        wanted = num_ctx or self._context_length or DEFAULT_CONTEXT
        return min(trained, max(wanted, LEAST_CONTEXT))

"""What each library call of the engine does: blobs, create, pull, push, copy and delete, on one model store.

How a call comes in and its frames go out is `desk`'s; where models come from is the store's and the registries'.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from arriero.backends.engine import DEMO_ID
from arriero.backends.engine.library.create import create
from arriero.backends.engine.library.create_body import CLOUD
from arriero.backends.engine.library.desk import Desk, Done, Job, unheard
from arriero.backends.engine.library.uploading import receive
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.progress import Frame, Report
from arriero.backends.engine.registry.download import Downloads
from arriero.backends.engine.registry.pull import pull
from arriero.backends.engine.registry.push import push, unread
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.layout import check_digest
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Call
from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.library import COPY, CREATE, DELETE, PULL, PUSH, READ, Asked, missing
from arriero.dialects.ollama.names import Name, parse, source
from arriero.errors import BadRequest, Forbidden, ModelBroken, ModelNotFound, NotImplementedHere, StoreError
from arriero.wire.jsontext import json_text

BLOBS: Final = "/api/blobs/"


class Operations:
    """`find` tells which model a name means, be it in the store or beside it, `None` where there is none."""

    def __init__(
        self,
        store: Store,
        registries: Registries,
        find: Callable[[str], Awaitable[ModelFile | None]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._registries = registries
        self._downloads = Downloads()
        self._find = find
        self._clock = clock
        self._read: Mapping[str, Callable[[Call, Asked], Job]] = {
            CREATE: self._create,
            PULL: self._pull,
            PUSH: self._push,
            COPY: self._copy,
            DELETE: self._delete,
        }

    def read(self, call: Call) -> Job:
        """What a call asks for. Raises `BadRequest` for a body that cannot be read."""
        if call.target.startswith(BLOBS):
            digest = check_digest(call.target.removeprefix(BLOBS))
            return Job(lambda report: self._blob(call, digest))
        operation = self._read.get(call.target)
        if operation is None:
            raise NotImplementedHere(f"the embedded engine has no {call.target}")
        assert isinstance(call.body, bytes), "only blobs are uploaded"
        return operation(call, READ[call.target](call.body))

    async def close(self) -> None:
        """End the downloads, which are kept to be taken up again, and the connections to registries."""
        await self._downloads.close()
        await self._registries.close()

    # ---- blobs -------------------------------------------------------------------------------------------------------

    async def _blob(self, call: Call, digest: str) -> Done:
        if call.method == "HEAD":
            return Done(404 if await self._store.threads.run(self._store.size, digest) is None else 200)
        if await self._store.threads.run(_is_whole, self._store, digest, _length(call)):
            return Done(200)
        got = await receive(self._store, _pieces(call.body))
        if got != digest:
            raise BadRequest(f"digest mismatch, expected {quote(digest)}, got {quote(got)}")
        return Done(201)

    # ---- models ------------------------------------------------------------------------------------------------------

    def _create(self, call: Call, asked: Asked) -> Job:
        async def run(report: Report) -> None:
            assert isinstance(call.body, bytes)
            await self._store.threads.run(self._store.writable)
            await create(call.body, self._store, report=report, find=self._find, fetch=self._pulled, now=self._clock)

        return Job(run, asked.stream)

    def _pull(self, call: Call, asked: Asked) -> Job:
        base, origin = source(asked.model)
        if origin == "cloud":
            raise Forbidden(CLOUD)
        name = parse(base)
        if name is None:
            raise BadRequest("invalid model name")
        return Job(lambda report: self._pulled(name, report, insecure=asked.insecure), asked.stream)

    async def _pulled(self, name: Name, report: Report, *, insecure: bool = False) -> None:
        await self._store.threads.run(self._store.writable)
        name = await self._store.threads.run(self._spelled, name)
        await pull(self._store, self._registries, self._downloads, name, insecure=insecure, report=report)

    def _push(self, call: Call, asked: Asked) -> Job:
        async def run(report: Report) -> None:
            name = parse(asked.model)
            if name is None:
                report(Frame("retrieving manifest"))
                raise unread(asked.model, report)
            await self._beside(asked.model, "a copy of it can be pushed: ollama cp")
            name = await self._store.threads.run(self._spelled, name)
            await push(self._store, self._registries, name, insecure=asked.insecure, report=report)

        return Job(run, asked.stream)

    def _copy(self, call: Call, asked: Asked) -> Job:
        async def run(report: Report) -> Done:
            destination = parse(asked.destination)
            if destination is None:
                raise BadRequest(f"destination {quote(asked.destination)} is invalid")
            await self._beside(asked.destination, "choose another name")
            model = await self._find(asked.model)
            if model is None:
                raise missing(COPY, asked.model)
            if model.stored is not None:
                await self._store.threads.run(self._store.copy, model.stored.name, destination)
                return Done()
            # It has no manifest that could be copied: its file becomes a blob.
            made = json_text({"model": asked.destination, "from": asked.model})
            await create(made, self._store, report=unheard, find=self._find, fetch=self._pulled, now=self._clock)
            return Done()

        return Job(run)

    def _delete(self, call: Call, asked: Asked) -> Job:
        async def run(report: Report) -> Done:
            names = [name for text in _stored(asked.model) if (name := parse(text)) is not None]
            if not names:
                raise BadRequest(f"name {quote(asked.model)} is invalid")
            for name in names:
                with contextlib.suppress(ModelNotFound):
                    await self._store.threads.run(self._store.delete, name)
                    return Done()
            await self._beside(asked.model, "it is not deleted from here")
            raise missing(DELETE, asked.model)

        return Job(run)

    def _holds(self, typed: str) -> bool:
        """Whether the store has a manifest of that name, readable or not."""
        name = parse(typed)
        try:
            return name is not None and self._store.find(name) is not None
        except StoreError:
            return True

    def _spelled(self, name: Name) -> Name:
        """As the store spells the name already, if it has it: registries tell letters in two cases apart."""
        try:
            stored = self._store.find(name)
        except StoreError:
            return name
        return name if stored is None else stored.name

    async def _beside(self, typed: str, rather: str) -> None:
        """Raises `BadRequest` for the name of a model that is not in the store but beside it."""
        try:
            model = await self._find(typed)
        except ModelBroken as error:
            if await self._store.threads.run(self._holds, typed):
                return  # what the engine cannot use may be pushed, and another model may take its place
            raise BadRequest(f"{error.message}: it is no model of the store but a file beside it, {rather}") from None
        if model is None or model.stored is not None:
            return
        if model.id == DEMO_ID:
            raise BadRequest(f"{quote(typed)} comes with arriero (demo_model: false hides it): {rather}")
        raise BadRequest(f"{quote(typed)} is the file {model.path.name} in the models directory: {rather}")


def open_desk(
    store: Store,
    find: Callable[[str], Awaitable[ModelFile | None]],
    registries: Callable[[], Registries] | None = None,
) -> Desk:
    """The desk of one store."""
    reached = Registries(user_agent="arriero") if registries is None else registries()
    operations = Operations(store, reached, find)
    return Desk(operations.read, operations.close)


def _stored(typed: str) -> tuple[str, ...]:
    """How a model that is meant may be called in the store, the likeliest first."""
    base, origin = source(typed)
    match origin:
        case "local":
            return typed, base  # a model may have `local` for a tag
        case "cloud":
            return (f"{base}-cloud" if ":" in base.rpartition("/")[2] else f"{base}:cloud",)
        case _:
            return (typed,)


def _is_whole(store: Store, digest: str, length: int) -> bool:
    """Whether a blob is there and need not be sent; then it is kept, for a model is about to be made of it. One that is
    shorter than what is sent has been cut, and nothing but sending it again mends it.
    """
    size = store.size(digest)
    if size is None or size < length:
        return False
    store.keep([digest])
    return store.size(digest) is not None


def _length(call: Call) -> int:
    """Bytes that are sent, as far as it is told before."""
    told = next((value for name, value in call.headers if name == b"content-length"), b"0")
    return int(told) if told.isdigit() else 0


async def _pieces(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    async for piece in body:
        yield piece

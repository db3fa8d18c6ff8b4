"""Carries library operations to the backends that manage models.

- `pull`, `create` and `blobs` go to the library home (the first healthy backend in configuration order), or to those
  that the `X-Arriero-Backend` header names: several are asked at once, and their progress becomes one stream.
- A model is created where its blobs were uploaded, also when the home has become another one meanwhile.
- `push` goes to the first healthy backend that has the model; `copy` and `delete` go to every one that has it.
- Nothing is ever tried twice, or elsewhere: half of it may have been done.
- An operation that changes what is listed ends for its client when the touched backends have been asked again.
"""

import asyncio
import re
from collections.abc import Sequence

from msgspec.structs import replace

from arriero.backends.http.call import Head
from arriero.dialects.base import Dialect
from arriero.dialects.ollama.library import (
    COPY,
    CREATE,
    DELETE,
    PULL,
    PUSH,
    READ,
    Asked,
    missing,
    present,
    renamed,
    same_name,
    unknown,
)
from arriero.errors import (
    AmbiguousModel,
    ArrieroError,
    BackendUnreachable,
    BadRequest,
    ClientGone,
    InternalError,
    ModelForbidden,
    ModelNotFound,
)
from arriero.gateway.answering import error_answer
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.gateway.library.asking import Chorus, fetch_each, outcomes_of, relay
from arriero.gateway.library.errand import JSON, NDJSON, Errand
from arriero.gateway.library.late import Late
from arriero.gateway.library.outcomes import failure, failure_where_present
from arriero.gateway.library.placed import Placed
from arriero.gateway.library.targets import Entries, first_well, holders, home_of, managing, named, unusable
from arriero.gateway.library.tee import Tee
from arriero.gateway.roster import Roster
from arriero.routing.fleet import State
from arriero.routing.names import Offer, key_of, listed_name

SEEN_SECONDS = 2.0
"""How long a client waits at most until the listings show what it has done; the asking goes on behind."""

LOOKS = 3
"""How often at most backends are asked again after an operation."""

TARGETS = b"x-arriero-backend"

DONE = {PULL: "pulled", CREATE: "created", COPY: "copied", DELETE: "deleted"}
"""What is said of those who did it. These are the operations that change what is listed."""

STREAMED = (PULL, PUSH, CREATE)
"""These tell frames of their progress."""

MAKING = (PULL, CREATE, COPY)
"""After these a model has a name that it had not."""

_BLOBS = "/api/blobs/"
_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")


class Library:
    """Carries operations, each in the task of its client's request."""

    def __init__(self, roster: Roster, dialect: Dialect) -> None:
        self._roster = roster
        self._dialect = dialect
        self._placed = Placed()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, inbound: Inbound, lane: Lane) -> None:
        """Carry one operation. Answers errors itself."""
        task = asyncio.current_task()
        assert task is not None
        lane.on_gone = task.cancel
        errand = Errand(inbound, lane, self._dialect)
        try:
            await self._carry(errand)
            errand.status = errand.status or 200
        except ArrieroError as error:
            self._tell(errand, error)
        except asyncio.CancelledError:
            if not lane.gone:
                raise
            task.uncancel()
            errand.error = errand.error or ClientGone("the client closed the connection")
        except Exception:
            errand.error = InternalError("a fault of arriero")  # the border above logs and tells it
            raise
        finally:
            lane.on_gone = lane.on_pause = lane.on_resume = None
            errand.end()
            operation = inbound.path.split("/")[2]
            roster = self._roster
            roster.journal.note(errand.outcome, inbound, roster.wall_ns(), self._dialect.name, operation, None)
            if errand.targets and inbound.path in DONE and not errand.seen:
                # Also where it has failed: half of it may have been done.
                self._look_again(tuple(errand.targets))

    def _tell(self, errand: Errand, error: ArrieroError) -> None:
        lane, errand.error = errand.lane, error
        if lane.started:
            lane.abort()
            return
        inbound = errand.inbound
        answer, wait = error_answer(self._dialect, error, inbound.path in STREAMED, inbound.door)
        errand.status = answer.status
        reply(lane, answer.status, ((b"content-type", answer.content_type), *errand.marks, *wait), answer.body)

    async def _carry(self, errand: Errand) -> None:
        inbound = errand.inbound
        path, view = inbound.path, self._roster.view(inbound.door.scope)
        if path.startswith(_BLOBS) and not _DIGEST.fullmatch(path.removeprefix(_BLOBS)):
            # Other text could be another path to the backend, or a query.
            raise BadRequest("invalid digest format")
        if path == PULL and inbound.get(TARGETS) is None and self._pulled_already(errand):
            return
        library = managing(view.entries, path)
        chosen = named(inbound.get(TARGETS), library)
        if path.startswith(_BLOBS):
            errand.go_to(chosen or first_well(library))
            await self._blob(errand, path.removeprefix(_BLOBS))
            return
        asked = READ[path](inbound.body)
        errand.model = asked.model
        if path in MAKING:
            self._roster.check_admitted(asked.destination or asked.model)  # else it would be there, and nobody sees it
        match path:
            case "/api/pull":
                if chosen is None:
                    await self._pull_at_home(errand, asked, library)
                else:
                    errand.go_to(chosen)
                    await self._make(errand, asked)
            case "/api/create":
                offers = self._ground(asked, inbound.door.scope)
                errand.go_to(chosen or self._home_of(asked, offers, library))
                self._say_base(errand, asked, offers)
                await self._make(errand, asked)
            case "/api/push":
                await self._push(errand, asked, library, chosen)
            case _:
                await self._everywhere(errand, asked, library, chosen)

    # ---- pull and create -------------------------------------------------------------------------------------------

    async def _pull_at_home(self, errand: Errand, asked: Asked, library: Entries) -> None:
        """A home that refuses the connection has begun nothing: the next one takes its place."""
        left = dict(library)
        while True:
            home = first_well(left)
            errand.go_to(home)
            try:
                await self._make(errand, asked)
                return
            except BackendUnreachable as error:
                ((name, entry),) = home.items()
                self._roster.met(entry, error)
                del left[name]
                if errand.lane.started or not any(other.well for other in left.values()):
                    raise
                errand.end()

    def _pulled_already(self, errand: Errand) -> bool:
        """Whether the model is one of a backend that manages none: there is nothing to pull. Many clients pull before
        they ask, and want to see frames.
        """
        asked = READ[PULL](errand.inbound.body)
        view = self._roster.view(errand.inbound.door.scope)
        offers = view.names.models.get(key_of(asked.model), ())
        if not offers or any(view.entries[offer.backend].backend.library for offer in offers):
            return False
        errand.model = asked.model
        card = offers[0].card
        frames = present(listed_name(card.id), card)
        form, body = (NDJSON, b"".join(frames)) if asked.stream else (JSON, frames[-1].rstrip())
        reply(errand.lane, 200, (form, *errand.marks), body)
        return True

    async def _make(self, errand: Errand, asked: Asked) -> None:
        names = tuple(errand.targets)
        if len(names) == 1:
            late = Late(errand.lane, whole=not asked.stream)
            backend = errand.targets[names[0]].backend
            await relay(errand, backend, errand.inbound.body, late, whole=not asked.stream)
            if late.good:
                await self._seen(errand, names)
            late.end()
            return
        chorus = Chorus(errand, DONE[errand.inbound.path], stream=asked.stream)
        outcomes = await chorus.run()
        if None in outcomes.values():
            await self._seen(errand, names)
        chorus.close()

    def _ground(self, asked: Asked, scope: str | None) -> Sequence[Offer]:
        """Who has the model that a new one is made from; nobody, where it has to be pulled first.

        Raises `ModelForbidden` where it is hidden: what is made from it would show it.
        """
        if not asked.base:
            return ()
        try:
            return self._roster.view(scope).names.resolve(asked.base)
        except ModelForbidden:
            raise
        except ModelNotFound:
            self._roster.check_admitted(asked.base)
            return ()

    def _home_of(self, asked: Asked, offers: Sequence[Offer], library: Entries) -> Entries:
        found = {digest: places for digest in asked.digests if (places := self._placed.find(digest))}
        having = {name: library[name] for name in library if any(offer.backend == name for offer in offers)}
        return home_of(found, library if found else having or library)

    def _say_base(self, errand: Errand, asked: Asked, offers: Sequence[Offer]) -> None:
        """An alias is arriero's: the backends are told the model behind it, where they all call it the same."""
        inbound = errand.inbound
        if not offers or not self._roster.view(inbound.door.scope).names.is_alias(asked.base):
            return
        ids = {offer.backend: offer.card.id for offer in reversed(offers)}
        if len({ids.get(name) for name in errand.targets}) == 1 and (id := ids.get(next(iter(errand.targets)))):
            errand.inbound = replace(inbound, body=renamed(CREATE, inbound.body, id))

    # ---- blobs -----------------------------------------------------------------------------------------------------

    async def _blob(self, errand: Errand, digest: str) -> None:
        inbound, names = errand.inbound, tuple(errand.targets)
        if len(names) > 1:
            await (self._blob_there(errand, digest) if inbound.method == "HEAD" else self._upload(errand, digest))
            return

        def on_head(head: Head) -> None:
            if 200 <= head.status < 300:
                self._placed.put(digest, names)

        body = inbound.body if inbound.upload is None else inbound.upload
        await relay(errand, errand.targets[names[0]].backend, body, errand.lane, on_head=on_head)

    async def _blob_there(self, errand: Errand, digest: str) -> None:
        """Whether all have it. One that cannot say is no reason to send it, for that would fail as well."""
        outcomes = outcomes_of(await fetch_each(errand, dict.fromkeys(errand.targets, b"")))
        self._placed.put(digest, [name for name, error in outcomes.items() if error is None])
        errors = [error for error in outcomes.values() if error is not None]
        status = 200 if not errors else 404 if any(error.status == 404 for error in errors) else 502
        errand.status = status
        reply(errand.lane, status, errand.marks, b"")

    async def _upload(self, errand: Errand, digest: str) -> None:
        """One upload to several. Those who fail are told at the end, the others go on."""
        names, upload = tuple(errand.targets), errand.inbound.upload
        if upload is None:
            answers = await fetch_each(errand, dict.fromkeys(names, errand.inbound.body))
        else:
            tee = Tee(upload, len(names))
            try:
                answers = await fetch_each(errand, dict(zip(names, tee.branches, strict=True)))
            finally:
                await tee.close()
        outcomes = outcomes_of(answers)
        self._placed.put(digest, [name for name, error in outcomes.items() if error is None])
        error = failure("stored", outcomes)
        if error is not None:
            raise error
        known = all(isinstance(answer, Head) and answer.status == 200 for answer in answers.values())
        errand.status = 200 if known else 201
        reply(errand.lane, errand.status, errand.marks, b"")

    # ---- push, copy and delete -------------------------------------------------------------------------------------

    async def _push(self, errand: Errand, asked: Asked, library: Entries, chosen: Entries | None) -> None:
        body = errand.inbound.body
        try:
            offers = await self._roster.resolve(asked.model, errand.inbound.door.scope)
        except AmbiguousModel:
            raise
        except ModelNotFound:
            # Ollama says this in frames of its own.
            errand.go_to(first_well(chosen or library))
        else:
            held = holders(PUSH, asked.model, offers, library, chosen)
            errand.go_to(first_well({name: library[name] for name in held}))
            body = renamed(PUSH, body, held[next(iter(errand.targets))].card.id)
        (entry,) = errand.targets.values()
        await relay(errand, entry.backend, body, errand.lane)

    async def _everywhere(self, errand: Errand, asked: Asked, library: Entries, chosen: Entries | None) -> None:
        path, body = errand.inbound.path, errand.inbound.body
        if path == COPY and same_name(asked.model, asked.destination):
            reply(errand.lane, 200, errand.marks, b"")  # as Ollama has it, whether the model is there or not
            return
        held = unusable(asked.model, chosen or library) if path == DELETE else {}
        if not held:
            offers = await self._offers(errand, asked.model)
            held = {n: offer.card.id for n, offer in holders(path, asked.model, offers, library, chosen).items()}
        errand.go_to({name: library[name] for name in held})
        away = {name: entry for name, entry in errand.targets.items() if entry.state is State.OFFLINE}
        bodies = {name: renamed(path, body, id) for name, id in held.items() if name not in away}
        answers = outcomes_of(await fetch_each(errand, bodies))
        outcomes = {name: _offline(away[name].error) if name in away else answers[name] for name in held}
        error = failure_where_present(DONE[path], outcomes, missing(path, asked.model))
        await self._seen(errand, tuple(bodies))
        if error is not None:
            raise error
        reply(errand.lane, 200, errand.marks, b"")

    async def _offers(self, errand: Errand, model: str) -> Sequence[Offer]:
        """Who has it. An alias may be copied, but not deleted: it is a line in the configuration."""
        scope, path = errand.inbound.door.scope, errand.inbound.path
        try:
            offers = await self._roster.resolve(model, scope)
        except AmbiguousModel:
            raise
        except ModelNotFound:
            raise unknown(path, model) from None
        folded = model.strip().casefold()
        aliased = self._roster.view(scope).names.has_alias(folded)
        if path == DELETE and aliased and all(offer.card.id.casefold() != folded for offer in offers):
            raise BadRequest(
                f"'{model}' is an alias of {offers[0].card.id}: delete the model by its own name, "
                "or take the alias out of the configuration"
            )
        return offers

    # ---- the listings ----------------------------------------------------------------------------------------------

    async def _seen(self, errand: Errand, names: Sequence[str]) -> None:
        """Returns when the listings show what these backends have now, or after `SEEN_SECONDS`."""
        errand.seen = True
        if names:
            await asyncio.wait([self._look_again(names)], timeout=SEEN_SECONDS)

    def _look_again(self, names: Sequence[str]) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._look(names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look(self, names: Sequence[str]) -> None:
        since = self._roster.clock()
        for _ in range(LOOKS):
            # A question that was on its way already may have been answered before anything was done, and one of a
            # keeper's may not have been about models.
            await self._roster.refresh(names=names)
            entries = [self._roster.entries[name] for name in names if name in self._roster.entries]
            if all(entry.asked >= since and (entry.listed >= since or not entry.well) for entry in entries):
                return


def _offline(reason: ArrieroError | None) -> BackendUnreachable:
    return BackendUnreachable("it is offline" if reason is None else f"it is offline ({reason.message})")

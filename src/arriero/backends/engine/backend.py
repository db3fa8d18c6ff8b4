"""The kind `engine`: llama.cpp on this machine as one more backend, reached in the OpenAI dialect on a unix socket."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from arriero.backends.base import Want
from arriero.backends.engine.engine import Engine
from arriero.backends.engine.instance import Lease
from arriero.backends.engine.models import model_id
from arriero.backends.http.call import Call, Headers, Rendered, Timeouts
from arriero.canonical.catalog import Capability, LoadedModel, ModelCard, ModelDetail
from arriero.canonical.requests import EmbedRequest
from arriero.dialects.profiles import profile_of
from arriero.errors import BackendError, BadRequest, EngineError

_AUTOMATIC_LOADED = 3

SPECIAL_TOKENS = 8
"""Room for the tokens that a vocabulary puts around every text."""


class _Tokenized(Struct):
    tokens: tuple[int, ...]


_tokens = msgspec.json.Decoder(_Tokenized).decode


class EnginePlace:
    """A place on a loaded model, held until the request has ended."""

    __slots__ = ("_headers", "_lease", "model", "pool")

    def __init__(self, lease: Lease, headers: Headers) -> None:
        self._lease = lease
        self._headers = headers
        self.pool = lease.pool
        self.model = lease.model_alias

    def release(self, keep_alive: float | None) -> None:
        """The model's time in memory runs from here."""
        self._lease.release(keep_alive)

    async def fit(self, request: EmbedRequest) -> EmbedRequest:
        """Inputs cut to the context, as tokens: llama.cpp answers an overlong one with an error instead."""
        inputs = [await self._fitted(one, request.truncate) for one in request.inputs]
        return msgspec.structs.replace(request, inputs=tuple(inputs))

    async def _fitted(self, one: str | tuple[int, ...], truncate: bool | None) -> str | tuple[int, ...]:
        limit = self._lease.context_length
        # A token is at least one byte: most texts need no counting.
        if isinstance(one, str) and len(one.encode()) < limit - SPECIAL_TOKENS:
            return one
        tokens = one if not isinstance(one, str) else await self._tokens(one)
        if len(tokens) <= limit:
            return one
        if truncate is False:
            raise BadRequest("the input length exceeds the context length")
        return tokens[:limit]

    async def _tokens(self, text: str) -> tuple[int, ...]:
        body = msgspec.json.encode({"content": text, "add_special": True})
        head, answer = await self.pool.fetch(Call("POST", "/tokenize", self._headers, body))
        if head.status != 200:
            raise EngineError(f"{self.model} could not count the tokens of an input (HTTP {head.status})")
        return _tokens(answer).tokens

    async def diagnose(self) -> BackendError | None:
        """The crash of the model's process, if that is why the answer was cut."""
        return await self._lease.diagnose()


class EngineBackend:
    """The embedded engine."""

    kind = "engine"
    library = False
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
        models_dir: Path,
        demo_model: bool,
        keep_alive: float,
        max_loaded: int | None,
        num_parallel: int,
        context_length: int | None,
        max_queue: int,
        threads: int | None,
        timeouts: Timeouts,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.where = "this machine"
        self.profile = profile_of("engine")
        self.roots: Mapping[str, str] = {"openai": "/v1"}
        self.headers: Headers = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))
        self.rendered = Rendered.of(self.headers)
        self.engine = Engine(
            name,
            models_dir,
            demo_model,
            keep_alive=keep_alive,
            max_loaded=max_loaded or _AUTOMATIC_LOADED,
            num_parallel=num_parallel,
            context_length=context_length,
            max_queue=max_queue,
            threads=threads,
            timeouts=timeouts,
            environment=environment,
        )

    def at_hand(self, want: Want) -> EnginePlace | None:
        """None: whether the model is loaded, and whether a slot is free, is the scheduler's to say."""
        return None

    async def reach(self, want: Want) -> EnginePlace:
        """A place on the model, which is loaded if it is not. Waits its turn."""
        lease = await self.engine.acquire(want.model, num_ctx=want.context_length, embedding=want.embedding)
        return EnginePlace(lease, self.headers)

    async def load(self, model: str, keep_alive: float | None) -> None:
        """Bring the model into memory for `keep_alive` seconds; 0 takes it out."""
        if keep_alive == 0:
            await self.engine.unload(model)
        else:
            (await self.engine.acquire(model)).release(keep_alive)

    async def check(self) -> None:
        """Nothing to ask: it is here."""

    async def list_models(self) -> tuple[ModelCard, ...]:
        """The models directory as it is now, and the demo model; none where no engine is installed."""
        if self.engine.missing() is not None:
            return ()
        return tuple(_spoken(card) for card in await self.engine.list_models())

    @property
    def broken(self) -> Mapping[str, str]:
        """Files that are no usable models, by the id that they would have."""
        return {model_id(path.stem): reason for path, reason in self.engine.broken.items()}

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
        detail = await self.engine.show(card.id, verbose)
        return msgspec.structs.replace(detail, card=_spoken(detail.card))

    async def close(self) -> None:
        """End every process."""
        await self.engine.close()


def _spoken(card: ModelCard) -> ModelCard:
    """The card without what the model could do but arriero cannot ask for: llama.cpp fills in only on a route of its
    own, which the OpenAI dialect does not have.
    """
    if card.capabilities is None or Capability.INSERT not in card.capabilities:
        return card
    return msgspec.structs.replace(card, capabilities=card.capabilities - {Capability.INSERT})


def _together(one: LoadedModel, other: LoadedModel) -> LoadedModel:
    longest = max((one, other), key=lambda model: model.expires_at or 0.0)
    size = (one.size_bytes or 0) + (other.size_bytes or 0)
    return msgspec.structs.replace(longest, size_bytes=size)

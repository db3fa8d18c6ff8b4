"""A place on a loaded model, and what a request has to be like before it is sent there.

llama.cpp answers some requests with a fault of its own where a client deserves a plain word, and passes over others in
silence: texts too long to embed, a suffix, pictures for a model that sees none. And it fetches what an URL names, for
anybody who asks. All of that is settled here, before it is asked.
"""

from typing import Final, assert_never

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from arriero.backends.base import whole
from arriero.backends.engine.infill import Fill, shortened
from arriero.backends.engine.instance import LEAST_CONTEXT, Lease
from arriero.backends.engine.pictures import media_type
from arriero.backends.http.call import Call, Headers
from arriero.canonical.requests import (
    Audio,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    Image,
    Message,
    Opaque,
    Part,
    Request,
)
from arriero.errors import (
    BackendError,
    BadRequest,
    ContextExceeded,
    EngineError,
    UnsupportedCapability,
    UnsupportedContent,
)

SPECIAL_TOKENS: Final = 8
"""Room for the tokens that a vocabulary puts around every text."""

LEAST_ANSWER: Final = 128
"""Tokens that a long text to fill in leaves for what is filled in."""

MAX_SHORTENINGS: Final = 6

HEARD: Final = frozenset({"num_ctx", "num_thread", "num_batch", "use_mmap", "num_gpu", "main_gpu"})
"""Load-time options that were heeded when the model was loaded, and those of hardware that is not here."""

SPOKEN: Final = "openai"
"""The dialect of llama.cpp's server."""

NO_URLS: Final = "image URLs are not currently supported, please use base64 encoded data instead"


class _Tokenized(Struct):
    tokens: tuple[int, ...]


_tokens = msgspec.json.Decoder(_Tokenized).decode


class EnginePlace:
    """A place on a loaded model, held until the request has ended. `fill` is how the model fills in, if it can."""

    __slots__ = ("_fill", "_headers", "_lease", "model", "pool")

    def __init__(self, lease: Lease, headers: Headers, fill: Fill | None = None) -> None:
        self._lease = lease
        self._headers = headers
        self._fill = fill
        self.pool = lease.pool
        self.model = lease.model_alias

    def release(self, keep_alive: float | None) -> None:
        """The model's time in memory runs from here."""
        self._lease.release(keep_alive)

    async def diagnose(self) -> BackendError | None:
        """The crash of the model's process, if that is why the answer was cut."""
        return await self._lease.diagnose()

    async def fit(self, request: Request) -> Request:
        """The request as llama.cpp takes it. Raises `BadRequest`."""
        asked, limit = whole(request.runner.get("num_ctx")), self._lease.context_length
        # The process may have more room than this request has a right to.
        limit = limit if asked is None else min(limit, max(asked, LEAST_CONTEXT))
        if request.runner and request.dialect != SPOKEN:
            # Nobody is to be told that they were dropped: they have had their say, or there is nothing to say. Those
            # that a model brings along do not keep a request of the same dialect from going out as it came.
            left = {name: value for name, value in request.runner.items() if name not in HEARD}
            request = replace(request, runner=left)
        match request:
            case EmbedRequest():
                return await self._cut(request, limit)
            case CompletionRequest():
                return await self._filled_in(request, limit) if request.suffix else request
            case ChatRequest():
                return self._seen(request)
            case _:
                assert_never(request)

    # ---- texts to embed --------------------------------------------------------------------------------------------

    async def _cut(self, request: EmbedRequest, limit: int) -> EmbedRequest:
        """Inputs cut to the context, as tokens."""
        inputs = [await self._fitted(one, request.truncate, limit) for one in request.inputs]
        return replace(request, inputs=tuple(inputs))

    async def _fitted(self, one: str | tuple[int, ...], truncate: bool | None, limit: int) -> str | tuple[int, ...]:
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

    # ---- text to fill in -------------------------------------------------------------------------------------------

    async def _filled_in(self, request: CompletionRequest, limit: int) -> CompletionRequest:
        """Prefix and suffix as one prompt: the route that is asked knows no suffix."""
        prompt, suffix = request.prompt, request.suffix or ""
        text = self._joined(request.model, prompt, suffix)
        for _ in range(MAX_SHORTENINGS):
            if len(text.encode()) < limit - LEAST_ANSWER:
                break
            count = len(await self._tokens(text))
            if count <= limit - LEAST_ANSWER:
                break
            if request.truncate is False:
                raise ContextExceeded(ContextExceeded.TEXT)
            prompt, suffix = shortened(prompt, suffix, 0.9 * (limit - LEAST_ANSWER) / count)
            text = self._joined(request.model, prompt, suffix)
        return replace(request, prompt=text, suffix=None)

    def _joined(self, model: str, prompt: str, suffix: str) -> str:
        if self._fill is None:
            raise UnsupportedCapability(f'"{model}" does not support insert')
        return self._fill(prompt, suffix)

    # ---- pictures and sounds ---------------------------------------------------------------------------------------

    def _seen(self, request: ChatRequest) -> ChatRequest:
        if not any(isinstance(part, Image | Audio | Opaque) for message in request.messages for part in message.parts):
            return request
        messages = tuple(self._turn(request.model, message) for message in request.messages)
        # A copy in any case: what is not said anew is sent as the client wrote it, whatever else stands in there.
        return replace(request, messages=messages)

    def _turn(self, model: str, message: Message) -> Message:
        return replace(message, parts=tuple(self._part(model, part) for part in message.parts))

    def _part(self, model: str, part: Part) -> Part:
        learnt = self._lease.learnt
        match part:
            case Image(data, url):
                if learnt.vision is False:
                    raise UnsupportedCapability(f'"{model}" does not support images')
                if data is None:
                    data = _data_of(url or "")
                return Image(data=data, media_type=media_type(data), detail=part.detail)
            case Audio():
                if learnt.audio is False:
                    raise UnsupportedCapability(f'"{model}" does not support audio')
                return part
            case Opaque(_, kind):
                raise UnsupportedContent(f"content of type {kind!r} cannot be sent to this model's server")
            case _:
                return part


def _data_of(url: str) -> str:
    """The base64 of a `data:` URI. Whatever else an URL names is not fetched for a client."""
    head, mark, data = url.partition(";base64,")
    if not mark or not head.startswith("data:"):
        raise BadRequest(NO_URLS)
    return data

"""Embeddings that are transcoded: cut to what the backend takes, asked for in batches, joined again.

A vendor limits how many texts one call may hold and how long each may be; an Ollama client knows neither limit. Texts
that are too long are shortened, unless the client said `truncate: false`.
"""

from collections.abc import Callable

import msgspec

from arriero.backends.base import Place
from arriero.backends.http.call import Call, Head
from arriero.canonical.events import Embeddings, Timings, Usage
from arriero.canonical.requests import EmbedRequest
from arriero.dialects.base import Driver, Outbound
from arriero.dialects.quirks import Profile
from arriero.errors import BackendBroken, BackendError, BadRequest, ContextExceeded

MAX_SHORTENINGS = 8
"""Each halves the longest texts: a text of 250 times the context still fits in the end."""

TOO_LONG = "the input length exceeds the context length"


async def embed(
    request: EmbedRequest,
    place: Place,
    driver: Driver,
    *,
    profile: Profile,
    encode: Callable[[EmbedRequest], Outbound],
    call: Callable[[Outbound], Call],
    read_error: Callable[[Head, bytes], BackendError],
) -> tuple[Embeddings, tuple[str, ...]]:
    """The vectors of every input, in order, and the names of the knobs that were dropped. Raises `ArrieroError`.

    The request has been fitted to the place. `profile` is the backend's: how many inputs it takes at once, and who
    speaks in its errors.
    """
    parts: list[Embeddings] = []
    dropped: tuple[str, ...] = ()
    for start in range(0, len(request.inputs), profile.embed_batch):
        wanted = msgspec.structs.replace(request, inputs=request.inputs[start : start + profile.embed_batch])
        for _ in range(MAX_SHORTENINGS):
            outbound = encode(wanted)
            dropped = outbound.dropped
            head, body = await place.pool.fetch(call(outbound))
            if 200 <= head.status < 300:
                break
            error = read_error(head, body)
            if not isinstance(error, ContextExceeded):
                raise error
            if request.truncate is False:
                raise BadRequest(TOO_LONG)
            wanted = _shortened(wanted)
        else:
            raise BadRequest(TOO_LONG)
        parts.append(_as_many(driver.decode(body, profile), len(wanted.inputs)))
    return _joined(parts, request.dimensions), dropped


def _shortened(request: EmbedRequest) -> EmbedRequest:
    """The longest inputs cut to half their length, and the others where they are longer than that."""
    limit = max(1, max(map(len, request.inputs)) // 2)
    return msgspec.structs.replace(request, inputs=tuple(one[:limit] for one in request.inputs))


def _as_many(whole: object, count: int) -> Embeddings:
    if not isinstance(whole, Embeddings) or len(whole.vectors) != count:
        found = len(whole.vectors) if isinstance(whole, Embeddings) else 0
        raise BackendBroken(f"the backend gave {found} vectors for {count} inputs")
    return whole


def _joined(parts: list[Embeddings], dimensions: int | None) -> Embeddings:
    vectors = tuple(cut(vector, dimensions) for part in parts for vector in part.vectors)
    return Embeddings(
        vectors,
        Usage(prompt_tokens=_sum([part.usage.prompt_tokens for part in parts])),
        Timings(total_ns=_sum([part.timings.total_ns for part in parts])),
    )


def cut(vector: tuple[float, ...], dimensions: int | None) -> tuple[float, ...]:
    """The first `dimensions` values, with length 1 again; the vector itself where it is not longer."""
    if not dimensions or dimensions >= len(vector):
        return vector
    short = vector[:dimensions]
    length = sum(value * value for value in short) ** 0.5
    return tuple(value / length for value in short) if length else short


def _sum(counts: list[int | None]) -> int | None:
    """The sum of what is known; unknown if one is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None

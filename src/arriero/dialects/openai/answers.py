"""Reading whole answers of OpenAI-compatible backends.

A whole chat or completion is read by the same rules as a stream of one chunk, so the two cannot disagree.
"""

import base64
import binascii
import struct
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from arriero.canonical.events import Answer, Embeddings, Event, Finished, Reason, Started
from arriero.canonical.requests import Text
from arriero.canonical.stream import Folder
from arriero.dialects.backend_errors import NOBODY, error_of
from arriero.dialects.openai.chunks import (
    EMPTY,
    UNREADABLE,
    Chunk,
    Delta,
    NotJson,
    WireUsage,
    loosely,
    present,
    read_chunk,
)
from arriero.dialects.openai.failures import reported
from arriero.dialects.openai.stream import Reader, timings_of, usage_of
from arriero.dialects.quirks import Profile
from arriero.errors import BackendBroken, BackendError

_PLAIN_REASONS: Mapping[str | None, Reason] = {"stop": Reason.STOP, "length": Reason.LENGTH}


def decode_answer(body: bytes, profile: Profile = NOBODY) -> Answer:
    """A whole answer of `/chat/completions` or `/completions`. Raises `BackendError` and its kin."""
    try:
        chunk = read_chunk(body)
    except NotJson as error:
        if not body.strip():
            raise BackendBroken("the backend's answer is empty") from None
        raise BackendBroken(f"the backend's answer is not JSON: {error}") from None
    if present(chunk.error):
        raise reported(body, profile)
    if chunk.choices is None:
        raise _no_answer(body, "choices", profile)
    if (plain := _plain(chunk)) is not None:
        return plain
    for choice in chunk.choices:
        if choice.message is not None:
            choice.delta = None  # Perplexity sends an empty one beside the message
    out: list[Event] = []
    reader = Reader(profile)
    reader.chunk(chunk, out)
    reader.finish(out)
    folder = Folder()
    folder.feed(out)
    if folder.failed is not None:
        if folder.failed.status == 502:
            raise BackendBroken(folder.failed.message)
        raise error_of(folder.failed)
    answer = folder.answer
    assert answer is not None
    return answer


def _plain(chunk: Chunk) -> Answer | None:
    """The answer of a chunk that holds one text and nothing else, as nearly every one does: the reader's, for less."""
    if chunk.choices is None or len(chunk.choices) != 1 or chunk.x_groq is not None:
        return None
    choice = chunk.choices[0]
    message = choice.message
    if message is None or choice.finish_reason not in _PLAIN_REASONS or choice.index or choice.delta is not None:
        return None
    text = message.content
    if not isinstance(text, str) or not text or present(choice.logprobs) or choice.error or chunk.error:
        return None
    if message != Delta(content=text):
        return None
    finished = Finished(
        _PLAIN_REASONS[choice.finish_reason],
        usage_of(chunk.usage, chunk.timings),
        timings_of(chunk.usage, chunk.timings),
    )
    return Answer((Text(text),), finished, Started(chunk.id, chunk.model))


class _Vector(Struct):
    """One of `data`: floats, or base64 of little-endian float32."""

    embedding: tuple[float, ...] | str
    index: int | None = None


class _Vectors(Struct):
    data: list[_Vector] | None = None
    usage: WireUsage | None = None
    error: msgspec.Raw = EMPTY


_vectors = msgspec.json.Decoder(_Vectors).decode


def decode_embeddings(body: bytes, profile: Profile = NOBODY) -> Embeddings:
    """A whole answer of `/embeddings`, in the order of the inputs. Raises `BackendError` and its kin."""
    try:
        found = _vectors(body)
    except UNREADABLE as error:
        raise BackendBroken(f"the backend's embeddings cannot be read: {error}") from None
    if present(found.error):
        raise reported(body, profile)
    if found.data is None:
        raise _no_answer(body, "data", profile)
    listed = found.data
    order = [item.index for item in listed]
    # By index, never by position; unless the indexes say nothing (all missing, or all 0).
    if sorted(index for index in order if index is not None) == list(range(len(listed))):
        listed = sorted(listed, key=lambda item: item.index or 0)
    return Embeddings(tuple(_floats(item.embedding) for item in listed), usage_of(found.usage, None))


def _floats(embedding: tuple[float, ...] | str) -> tuple[float, ...]:
    if isinstance(embedding, tuple):
        return embedding
    try:
        data = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(data) // 4}f", data)
    except (binascii.Error, struct.error, ValueError) as error:
        raise BackendBroken(f"the backend's embeddings are not base64 of float32: {error}") from None


def _no_answer(body: bytes, key: str, profile: Profile) -> BackendError:
    try:
        value = loosely(body)
    except NotJson:
        value = None
    if isinstance(value, dict) and any(word in value for word in ("message", "detail", "msg")):
        return reported(body, profile)
    return BackendBroken(f"the backend's answer has no {key}")

"""Library requests: what their bodies ask for, and the same body with a model's name as one backend knows it.

Bodies are read as Ollama's server reads them: keys in any letter case, faults in its words.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Raw, Struct

from arriero.canonical.catalog import ModelCard
from arriero.dialects.ollama.catalog import INVENTED_SIZE_BYTES, digest
from arriero.dialects.ollama.golang import quote
from arriero.dialects.ollama.lenient import reader, repaired
from arriero.dialects.ollama.names import check_unknown, parse, source
from arriero.errors import BadRequest, ModelNotFound
from arriero.wire.jsontext import json_string, json_text
from arriero.wire.splice import members, splice

PULL, PUSH, CREATE, COPY, DELETE = "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"
"""The operations, by their paths."""


class Asked(Struct, frozen=True):
    """`model` is as the client typed it, for a copy its source. `destination` is the copy's. `digests` are the blobs
    that a model is created of, `base` the model. `stream`: frames are wanted, not one answer at the end. `insecure`:
    the registry is asked over plain HTTP.
    """

    model: str
    destination: str = ""
    stream: bool = True
    digests: tuple[str, ...] = ()
    base: str = ""
    insecure: bool = False


class _NameBody(Struct):
    model: str | None = None
    name: str | None = None


class _Body(_NameBody):
    stream: bool | None = None
    insecure: bool | None = None


class _CreateBody(_Body):
    base: str | None = msgspec.field(default=None, name="from")
    files: dict[str, Raw] | None = None
    adapters: dict[str, Raw] | None = None
    draft_files: dict[str, Raw] | None = None


class _CopyBody(Struct):
    source: str | None = None
    destination: str | None = None


_read_pull = reader(_Body, "PullRequest")
_read_push = reader(_Body, "PushRequest")
_read_create = reader(_CreateBody, "CreateRequest")
_read_copy = reader(_CopyBody, "CopyRequest")
_read_delete = reader(_NameBody, "DeleteRequest")


def _pull(body: bytes) -> Asked:
    read, _ = _read_pull(body)
    return Asked(_new_name(read), stream=read.stream is not False, insecure=bool(read.insecure))


def _push(body: bytes) -> Asked:
    read, _ = _read_push(body)
    return Asked(_known_name(read), stream=read.stream is not False, insecure=bool(read.insecure))


def _create(body: bytes) -> Asked:
    read, _ = _read_create(body)
    maps = (read.files, read.adapters, read.draft_files)
    digests = tuple(text for found in maps for raw in (found or {}).values() if (text := _text(raw)))
    return Asked(_new_name(read), stream=read.stream is not False, digests=digests, base=read.base or "")


def _copy(body: bytes) -> Asked:
    read, _ = _read_copy(body)
    for field, text in (("source", read.source or ""), ("destination", read.destination or "")):
        # The source may be any name that arriero knows, the destination becomes one of Ollama's.
        if not text or text != text.strip() or (field == "destination" and parse(text) is None):
            raise BadRequest(f"{field} {quote(text)} is invalid")
    return Asked(read.source or "", read.destination or "")


def _delete(body: bytes) -> Asked:
    read, _ = _read_delete(body)
    return Asked(_known_name(read))


READ: Mapping[str, Callable[[bytes], Asked]] = MappingProxyType(
    {PULL: _pull, PUSH: _push, CREATE: _create, COPY: _copy, DELETE: _delete}
)
"""Reads the body of an operation. Each raises `BadRequest`."""


def same_name(one: str, other: str) -> bool:
    """Whether two texts are one name to Ollama."""
    first, second = parse(one), parse(other)
    return first is not None and second is not None and first.key == second.key


def missing(path: str, model: str) -> ModelNotFound:
    """A model that is not there, in the words of the operation."""
    return ModelNotFound(model, f"model {quote(model)} not found" if path == COPY else None)


def unknown(path: str, model: str) -> ModelNotFound:
    """The same of one that nobody lists. Raises `BadRequest` for a text that is no name at all."""
    if path == DELETE:
        source(model)
    try:
        check_unknown(model)
    except BadRequest:
        raise BadRequest(f"{'source' if path == COPY else 'name'} {quote(model)} is invalid") from None
    return missing(path, model)


_KNOWN = MappingProxyType({COPY: ("source",), CREATE: ("from",)})
"""Where the name of a model that is there already stands, if not where it stands elsewhere."""


def renamed(path: str, body: bytes, id: str) -> bytes:
    """The body of an operation with the backend's own id where the model's name stands. Nothing else moves."""
    keys = _KNOWN.get(path, ("model", "name"))
    body = repaired(body)
    found = {member.key for member in members(body) if member.key.casefold() in keys}
    return splice(body, dict.fromkeys(found, json_string(id)))


def present(name: str, card: ModelCard) -> tuple[bytes, ...]:
    """What a pull of a model says that is there already: its lines, the last one that of success."""
    blob, size = f"sha256:{digest(name, card)}", card.size_bytes or INVENTED_SIZE_BYTES
    frames = (
        {"status": "pulling manifest"},
        {"status": f"pulling {blob[7:19]}", "digest": blob, "total": size, "completed": size},
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    )
    return tuple(json_text(frame) + b"\n" for frame in frames)


def _new_name(read: _Body) -> str:
    """A name that a model is to get."""
    text = read.model or read.name or ""
    if not _is_name(text):
        raise BadRequest("invalid model name")
    return text


def _known_name(read: _NameBody) -> str:
    """A name of a model that somebody has, however it is written."""
    text = read.model or read.name or ""
    if not text.strip():
        raise BadRequest("model is required")
    return text


def _is_name(text: str) -> bool:
    return parse(source(text)[0]) is not None


def _text(raw: Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return ""  # the backend finds words for it

"""Which backend a conversation stays on: what names the conversation, and who remembers it.

A key is the same from the first turn on, and no two clients share one because their system prompts are alike. No clock
here; whether a pinned backend may be taken is decided elsewhere.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from arriero.routing.names import key_of

_Headers = tuple[tuple[bytes, bytes], ...]

SESSION_FIELDS = (b"x-arriero-session", b"x-olla-session-id")
"""The header fields in which a client names its session; the first one counts."""

PROMPT_CHARACTERS = 256
"""A prompt without messages names a conversation by its beginning, if it is this long: a shorter one may yet grow."""


Outcome: TypeAlias = Literal["hit", "miss", "repin", "disabled"]
"""What became of a request's session: it went to the backend that it was on; nobody remembers it; its backend could not
take it, and another one has it now; the request names none.
"""


class Key(Struct, frozen=True, gc=False):
    """What names a conversation with one model: a digest, and where it comes from: `session_header`, `prefix_hash`,
    `auth_header` or `ip`.
    """

    text: str
    source: str


class Stick(Struct, frozen=True, gc=False):
    """What the answer's header says. `session` is the client's own word for it, only where that was the key."""

    outcome: Outcome
    source: str | None = None
    session: str | None = None


def stick(outcome: Outcome, key: Key | None, headers: _Headers) -> Stick:
    """The words for the answer; without a key there was nothing to keep."""
    if key is None:
        return Stick("disabled")
    named = session(headers) if key.source == "session_header" else None
    return Stick(outcome, key.source, None if named is None else named.decode("latin-1"))


def session(headers: _Headers) -> bytes | None:
    """The session that the client names; header names are in lower case."""
    return _field(headers, SESSION_FIELDS)


def derive(kinds: Sequence[str], *, model: str, headers: _Headers, body: bytes, client: str | None) -> Key | None:
    """The key of the first kind that the request has, `None` where it has none. A body of any form is taken.

    `kinds` are words of `routing.sticky.keys`; `client` is the client's address. Spellings of one model are one model.
    """
    for kind in kinds:
        match kind:
            case "header":
                source, parts = "session_header", _one(session(headers))
            case "prefix":
                source, parts = "prefix_hash", _prefix(body)
                if parts is not None:
                    # Many clients have the same system prompt and say hello: they must not all meet on one backend.
                    parts = [*parts, _credential(headers) or b"", (client or "").encode()]
            case "authorization":
                source, parts = "auth_header", _one(_credential(headers))
            case "address":
                source, parts = "ip", _one(client.encode() if client else None)
            case _:
                raise ValueError(f"{kind!r} is no kind of session key: header, prefix, authorization or address")
        if parts is not None:
            return Key(_digest([source.encode(), key_of(model.strip()).encode(errors="replace"), *parts]), source)
    return None


class Sessions:
    """Which backend each session is on, for `ttl_seconds` after its last use; the `max_sessions` used last are kept.

    `evictions` counts whatever was dropped: timed out, pushed out, or forgotten with its backend. All times are of one
    monotonic clock.
    """

    def __init__(self, ttl_seconds: float = 600.0, max_sessions: int = 10_000) -> None:
        self.ttl_seconds = ttl_seconds
        self.max_sessions = max_sessions
        self.insertions = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self._pins: OrderedDict[str, _Pin] = OrderedDict()  # the one that was used last is the last
        self._of_backend: dict[str, set[str]] = {}

    def __len__(self) -> int:
        """Sessions in memory; call `expire` first where those that timed out must not count."""
        return len(self._pins)

    def find(self, key: Key, now: float) -> str | None:
        """The backend that the session is on; it counts as used now."""
        self.expire(now)
        pin = self._pins.get(key.text)
        if pin is None:
            self.misses += 1
            return None
        self.hits += 1
        pin.used_at = now
        self._pins.move_to_end(key.text)
        return pin.backend

    def pin(self, key: Key, backend: str, now: float) -> None:
        """The session is on this backend from now on."""
        self.expire(now)
        text = key.text
        pin = self._pins.get(text)
        if pin is None:
            while len(self._pins) >= self.max_sessions:
                self._drop_oldest()
            self._pins[text] = _Pin(backend, now)
            self.insertions += 1
        else:
            if pin.backend != backend:
                self._unlist(text, pin.backend)
                pin.backend = backend
            pin.used_at = now
            self._pins.move_to_end(text)
        self._of_backend.setdefault(backend, set()).add(text)

    def forget(self, backend: str) -> None:
        """Nothing stays on this backend."""
        texts = self._of_backend.pop(backend, ())
        for text in texts:
            del self._pins[text]
        self.evictions += len(texts)

    def expire(self, now: float) -> None:
        """Drops what has timed out."""
        pins = self._pins
        while pins and now - next(iter(pins.values())).used_at >= self.ttl_seconds:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        text, pin = self._pins.popitem(last=False)
        self._unlist(text, pin.backend)
        self.evictions += 1

    def _unlist(self, text: str, backend: str) -> None:
        texts = self._of_backend[backend]
        texts.discard(text)
        if not texts:
            del self._of_backend[backend]


class _Pin(Struct, gc=False):
    backend: str
    used_at: float


class _Part(Struct, frozen=True):
    """A part of a message's content. Marks for a vendor's cache are not read: they move on from turn to turn."""

    text: Raw = Raw()
    image_url: Raw = Raw()
    source: Raw = Raw()
    input_audio: Raw = Raw()
    file: Raw = Raw()


class _Message(Struct, frozen=True):
    role: Raw = Raw()
    content: Raw = Raw()
    images: Raw = Raw()


class _Body(Struct, frozen=True):
    messages: list[_Message] | None = None
    system: Raw = Raw()
    prompt: Raw = Raw()


_body = msgspec.json.Decoder(_Body).decode
_parts = msgspec.json.Decoder(list[_Part]).decode
_text = msgspec.json.Decoder(str).decode

_INSTRUCTIONS = (b'"system"', b'"developer"')


def _prefix(body: bytes) -> list[bytes | Raw] | None:
    """What does not change while the conversation goes on; `None` where the body does not hold it."""
    try:
        read = _body(body)
        if read.messages is not None:
            return _opening(read.system, read.messages)
        if _first(read.prompt) != b'"':
            return None  # absent, or a list of prompts, which is no conversation
        prompt = _text(read.prompt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the dialect will tell the client
    if len(prompt) < PROMPT_CHARACTERS:
        return None
    return [b"prompt", read.system, prompt[:PROMPT_CHARACTERS].encode(errors="replace")]


def _opening(system: Raw, messages: list[_Message]) -> list[bytes | Raw] | None:
    """The system prompts and the first message of the user. What comes behind it is another in the next turn."""
    found: list[bytes | Raw] = [b"messages", *_content(system)]
    for message in messages:
        role = bytes(message.role)
        if role == b'"user"':
            return [*found, b"user", *_content(message.content), message.images]
        if role in _INSTRUCTIONS:
            found += [b"system", *_content(message.content)]
    return None


def _content(content: Raw) -> list[bytes | Raw]:
    """The bytes of a text, or of the parts of a list, as they stand: an image is never decoded."""
    if _first(content) != b"[":
        return [content]
    return [
        piece
        for part in _parts(content)
        for piece in (part.text, part.image_url, part.source, part.input_audio, part.file)
        if piece
    ]


def _first(value: Raw) -> bytes:
    return bytes(memoryview(value)[:1])  # no copy of what may be an image


def _credential(headers: _Headers) -> bytes | None:
    return _field(headers, (b"authorization", b"x-api-key"))


def _field(headers: _Headers, names: Sequence[bytes]) -> bytes | None:
    for wanted in names:
        for name, value in headers:
            if name == wanted and (stripped := value.strip()):
                return stripped
    return None


def _one(value: bytes | None) -> list[bytes | Raw] | None:
    return None if value is None else [value]


def _digest(parts: Sequence[bytes | Raw]) -> str:
    hashed = blake2b(digest_size=12)
    for part in parts:
        hashed.update(b"%d:" % len(part))  # where one ends and the next begins counts, too
        hashed.update(part)
    return hashed.hexdigest()

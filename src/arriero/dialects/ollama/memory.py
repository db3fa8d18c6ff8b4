"""`context` of /api/generate: a conversation so far as a list of numbers, which clients hand back as it came.

An Ollama server puts tokens there. No other backend could read those, so arriero carries the words themselves: a mark,
then three bytes in each number, made of a checksum and the compressed turns. No vocabulary has as many tokens as the
mark says, so nobody's tokens are taken for it, nor for the other way round. Images stay behind, as they do there.
"""

import zlib
from collections.abc import Sequence
from struct import Struct as Layout
from struct import error as OutOfRange

from arriero.canonical.requests import Message, Text
from arriero.errors import BadRequest

MARK = 10_976_864
"""The first number of a list that arriero has written."""

MAX_BYTES = 4 << 20
"""Of text in one conversation: more than any model's context holds."""

MAX_TURNS = 20_000

_ROLES = {"system": b"s", "user": b"u", "assistant": b"a"}
_WORDS = {letter[0]: role for role, letter in _ROLES.items()}
_SUM = Layout(">I")
_LEVEL = 1

# Lone surrogates come in by escapes and go out by escapes.
_ERRORS = "surrogatepass"


def remembered(messages: Sequence[Message], said: str) -> tuple[int, ...] | None:
    """The conversation with the answer `said`; `None` for one that is too long to carry."""
    marks: list[bytes] = []
    texts: list[bytes] = []
    size = 0
    for role, text in [*map(_turn, messages), ("assistant", said)]:
        written = text.encode("utf-8", _ERRORS)
        size += len(written)
        marks.append(b"%b%d" % (_ROLES[role], len(written)))
        texts.append(written)
    if size > MAX_BYTES or len(marks) > MAX_TURNS:
        return None
    packed = zlib.compress(b" ".join(marks) + b"\n" + b"".join(texts), _LEVEL)
    return (MARK, *_numbers(_SUM.pack(zlib.crc32(packed)) + packed))


def recalled(context: Sequence[int]) -> tuple[Message, ...] | None:
    """The turns in a list that arriero has written, `None` for any other. Raises `BadRequest` for a damaged one, and
    for one that nobody has made by talking.
    """
    if not context or context[0] != MARK:
        return None
    data = _bytes(context[1:])
    # What fills the last number is no part of what was packed.
    packed = next((data[4:end] for end in range(len(data), len(data) - 3, -1) if _sums(data[:4], data[4:end])), None)
    if packed is None:
        raise _damaged()
    reader = zlib.decompressobj()
    limit = MAX_BYTES + MAX_TURNS * 10
    try:
        written = reader.decompress(packed, limit)
    except zlib.error:
        raise _damaged() from None
    if reader.unconsumed_tail:
        raise BadRequest("context: the conversation in it is too long")
    if not reader.eof:
        raise _damaged()
    return _turns(written)


def resumed(turns: Sequence[Message], system: str | None, asked: Message) -> tuple[Message, ...]:
    """The conversation that goes on with `asked`. A `system` text takes the place of the one that was there."""
    if system is not None:
        turns = (Message("system", (Text(system),)), *[turn for turn in turns if turn.role != "system"])
    return (*turns, asked)


def _turn(message: Message) -> tuple[str, str]:
    text = "\n".join([part.text for part in message.parts if isinstance(part, Text)])
    return message.role if message.role in _ROLES else "user", text


def _turns(written: bytes) -> tuple[Message, ...]:
    head, _, texts = written.partition(b"\n")
    marks = head.split(b" ", MAX_TURNS)
    if len(marks) > MAX_TURNS:
        raise BadRequest("context: the conversation in it is too long")
    turns: list[Message] = []
    at = 0
    try:
        for mark in marks:
            if not mark[1:].isdigit():
                raise _damaged()
            end = at + int(mark[1:])
            turns.append(Message(_WORDS[mark[0]], (Text(texts[at:end].decode("utf-8", _ERRORS)),)))
            at = end
    except (LookupError, ValueError):
        raise _damaged() from None
    if at != len(texts):
        raise _damaged()
    return tuple(turns)


def _sums(told: bytes, packed: bytes) -> bool:
    return len(told) == _SUM.size and _SUM.unpack(told)[0] == zlib.crc32(packed)


def _damaged() -> BadRequest:
    return BadRequest("context: it is not as it was given; send it back whole and unchanged, or leave it out")


# ---- bytes and numbers below 2^24 ----------------------------------------------------------------------------------


def _numbers(data: bytes) -> tuple[int, ...]:
    data += bytes(-len(data) % 3)
    count = len(data) // 3
    wide = bytearray(4 * count)
    for at in range(3):
        wide[at + 1 :: 4] = data[at::3]
    return Layout(f">{count}I").unpack(wide)


def _bytes(numbers: Sequence[int]) -> bytes:
    count = len(numbers)
    try:
        wide = Layout(f">{count}I").pack(*numbers)
    except OutOfRange:
        raise _damaged() from None
    if any(wide[0::4]):
        raise _damaged()
    data = bytearray(3 * count)
    for at in range(3):
        data[at::3] = wide[at + 1 :: 4]
    return bytes(data)

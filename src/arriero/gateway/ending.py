"""Whether a relayed answer has come to its end, and to a good one: read from its last bytes when it is over. Pure.

Nobody reads a relayed answer on its way. A body that is framed by the end of its connection, or by a proxy that closes
it in good order, ends in the same way where its backend has died: only its last message tells. An answer is cut where
that message says that more was to come; one that says nothing of it is believed.
"""

import re
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from arriero.dialects.openai.failures import reported
from arriero.errors import BackendBroken, BackendError

TAIL_BYTES = 65536
"""So much is looked at: a last message may hold the tokens of a conversation. A longer one is believed."""

_MORE = frozenset({"message_start", "content_block_start", "content_block_delta", "content_block_stop"})
"""Events of Anthropic's after which there are others."""

_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')  # not in a text: its quotes have a backslash
_LINE_ENDS = re.compile(rb"[\r\n]+")


class _Choice(Struct, gc=False):
    finish_reason: str | None = None


class _Message(Struct, gc=False):
    """What the last message may say: Ollama's `done`, OpenAI's choices and count, Anthropic's type."""

    done: bool | None = None
    choices: list[_Choice] | None = None
    usage: Raw = Raw()
    type: str | None = None


class _Failed(Struct, gc=False):
    """A message with an error in it, of any API."""

    error: Raw = Raw()


_message = msgspec.json.Decoder(_Message).decode
_failed = msgspec.json.Decoder(_Failed).decode


def check_end(pieces: Sequence[bytes], *, all_there: bool) -> None:
    """Raises `BackendBroken` for an answer that is empty, or that was cut. `pieces` are the last ones of its body; with
    `all_there` it has no others.
    """
    last = pieces[-1] if pieces else b""
    if not last:
        raise BackendBroken("the backend's answer is empty")
    if all_there and len(pieces) == 1 and _is_whole(last):
        return
    at_line_end = last[-1:] == b"\n"
    if not at_line_end and last.rstrip(b" \t\r")[-1:] not in (b"}", b"]"):
        raise _half()
    tail = b"".join([piece[-TAIL_BYTES:] for piece in pieces])
    line = _last_line(tail[-TAIL_BYTES:], all_there and len(tail) <= TAIL_BYTES)
    text = line.removeprefix(b"data:").strip()
    if text[:1] != b"{":
        return
    try:
        said = _message(text)
    except msgspec.ValidationError:
        return  # another API's
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if at_line_end:
            return
        raise _half() from None
    if said.done is False or (line[:1] == b"d" and _goes_on(said, tail)):
        raise BackendBroken("the backend's answer was cut off before its end")


def told_error(pieces: Sequence[bytes]) -> BackendError | None:
    """The error that the last message of an answer tells, which its client has been sent as it came; `None` where it
    tells none. A vendor whose answer has begun with 200 has no other place for one.
    """
    tail = b"".join([piece[-TAIL_BYTES:] for piece in pieces])[-TAIL_BYTES:]
    if b'"error"' not in tail:
        return None
    text = tail.strip()
    if text[:1] == b"{" and (error := _error_in(text)) is not None:
        return error  # a whole answer, on one line or many
    for line in reversed(_LINE_ENDS.split(text)):
        message = line.removeprefix(b"data:").strip()
        if message[:1] == b"{":
            return _error_in(message)
    return None


def _error_in(message: bytes) -> BackendError | None:
    try:
        error = _failed(message).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return reported(message) if _is_there(error) else None


def _is_there(value: Raw) -> bool:
    return bytes(value) not in (b"", b"null")


def _is_whole(text: bytes) -> bool:
    """Whether this is one message that does not say that more was to come: the usual answer, for little."""
    one = text[:1] == b"{" and text[-1:] == b"}" and b"\n" not in text
    return one and (b'"done"' not in text or b'"done":true' in text)


def _half() -> BackendBroken:
    return BackendBroken("the backend's answer ended in the middle of a message")


def _last_line(tail: bytes, all_there: bool) -> bytes:
    """The last line that is a message; empty where it is not there as a whole. Comments keep a connection open."""
    lines = _LINE_ENDS.split(tail.strip())
    for line in reversed(lines if all_there else lines[1:]):
        if line[:1] != b":":
            return line
    return b""


def _goes_on(event: _Message, tail: bytes) -> bool:
    """Whether this event of a stream is none that may be the last. Who counts the tokens has ended, and so has who said
    why before it.
    """
    if event.type in _MORE:
        return True
    if not event.choices or _is_there(event.usage):
        return False
    return all(choice.finish_reason is None for choice in event.choices) and _FINISHED.search(tail) is None

"""Cutting a stream of bytes into messages: server-sent events and newline-delimited JSON.

Both readers are push parsers: `feed` takes whatever the network gave and returns the messages that are now complete, in
order; any slicing of the same bytes gives the same messages. They know no JSON and no dialect.
"""

import re

from msgspec import Struct

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""An unfinished message longer than this is not one. Whole tool-call arguments and base64 audio fit well inside."""

_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class MessageTooLong(ValueError):
    """The stream goes on without a line end."""


class Sse(Struct, frozen=True, gc=False):
    """One server-sent event. `event` is `None` unless the stream named it; `data` lines are joined with a newline."""

    data: bytes
    event: bytes | None = None


class SseReader:
    """Server-sent events by the WHATWG rules, with the tolerance that model servers need.

    Line ends may be `\\n`, `\\r\\n` or `\\r` (never U+2028 or U+0085), the space after the colon is optional; a byte
    order mark, comments, `id:` and `retry:` lines are skipped; an event without data is nothing. A line with no field
    name that starts like JSON counts as data: some servers forget the prefix. Others end an event with a single
    newline: where a data line is complete JSON text on its own (starts with `{`, ends with `}`) and the next line is
    another `data:` line, the two are two events.
    """

    __slots__ = ("_data", "_event", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._event: bytes | None = None

    def feed(self, data: bytes) -> list[Sse]:
        """The events that `data` completes."""
        fresh = not self._rest and not self._data and self._event is None
        # By far the most common read: one or more whole `data: {...}\n\n` events and nothing else.
        if fresh and data[-2:] == b"\n\n" and data[:6] == b"data: " and b"\r" not in data:
            events = data[6:-2].split(b"\n\ndata: ")
            if not any(b"\n" in event or not event for event in events):
                return [Sse(event) for event in events]
        data = self._rest + data
        # A lone CR at the very end may be half of a CRLF: keep it back.
        held = b""
        if data.endswith(b"\r"):
            data, held = data[:-1], b"\r"
        if b"\r" in data:
            *lines, rest = _LINE_END.split(data)
        else:
            *lines, rest = data.split(b"\n")
        self._rest = rest + held
        if len(self._rest) > MAX_MESSAGE_BYTES:
            raise MessageTooLong("an event runs past the limit without a line end")
        out: list[Sse] = []
        for line in lines:
            self._line(line, out)
        return out

    def close(self) -> list[Sse]:
        """The last event, where the stream ended without the closing empty line."""
        out: list[Sse] = []
        if self._rest:
            self._line(self._rest.rstrip(b"\r"), out)
            self._rest = b""
        self._line(b"", out)
        return out

    def _line(self, line: bytes, out: list[Sse]) -> None:
        if line[:3] == _MARK:
            line = line[3:]
        if not line:
            if self._data:
                out.append(Sse(b"\n".join(self._data), self._event))
                self._data = []
            self._event = None
            return
        if line[:5] == b"data:":
            value = line[6:] if line[5:6] == b" " else line[5:]
        elif line[:6] == b"event:":
            self._event = line[6:].strip()
            return
        elif line[:1] in (b"{", b"["):
            value = line
        else:
            return
        if not value:
            return
        if self._data and self._data[-1][:1] == b"{" and self._data[-1][-1:] == b"}" and value[:1] in (b"{", b"["):
            out.append(Sse(b"\n".join(self._data), self._event))
            self._data = []
        self._data.append(value)


class NdjsonReader:
    """Newline-delimited JSON: one message a line, blank lines skipped, the last line may lack its newline."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        if self._rest:
            data = self._rest + data
        *lines, self._rest = data.split(b"\n")
        if len(self._rest) > MAX_MESSAGE_BYTES:
            raise MessageTooLong("a line runs past the limit")
        return [stripped for line in lines if (stripped := line.strip())]

    def close(self) -> list[bytes]:
        """The last line, if it had no newline."""
        rest, self._rest = self._rest.strip(), b""
        return [rest] if rest else []

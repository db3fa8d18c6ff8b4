"""Putting tool calls together from the pieces of a stream, in every form that servers send them.

OpenAI keys the pieces by `index` and names the call in the first of them. Others leave the index out, send 0 for all,
repeat the id, the name or the whole arguments, or send the arguments as an object.
"""

import json
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from arriero.canonical.requests import ToolCall
from arriero.dialects.openai.chunks import UNREADABLE, CallPiece, FunctionPiece, NotJson, loosely, present

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_string = msgspec.json.Decoder(str).decode


class BadCall(ValueError):
    """A call cannot be completed. The text is for people."""


class _Call:
    """One call in the making."""

    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = ""

    @property
    def closed(self) -> bool:
        """Whether the arguments are a complete object, so that nothing more can belong to them."""
        return self.arguments.rstrip()[-1:] == "}" and _is_object(self.arguments)

    def takes(self, name: str, text: str) -> bool:
        """Whether a piece with no id of another call can be more of this one."""
        if not name or not self.name:
            return True
        if name != self.name:
            return False
        return not self.closed or not text or _equal(text, self.arguments)


class Calls:
    """The calls of one answer, in the order of their first appearance."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, pieces: Sequence[CallPiece]) -> None:
        """Take the pieces of one chunk."""
        for piece in pieces:
            function = piece.function or FunctionPiece()
            text = _text_of(function.arguments)
            self._add(self._target(piece.index, piece.id or "", function.name or "", text), piece, function, text)

    def whole(self, pieces: Sequence[CallPiece]) -> None:
        """Take the calls of a whole answer: each entry is a call of its own, whatever its index and id say."""
        for piece in pieces:
            function = piece.function or FunctionPiece()
            self._add(self._opened(piece.index), piece, function, _text_of(function.arguments))

    def finish(self) -> list[ToolCall]:
        """The complete calls. Raises `BadCall` for one without a name or whose arguments are no JSON object."""
        done: list[ToolCall] = []
        for call in self._calls:
            if not call.name:
                if not call.arguments.strip():
                    continue
                raise BadCall("the model called a tool without naming it")
            done.append(ToolCall(call.name, _arguments(call.name, call.arguments), call.id or None))
        return done

    def _target(self, index: int | None, id: str, name: str, text: str) -> _Call:
        """The call that a piece belongs to, made if it is new.

        1. The id of a known call: that one, whatever the index says, unless the piece can only open another.
        2. A known index: its latest call, unless the piece brings another id or can only open another.
        3. No index: the latest call, likewise. An unknown index on a piece that names nothing: the latest call.
        """
        if not self._calls:
            return self._opened(index)
        if id:
            same = [call for call in self._calls if call.id == id]
            if same:
                return same[-1] if same[-1].takes(name, text) else self._opened(index)
        known = [call for call in self._calls if call.index == index] if index is not None else self._calls
        if not known:
            return self._opened(index) if id or name else self._calls[-1]
        last = known[-1]
        if id and last.id:
            # Some proxies invent an id for every fragment: without a name, inside open arguments, it is no new call.
            return self._opened(index) if name or last.closed else last
        return last if last.takes(name, text) else self._opened(index)

    def _opened(self, index: int | None) -> _Call:
        call = _Call(index)
        self._calls.append(call)
        return call

    def _add(self, call: _Call, piece: CallPiece, function: FunctionPiece, text: str) -> None:
        if piece.id and not call.id:
            call.id = piece.id
        if function.name and not call.name:
            call.name = function.name
        if text[:1] == "{" and call.closed:
            # A summary repeats what is known; a placeholder `{}` gives way to the real thing.
            if call.arguments.strip() == "{}":
                call.arguments = text
            return
        call.arguments += text


def _text_of(raw: Raw) -> str:
    if not present(raw):
        return ""
    data = bytes(raw)
    if data[:1] != b'"':
        return data.decode(errors="replace")
    try:
        return _string(data)
    except UNREADABLE:
        return str(loosely(data))


def _is_object(text: str) -> bool:
    try:
        _object(text)
    except (*UNREADABLE, UnicodeEncodeError):
        return False
    return True


def _equal(left: str, right: str) -> bool:
    if left.strip() == right.strip():
        return True
    try:
        return bool(loosely(left.encode(errors="surrogatepass")) == loosely(right.encode(errors="surrogatepass")))
    except NotJson:
        return False


def _arguments(name: str, text: str) -> str:
    """The arguments as the JSON text of an object, as the model wrote it wherever that is JSON."""
    if not text.strip():
        return "{}"
    if _is_object(text):
        return text
    try:
        value = loosely(text.encode(errors="surrogatepass"))
        if isinstance(value, str):
            # Encoded twice: some templates print the arguments as a string inside the string.
            return _arguments(name, value) if value.strip() != text.strip() else text
        if value is None:
            return "{}"
        if isinstance(value, dict):
            # Raw line ends inside strings, or a lone surrogate: put right by writing it anew.
            return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (NotJson, ValueError, RecursionError):
        pass
    shown = text if len(text) <= 200 else text[:200] + "..."
    raise BadCall(f"the model called {name} with arguments that are not a JSON object: {shown}")

"""What a running scripted server is told to do: `/_scripted/`. A command in, an answer out; no sockets.

Commands are never counted among the requests, and no rule is played on them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, unquote

from msgspec import Meta, Struct

from arriero.backends.scripted import ollama
from arriero.backends.scripted.desk import Desk
from arriero.backends.scripted.faults import WORDS, rules_of
from arriero.backends.scripted.reply import Reply, whole
from arriero.backends.scripted.script import Count, Model, ScriptError, convert, parse_rules, parse_yaml
from arriero.backends.scripted.seen import KEPT, Seen

ROOT = "/_scripted"
MAX_COMMAND_BYTES = 1024 * 1024
SHOWN = "the command"

COMMANDS: Mapping[str, str] = {
    "GET /_scripted/": "what can be commanded, and how many commanded rules there are",
    "PUT /_scripted/play": "rules in the words of a script, before the script's own and instead of those commanded",
    "DELETE /_scripted/play": "no commanded rules any more",
    "POST /_scripted/fault/<word>": "one rule by its word; ?times=N for the next N only, ?path=GLOB for these paths",
    "GET /_scripted/seen": "counts of requests, and the last of them; ?last=N says how many",
    "DELETE /_scripted/seen": "the counts from zero",
    "POST /_scripted/models": "add a model, in the words of a script",
    "DELETE /_scripted/models/<name>": "take a model away",
}
"""Every command, and what it does."""

_T = TypeVar("_T")


class FaultQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a fault: how often, and for which paths (globs)."""

    times: Count | None = None
    path: tuple[str, ...] = ()


class SeenQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of `seen`: how many of the last requests are shown."""

    last: Annotated[int, Meta(ge=0, le=KEPT)] = 20


class _NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    pass


def is_command(target: str) -> bool:
    """Whether a request is one."""
    path = target.partition("?")[0]
    return path == ROOT or path.startswith(ROOT + "/")


class Commands:
    """Carries commands out on a desk and its counts.

    `key` is demanded as `Authorization: Bearer`. Recordings that a command names lie below `folder`.
    """

    def __init__(self, desk: Desk, seen: Seen, *, folder: Path | None = None, key: str | None = None) -> None:
        self._desk = desk
        self._seen = seen
        self._folder = folder
        self._key = key

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer to a command: 400, 401, 404 or 405 with `{"error": ...}` where it cannot be carried out."""
        if self._key is not None and headers.get("authorization") != f"Bearer {self._key}":
            return _error(401, "Incorrect API key provided")
        path, _, query = target.partition("?")
        place, slash, name = unquote(path.removeprefix(ROOT)).lstrip("/").partition("/")
        allowed = _METHODS.get(place + slash) if bool(slash) == bool(name) else None
        if allowed is None:
            return _error(404, f"there is no command {path}; GET {ROOT}/ lists them")
        if method not in allowed:
            return _error(405, f"{path} takes {' and '.join(allowed)}", allow=", ".join(allowed))
        try:
            if len(body) > MAX_COMMAND_BYTES:
                raise ScriptError(f"{SHOWN}: has more than {MAX_COMMAND_BYTES} bytes")
            return self._carry_out(f"{method} {place}{slash}", name, query, body)
        except ScriptError as error:
            return _error(400, str(error))

    def _carry_out(self, command: str, name: str, query: str, body: bytes) -> Reply:
        match command:
            case "PUT play":
                _query(query, _NoQuery)
                self._desk.command(parse_rules(_text(body), self._folder, SHOWN))
                return self._commanded()
            case "DELETE play":
                _query(query, _NoQuery)
                self._desk.command(())
                return self._commanded()
            case "POST fault/":
                asked = _query(query, FaultQuery)
                self._desk.command(rules_of(name, asked.path, asked.times, SHOWN))
                return self._commanded()
            case "GET seen":
                return self._counts(_query(query, SeenQuery).last)
            case "DELETE seen":
                _query(query, _NoQuery)
                self._seen.reset()
                return self._counts(0)
            case "POST models":
                _query(query, _NoQuery)
                self._desk.add(convert(parse_yaml(_text(body), SHOWN), Model, SHOWN))
                return self._models()
            case "DELETE models/":
                _query(query, _NoQuery)
                return self._models() if self._desk.remove(name) else _error(404, f"model '{name}' not found")
        _query(query, _NoQuery)
        return whole({**self._state(), "commands": COMMANDS, "faults": WORDS})

    def _state(self) -> dict[str, Any]:
        return {"name": self._desk.script.name, "commanded": len(self._desk.commanded)}

    def _commanded(self) -> Reply:
        return whole(self._state())

    def _counts(self, last: int) -> Reply:
        return whole({"name": self._desk.script.name, **self._seen.value(last)})

    def _models(self) -> Reply:
        return whole({"models": [ollama.tagged(model.name) for model in self._desk.models.values()]})


def _methods() -> Mapping[str, tuple[str, ...]]:
    """Of each place behind the root, the methods that it takes; a place that takes a name ends in a slash."""
    found: dict[str, tuple[str, ...]] = {}
    for command in COMMANDS:
        method, _, path = command.partition(" ")
        place = path.removeprefix(ROOT + "/").partition("<")[0]
        found[place] = (*found.get(place, ()), method)
    return found


_METHODS = _methods()


def _query(query: str, kind: type[_T]) -> _T:
    """The words of a query. Raises `ScriptError`."""
    given = parse_qs(query, keep_blank_values=True)
    return convert(
        {word: values if word == "path" else values[-1] for word, values in given.items()}, kind, SHOWN, strict=False
    )


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise ScriptError(f"{SHOWN} is not UTF-8") from None


def _error(status: int, message: str, **headers: str) -> Reply:
    reply = ollama.error(status, message)
    return Reply(status, reply.content_type, reply.pieces, headers=headers)

"""A request in, what is played out: the script's rules first, else what an ordinary server would answer. No sockets."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from arriero.backends.scripted import ollama, openai
from arriero.backends.scripted.memory import Memory, read_keep_alive
from arriero.backends.scripted.reply import Reply, dump, whole
from arriero.backends.scripted.script import Model, Play, Rule, Script, named

_OLLAMA_ROUTES: Mapping[str, tuple[str, ...]] = {
    "/": ("GET", "HEAD"),
    "/api/version": ("GET", "HEAD"),
    "/api/tags": ("GET", "HEAD"),
    "/api/ps": ("GET",),
    "/api/show": ("POST",),
    "/api/chat": ("POST",),
    "/api/generate": ("POST",),
    "/api/embed": ("POST",),
    "/api/embeddings": ("POST",),
    "/api/pull": ("POST",),
    "/api/push": ("POST",),
    "/api/create": ("POST",),
    "/api/copy": ("POST",),
    "/api/delete": ("DELETE",),
}
_OPENAI_ROUTES: Mapping[str, tuple[str, ...]] = {
    "/v1/models": ("GET",),
    "/v1/chat/completions": ("POST",),
    "/v1/completions": ("POST",),
    "/v1/embeddings": ("POST",),
}
_BLOBS, _MODEL = "/api/blobs/", "/v1/models/"

Body: TypeAlias = dict[str, Any]


class Desk:
    """Answers requests by a script. `models`, `memory` and `blobs` change as requests come in.

    `clock` is unix time in seconds.
    """

    def __init__(self, script: Script, clock: Callable[[], float] = time.time) -> None:
        self.script = script
        self.models: dict[str, Model] = {}
        self.memory = Memory(clock)
        self.blobs: set[str] = set()
        self._commanded: tuple[_Standing, ...] = ()
        self._written = tuple(_Standing(rule) for rule in script.rules)
        for model in script.models:
            self.add(model)
        self._by_path: Mapping[str, Callable[[Body, Play], Reply]] = {
            "/": lambda body, play: Reply(200, "text/plain; charset=utf-8", (b"Ollama is running",)),
            "/api/version": lambda body, play: whole({"version": script.version}, content_type=ollama.WHOLE),
            "/api/tags": lambda body, play: ollama.tags(list(self.models.values())),
            "/api/ps": lambda body, play: ollama.ps([(self.models[key], end) for key, end in self.memory.loaded()]),
            "/api/pull": self._pull,
            "/api/push": self._push,
            "/api/create": self._create,
            "/api/copy": self._copy,
            "/api/delete": self._delete,
            "/v1/models": lambda body, play: openai.models(list(self.models.values())),
        }

    @property
    def commanded(self) -> tuple[Rule, ...]:
        """The rules that stand before the script's own."""
        return tuple(standing.rule for standing in self._commanded)

    def command(self, rules: tuple[Rule, ...]) -> None:
        """From now on these stand before the script's own; those that stood there go."""
        self._commanded = tuple(_Standing(rule) for rule in rules)

    def add(self, model: Model) -> None:
        """List a model; one of the same name goes."""
        key = ollama.tagged(model.name).casefold()
        self.models[key] = model
        self.memory.forget(key)
        if model.loaded:
            self.memory.keep(key)

    def remove(self, name: str) -> bool:
        """Whether the model was there."""
        key = ollama.tagged(name).casefold()
        self.memory.forget(key)
        return self.models.pop(key, None) is not None

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Play, Reply]:
        """What is played, and the answer that it dresses. `headers` has names in lower case.

        A reply that names a model is given to `ended` when it has been sent, or will not be.
        """
        raw, _, query = target.partition("?")
        path = unquote(raw)
        fields = _object(body)
        play = named(self._play(method, path, query, fields, body), self.script.name)
        reply = _own(path, play)
        if reply is None:
            reply = self._reply(method, path, headers, body, fields, play)
            if play.status is not None:
                reply = msgspec.structs.replace(reply, status=play.status)
        return play, msgspec.structs.replace(reply, headers={**reply.headers, **play.headers})

    def ended(self, reply: Reply) -> None:
        """The answer was sent, or nobody waits for it any more."""
        if reply.model is not None:
            self.memory.release(reply.model)

    def _play(self, method: str, path: str, query: str, fields: Body, body: bytes) -> Play:
        model, text = _text(fields, "model", "name"), body.decode("utf-8", "replace")
        for standing in (*self._commanded, *self._written):
            if standing.rule.when.fits(method, path, model, text, query):
                standing.count += 1
                if standing.rule.when.counts(standing.count):
                    return standing.rule.play
        return Play()

    def _reply(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, fields: Body, play: Play
    ) -> Reply:
        key = self.script.key
        if key is not None and headers.get("authorization") != f"Bearer {key}":
            return self._error(path, 401, "Incorrect API key provided", "invalid_api_key")
        if path.startswith(_BLOBS) and "ollama" in self.script.speaks:
            return self._blob(method, path.removeprefix(_BLOBS), body)
        if path.startswith(_MODEL) and method == "GET" and "openai" in self.script.speaks:
            found = self._find(path.removeprefix(_MODEL))
            return self._missing(path, path.removeprefix(_MODEL)) if found is None else openai.model(found)
        methods = self._methods(path)
        if methods is None:
            return Reply(404, "text/plain", (b"404 page not found",))
        if method not in methods:
            return Reply(405, "text/plain", (b"405 method not allowed",), headers={"allow": ", ".join(methods)})
        if simple := self._by_path.get(path):
            return simple(fields, play)
        if not isinstance(_json(body), dict):
            return self._error(path, 400, "the request body is not a JSON object")
        name = _text(fields, "model", "name") or ""
        model = self._find(name)
        if model is None:
            return self._missing(path, name)
        return self._infer(path, fields, play, model, name)

    def _methods(self, path: str) -> tuple[str, ...] | None:
        for dialect, routes in (("ollama", _OLLAMA_ROUTES), ("openai", _OPENAI_ROUTES)):
            if dialect in self.script.speaks and path in routes:
                return routes[path]
        return None

    def _infer(self, path: str, fields: Body, play: Play, model: Model, name: str) -> Reply:
        if path == "/api/show":
            return ollama.show(model)
        try:
            keep_alive = read_keep_alive(fields.get("keep_alive")) if path.startswith("/api/") else None
        except ValueError as error:
            return ollama.error(400, str(error))
        key = ollama.tagged(model.name).casefold()
        if path in ("/api/chat", "/api/generate"):
            chatting = path == "/api/chat"
            if not fields.get("messages" if chatting else "prompt"):
                if keep_alive == 0:
                    self.memory.unload(key)
                    return ollama.loading(name, "unload", chatting=chatting)
                return self._using(key, keep_alive, ollama.loading(name, "load", chatting=chatting))
            for wanted, capability in (("tools", "tools"), ("think", "thinking")):
                if fields.get(wanted) and capability not in model.capabilities:
                    return ollama.error(400, f'"{name}" does not support {capability}')
        return self._using(key, keep_alive, self._spoken(path, fields, play, model, name))

    def _spoken(self, path: str, fields: Body, play: Play, model: Model, name: str) -> Reply:
        match path:
            case "/v1/chat/completions":
                return openai.chat(play, fields, name)
            case "/v1/completions":
                return openai.completion(play, fields, name)
            case "/v1/embeddings":
                return openai.embeddings(play, fields, name, model.embedding_length)
            case "/api/embed":
                return ollama.embed(play, fields, name, model.embedding_length)
            case "/api/embeddings":
                return ollama.embeddings(play, fields, model.embedding_length)
            case "/api/chat":
                return ollama.chat(play, fields, name)
        return ollama.generate(play, fields, name)

    def _using(self, key: str, keep_alive: float | None, reply: Reply) -> Reply:
        wait = self.memory.take(key, keep_alive, self.models[key].load_ms / 1000)
        return msgspec.structs.replace(reply, model=key, wait_seconds=wait)

    # ---- library ---------------------------------------------------------------------------------------------------

    def _pull(self, fields: Body, play: Play) -> Reply:
        name = _text(fields, "model", "name")
        if not name:
            return ollama.error(400, "invalid model name")
        if play.error is None:
            self._add(name)
        return ollama.pulling(name, fields, play)

    def _push(self, fields: Body, play: Play) -> Reply:
        name = _text(fields, "model", "name")
        if not name:
            return ollama.error(400, "model is required")
        return ollama.pulling(name, fields, play, push=True)

    def _create(self, fields: Body, play: Play) -> Reply:
        name = _text(fields, "model", "name")
        if not name:
            return ollama.error(400, "invalid model name")
        if not fields.get("from") and not fields.get("files"):
            return ollama.error(400, "neither 'from' or 'files' was specified")
        if play.error is None:
            self._add(name, self._find(str(fields.get("from"))))
        return ollama.creating(fields, play)

    def _copy(self, fields: Body, play: Play) -> Reply:
        source, destination = _text(fields, "source"), _text(fields, "destination")
        if not source or not destination:
            return ollama.error(400, f'{"source" if not source else "destination"} "" is invalid')
        found = self._find(source)
        if found is None:
            return ollama.error(404, f'model "{source}" not found')
        self._add(destination, found)
        return Reply(200, None, ())

    def _delete(self, fields: Body, play: Play) -> Reply:
        name = _text(fields, "model", "name")
        if not name:
            return ollama.error(400, "model is required")
        if not self.remove(name):
            return ollama.error(404, f"model '{name}' not found")
        return Reply(200, None, ())

    def _blob(self, method: str, digest: str, body: bytes) -> Reply:
        if method not in ("HEAD", "POST"):
            return Reply(405, "text/plain", (b"405 method not allowed",), headers={"allow": "HEAD, POST"})
        if method == "HEAD":
            return Reply(200 if digest in self.blobs else 404, None, ())
        if digest in self.blobs:
            return Reply(200, None, ())
        real = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if digest != real:
            return ollama.error(400, f'digest mismatch, expected "{digest}", got "{real}"')
        self.blobs.add(digest)
        return Reply(201, None, ())

    def _add(self, name: str, like: Model | None = None) -> None:
        model = msgspec.structs.replace(like, name=name, loaded=False) if like is not None else Model(name=name)
        self.add(model)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Model | None:
        return self.models.get(ollama.tagged(name).casefold())

    def _missing(self, path: str, name: str) -> Reply:
        if path.startswith("/v1/"):
            return openai.error(404, f"The model `{name}` does not exist", "model_not_found")
        return ollama.error(404, f"model '{name}' not found")

    def _error(self, path: str, status: int, message: str, code: str | None = None) -> Reply:
        if path.startswith("/v1/"):
            return openai.error(status, message, code)
        return ollama.error(status, message)


class _Standing:
    """A rule, and how many requests have fitted it."""

    __slots__ = ("count", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.count = 0


def _own(path: str, play: Play) -> Reply | None:
    """The script's own answer; `None` where it leaves that to the server, which then does what it is asked to."""
    status = play.status if play.status is not None else 200
    match play.body:
        case None:
            if play.exact is not None:
                return Reply(status, None, ())
            if status < 400:
                return None
            if path.startswith("/api/"):
                return ollama.error(status, f"scripted {status}")
            return whole({"error": {"message": f"scripted {status}", "type": "scripted", "code": status}}, status)
        case str() as text:
            kind = "text/html; charset=utf-8" if text.lstrip()[:1] == "<" else "text/plain; charset=utf-8"
            if text.lstrip()[:1] in ("{", "["):
                kind = "application/json"
            return Reply(status, kind, (text.encode("utf-8", "replace"),))
        case value:
            return Reply(status, "application/json", (dump(value),))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _object(body: bytes) -> Body:
    found = _json(body) if body[:1] in (b"{", b" ", b"\n") else None
    return found if isinstance(found, dict) else {}


def _text(fields: Body, *names: str) -> str | None:
    """The first of these fields that is a text."""
    return next((value for name in names if isinstance(value := fields.get(name), str)), None)

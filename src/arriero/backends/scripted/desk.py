"""A request in, what is played out: the script's rules first, else what an ordinary server would answer. No sockets."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from arriero.backends.scripted import ollama, openai
from arriero.backends.scripted.reply import Reply, dump, whole
from arriero.backends.scripted.script import Model, Play, Script

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
    """Answers requests by a script. `models`, `loaded` and `blobs` change as library operations come in."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.models = {ollama.tagged(model.name).casefold(): model for model in script.models}
        self.loaded = [ollama.tagged(model.name).casefold() for model in script.models if model.loaded]
        self.blobs: set[str] = set()
        self._counts = [0] * len(script.rules)
        self._by_path: Mapping[str, Callable[[Body, Play], Reply]] = {
            "/": lambda body, play: Reply(200, "text/plain; charset=utf-8", (b"Ollama is running",)),
            "/api/version": lambda body, play: whole({"version": script.version}, content_type=ollama.WHOLE),
            "/api/tags": lambda body, play: ollama.tags(list(self.models.values())),
            "/api/ps": lambda body, play: ollama.ps([self.models[key] for key in self.loaded if key in self.models]),
            "/api/pull": self._pull,
            "/api/push": self._push,
            "/api/create": self._create,
            "/api/copy": self._copy,
            "/api/delete": self._delete,
            "/v1/models": lambda body, play: openai.models(list(self.models.values())),
        }

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Play, Reply]:
        """What is played, and the answer that it dresses. `headers` has names in lower case."""
        path = unquote(target.partition("?")[0])
        fields = _object(body)
        play = self._play(method, path, fields, body)
        reply = self._reply(method, path, headers, body, fields, play)
        if play.status is not None or play.body is not None:
            reply = _own(play, reply)
        return play, msgspec.structs.replace(reply, headers={**reply.headers, **play.headers})

    def _play(self, method: str, path: str, fields: Body, body: bytes) -> Play:
        model, text = _text(fields, "model", "name"), body.decode("utf-8", "replace")
        for index, rule in enumerate(self.script.rules):
            if rule.when.fits(method, path, model, text):
                self._counts[index] += 1
                if rule.when.counts(self._counts[index]):
                    return rule.play
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
        match path:
            case "/v1/chat/completions":
                return openai.chat(play, fields, name)
            case "/v1/completions":
                return openai.completion(play, fields, name)
            case "/v1/embeddings":
                return openai.embeddings(play, fields, name, model.embedding_length)
            case "/api/show":
                return ollama.show(model)
            case "/api/embed":
                return ollama.embed(play, fields, name, model.embedding_length)
            case "/api/embeddings":
                return ollama.embeddings(play, fields, model.embedding_length)
        chatting = path == "/api/chat"
        key = ollama.tagged(model.name).casefold()
        self.loaded = [other for other in self.loaded if other != key]
        if not fields.get("messages" if chatting else "prompt"):
            if fields.get("keep_alive") == 0:
                return ollama.loading(name, "unload", chatting=chatting)
            self.loaded.append(key)
            return ollama.loading(name, "load", chatting=chatting)
        self.loaded.append(key)
        for wanted, capability in (("tools", "tools"), ("think", "thinking")):
            if fields.get(wanted) and capability not in model.capabilities:
                return ollama.error(400, f'"{name}" does not support {capability}')
        return ollama.chat(play, fields, name) if chatting else ollama.generate(play, fields, name)

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
        if self.models.pop(ollama.tagged(name).casefold(), None) is None:
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
        self.models[ollama.tagged(name).casefold()] = model

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


def _own(play: Play, reply: Reply) -> Reply:
    """The script's own status and body; a status alone gets an error body that says so."""
    status = play.status if play.status is not None else 200
    match play.body:
        case None:
            if status < 400:
                return msgspec.structs.replace(reply, status=status)
            return whole({"error": {"message": f"scripted {status}", "type": "scripted", "code": status}}, status)
        case str() as text:
            kind = "text/html; charset=utf-8" if text.lstrip()[:1] == "<" else "text/plain; charset=utf-8"
            if text.lstrip()[:1] in ("{", "["):
                kind = "application/json"
            return Reply(status, kind, (text.encode(),))
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

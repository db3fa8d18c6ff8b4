"""The backend of kind `scripted`: starts its server on a private unix socket when it is first needed."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from arriero.backends.base import Want
from arriero.backends.http.call import Call, Headers, Rendered, Timeouts
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from arriero.backends.remote import FixedPlace
from arriero.backends.scripted.script import Script, read_script, script_file
from arriero.backends.scripted.server import ScriptedServer
from arriero.canonical.catalog import LoadedModel, ModelCard, ModelDetail
from arriero.dialects import backend_errors
from arriero.dialects.ollama import catalog as ollama_catalog
from arriero.dialects.openai import catalog as openai_catalog
from arriero.dialects.profiles import profile_of
from arriero.errors import BackendUnreachable

KEPT_REQUESTS = 16
"""How many of the last requests `server.requests` has: they are for a look, and must not fill the memory."""

_ROOTS = {"ollama": "", "openai": "/v1"}


class Scripted:
    """Plays `script`: a file, a `Script`, or `None` for the built-in one."""

    kind = "scripted"
    error_type = "scripted_error"
    curated = False
    silent = False
    private: frozenset[bytes] = frozenset()

    def __init__(self, name: str, *, script: Path | Script | None = None, timeouts: Timeouts | None = None) -> None:
        """Raises `ScriptError`, a `ValueError`."""
        path = script_file(script.expanduser()) if isinstance(script, Path) else None
        read = read_script(path) if path is not None else script if isinstance(script, Script) else Script()
        ollama = "ollama" in read.speaks
        self.name = name
        self.where = f"script {script}" if isinstance(script, Path) else "built-in script"
        self.profile = replace(profile_of("ollama" if ollama else "generic"), error_type=self.error_type)
        self.roots: Mapping[str, str] = {dialect: _ROOTS[dialect] for dialect in read.speaks}
        self.library = self.has_memory = ollama
        self.forwards_client = self.profile.forwards_client_address
        # The gateway adds the script's own key to what it forwards. With a key that nobody is told, no path that a
        # client may send becomes a command.
        self.command_key = secrets.token_hex(16)
        folder = path.parent if path is not None else None
        self.server = ScriptedServer(read, folder=folder, kept=KEPT_REQUESTS, command_key=self.command_key)
        self.headers: Headers = (
            (b"accept-encoding", b"identity"),
            (b"accept", b"*/*"),
            (b"content-type", b"application/json"),
            (b"user-agent", b"arriero"),
        )
        if read.key is not None:
            self.headers += ((b"authorization", f"Bearer {read.key}".encode("latin-1")),)
        self.rendered = Rendered.of(self.headers)
        self._timeouts = timeouts or Timeouts()
        self._turn = asyncio.Lock()
        self._pool: Pool | None = None
        self._folder: Path | None = None

    @property
    def broken(self) -> Mapping[str, str]:
        """A script's models always work."""
        return {}

    def at_hand(self, want: Want) -> None:
        """None: the server may have to be started first."""
        return None

    async def reach(self, want: Want) -> FixedPlace:
        """The server; waits only for its start. Raises `BackendUnreachable` where no socket can be made."""
        return FixedPlace(await self._ready(), want.model)

    async def courier(self) -> Pool:
        """The server."""
        return await self._ready()

    async def check(self) -> None:
        """`/`, or `/v1/models` where the script speaks no Ollama."""
        await self._ask("GET", "/" if "ollama" in self.roots else self._models_path)

    async def list_models(self) -> tuple[ModelCard, ...]:
        """`/api/tags`, or `/v1/models` where the script speaks no Ollama."""
        if "ollama" in self.roots:
            return ollama_catalog.read_tags(await self._ask("GET", "/api/tags"))
        return openai_catalog.read_models(await self._ask("GET", self._models_path), self.profile)

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """`/api/ps`; nothing is known where the script speaks no Ollama."""
        return ollama_catalog.read_ps(await self._ask("GET", "/api/ps")) if self.has_memory else ()

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        """`/api/show`, or what is on the card."""
        if "ollama" not in self.roots:
            return ModelDetail(card=card)
        body = msgspec.json.encode({"model": card.id, "verbose": verbose})
        return ollama_catalog.read_show(await self._ask("POST", "/api/show", body), card.id)

    async def load(self, want: Want, keep_alive: float | None) -> None:
        """A request without a prompt, where the script speaks Ollama."""
        if "ollama" in self.roots:
            seconds = None if keep_alive is None else -1 if keep_alive == float("inf") else keep_alive
            await self._ask("POST", "/api/generate", msgspec.json.encode({"model": want.model, "keep_alive": seconds}))

    async def close(self) -> None:
        """End the server and take its socket away."""
        async with self._turn:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.close()
            await self.server.close()
            folder, self._folder = self._folder, None
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _models_path(self) -> str:
        return self.roots["openai"] + (self.profile.models_path or "/models")

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        pool = await self._ready()
        head, answer = await pool.fetch(Call(method, path, self.headers, body))
        if head.status >= 300:
            error = backend_errors.read_error(head.status, answer, self.profile)
            error.retry_after = head.retry_after_s
            raise error
        return answer

    async def _ready(self) -> Pool:
        if self._pool is not None:
            return self._pool
        async with self._turn:
            if self._pool is None:
                # 0700, so that nobody else of this machine can ask it.
                self._folder = Path(tempfile.mkdtemp(prefix="arriero-scripted-"))
                try:
                    address = await self.server.start(socket_path=self._folder / "s")
                except OSError as error:
                    shutil.rmtree(self._folder, ignore_errors=True)
                    raise BackendUnreachable(f"{self.name} cannot listen: {error.strerror or error}") from None
                self._pool = Pool(Origin.parse(address), timeouts=self._timeouts, label=self.name)
            return self._pool

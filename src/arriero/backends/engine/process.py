"""One supervised child process that serves one model: its start, its socket, its last words, its end.

The child lives no longer than the pipe to its standard input, so that a gateway which is killed leaves no orphan. When
to start and stop one is `scheduler`'s decision; what the child does with its settings is `child`'s.
"""

import asyncio
import contextlib
import math
import os
import re
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from arriero.backends.engine import child
from arriero.errors import EngineCrashed, EngineError, EngineMissing, ModelBroken, ModelTooLarge

DEFAULT_BATCH: Final = 512
"""Ollama's default of `num_batch`."""

MAX_SETTINGS_BYTES: Final = 120_000
"""Linux takes no longer argument than 128 KiB."""

LAST_LINES: Final = 200
LINE_BYTES: Final = 4096
STOP_SECONDS: Final = 5.0
SOCKET_PATH_BYTES: Final = 103
"""The least of the platforms' limits (macOS: 104 with the closing zero; Linux: 108)."""

INHERITED: Final = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
INHERITED_PREFIXES: Final = ("CUDA_", "DYLD_", "GGML_", "GOMP_", "HIP_", "LC_", "OMP_", "ROCR_", "VK_")
"""What a child may see of the gateway's environment. API keys are not for native code that parses foreign files."""

_LOG_LINE = re.compile(r"^\s*(?:[\d.]+\s+)?E\s+(?:[\w-]+\s+)*[\w-]+:\s+(?P<text>.*)$")
_OUT_OF_MEMORY = re.compile(
    r"insufficient memory|failed to allocate|unable to allocate|bad_alloc|cannot allocate", re.I
)


class ChildSettings(Struct, frozen=True, kw_only=True):
    """What a child is told. `context_length` is tokens per request, `pooling` a llama.cpp pooling type in lower case.

    `repack` lets llama.cpp make a second, faster copy of the weights. `sampling` are defaults in llama.cpp's words for
    requests that do not say. `threads` 0 leaves the number to llama.cpp. `projector` and `adapters` are GGUF files,
    `template` is a jinja text in place of the model's own. `batch` is tokens, and of no use to an embedding child.
    `own_bytes` is the most memory that it may take besides the files it maps, `None` for no limit.
    """

    model: str
    alias: str
    context_length: int
    parallel: int = 1
    threads: int = 0
    embedding: bool = False
    pooling: str | None = None
    repack: bool = True
    sampling: dict[str, float] = {}
    projector: str | None = None
    adapters: tuple[str, ...] = ()
    template: str | None = None
    batch: int = DEFAULT_BATCH
    mmap: bool = True
    own_bytes: int | None = None


class _Told(Struct, frozen=True):
    """The child's one line."""

    ready: str | None = None
    failed: str | None = None


class Child:
    """A running child. Made by `start`, which answers when the model is loaded."""

    def __init__(self, process: asyncio.subprocess.Process, socket: Path, settings: ChildSettings) -> None:
        self.socket = socket
        self.alias = settings.alias
        self._names = {
            settings.model: settings.alias,
            **({settings.projector: f"the projector of {settings.alias}"} if settings.projector else {}),
            **dict.fromkeys(settings.adapters, f"an adapter of {settings.alias}"),
        }
        self.exit_code: int | None = None
        self._process = process
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._stopping = False
        self._gone = asyncio.Event()
        self._on_exit: list[Callable[[], None]] = []
        self._keeper = asyncio.create_task(self._keep(), name=f"engine child {process.pid}")

    @classmethod
    async def start(
        cls,
        settings: ChildSettings,
        *,
        ready_seconds: float = 300.0,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> "Child":
        """Spawn and wait until the model is loaded. `environment` is the gateway's own, of which little is passed on.

        Raises `ModelBroken`, `ModelTooLarge`, `EngineMissing` or `EngineCrashed`, and `EngineError` when the time is
        up. Whatever is raised, and also on cancellation, the process is gone and its directory removed.
        """
        directory = socket_directory(environment or {})
        socket = directory / "llama.sock"
        told = msgspec.json.encode({**msgspec.to_builtins(settings), "socket": str(socket)}).decode()
        if len(told.encode()) > MAX_SETTINGS_BYTES:
            directory.rmdir()
            raise ModelBroken(f"{settings.alias} cannot be loaded: its chat template is too long")
        try:
            process = await asyncio.create_subprocess_exec(
                python,
                "-I",
                child.__file__,
                told,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=inheritable(environment or {}),
                start_new_session=True,
            )
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, OSError):
                raise EngineError(f"the engine's process cannot be started: {error}") from error
            raise
        self = cls(process, socket, settings)
        try:
            async with asyncio.timeout(ready_seconds if ready_seconds < math.inf else None):
                await self._until_ready()
        except TimeoutError:
            await self.end()
            raise EngineError(f"{settings.alias} was not loaded within {ready_seconds:g} seconds") from None
        except BaseException:
            await self.end()
            raise
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of the child's standard error, oldest first."""
        return tuple(self._lines)

    def on_exit(self, call: Callable[[], None]) -> None:
        """Call back once when the process is gone, at once if it is."""
        if self._gone.is_set():
            call()
        else:
            self._on_exit.append(call)

    async def gone(self) -> int:
        """Wait for the end of the process; its exit code, negative for a signal."""
        await self._gone.wait()
        assert self.exit_code is not None
        return self.exit_code

    async def settle(self, seconds: float = 1.0) -> None:
        """Wait for the end of the process, but not long: a cut connection is seen before the end is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()

    def failure(self) -> EngineError | None:
        """Why the process ended; `None` while it runs or if it was asked to."""
        if self.exit_code is None or self._stopping:
            return None
        return failure(self.exit_code, self.last_lines, self.alias)

    async def stop(self, *, grace_seconds: float = STOP_SECONDS) -> None:
        """Close standard input and wait; kill what has not ended after the grace. Idempotent."""
        self._stopping = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._gone.wait()
        except TimeoutError:
            await self.end()

    async def end(self) -> None:
        """SIGKILL, and wait until nothing is left of it."""
        self._stopping = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.shield(self._keeper)

    async def _until_ready(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        try:
            told = msgspec.json.decode(line, type=_Told)
        except msgspec.DecodeError:
            told = _Told()
        if told.ready is not None:
            return
        code = await self.gone()
        raise failure(code, (*self._lines, *filter(None, [told.failed])), self.alias)

    async def _keep(self) -> None:
        """Collect the last words, reap the process, clean up, tell. One task for the child's whole life."""
        assert self._process.stderr is not None
        rest = b""
        while data := await self._process.stderr.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            self._lines.extend(self._readable(line) for line in lines if line.strip())
            rest = rest[:LINE_BYTES]
        if rest.strip():
            self._lines.append(self._readable(rest))
        self.exit_code = await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        shutil.rmtree(self.socket.parent, ignore_errors=True)
        self._gone.set()
        for call in self._on_exit:
            call()

    def _readable(self, line: bytes) -> str:
        """A line of standard error, with the model's name for its paths: a client may get to read it."""
        text = line[:LINE_BYTES].decode(errors="replace")
        for path, name in self._names.items():
            text = text.replace(path, name)
        return text


def failure(code: int, lines: tuple[str, ...], alias: str) -> EngineError:
    """The error that an exit code and the last lines of standard error stand for. `alias` names the model."""
    why = reason(lines)
    if code == child.REFUSED:
        if _OUT_OF_MEMORY.search("\n".join(lines)):
            return ModelTooLarge(f"{alias} does not fit into memory: {why or 'an allocation failed'}")
        return ModelBroken(f"{alias} cannot be loaded: {why or 'the engine gave no reason'}")
    if code == child.NOT_IMPORTED:
        return EngineMissing(why or "the engine cannot be imported")
    if code == -signal.SIGILL:
        return EngineMissing("the engine needs a CPU with AVX2, and this CPU lacks AVX2")
    if code == -signal.SIGKILL:
        return EngineCrashed(f"the engine's process for {alias} was killed, likely because memory ran out")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return EngineCrashed(f"the engine crashed on {alias} ({name})" + (f": {why}" if why else ""))
    return EngineCrashed(f"the engine's process for {alias} ended with code {code}" + (f": {why}" if why else ""))


def reason(lines: tuple[str, ...]) -> str | None:
    """The line that says most: a failed assertion, the error of loading, any error, else the last line."""
    errors = [found["text"] for line in lines if (found := _LOG_LINE.match(line))]
    candidates = (
        # An assertion's line begins with the path of a source file on somebody else's machine.
        [line[line.index("GGML_ASSERT") :] for line in lines if "GGML_ASSERT" in line],
        [line.replace("what():", "") for line in lines if line.lstrip().startswith("what():")],
        [text for text in errors if "error loading model" in text and "failed to load model" not in text],
        # Of the parts beside the weights the first error does not say which one it means.
        [text for text in errors if "CLIP model" in text or "mmproj" in text or "lora adapter: " in text],
        errors,
        list(lines[-1:]),
    )
    for texts in candidates:
        if texts:
            return texts[0].strip().removeprefix("error loading model: ").removeprefix("error: ")
    return None


def inheritable(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a child gets."""
    return {
        name: value for name, value in environment.items() if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }


def socket_directory(environment: Mapping[str, str]) -> Path:
    """A new directory of mode 0700 for one socket, on a path that is short enough for a socket's address."""
    for base in (environment.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if base and os.access(base, os.W_OK | os.X_OK):
            directory = Path(tempfile.mkdtemp(prefix="arriero-", dir=base))
            if len(os.fsencode(directory / "llama.sock")) <= SOCKET_PATH_BYTES:
                return directory
            directory.rmdir()
    raise EngineError("no directory for the engine's socket: XDG_RUNTIME_DIR and the temporary directory are unusable")

"""Both ends of the measurement: the C programs of `rig/`, built here, and the proxies between them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree, which

from benchmarks.processes import free_port, running

HERE = Path(__file__).parent
BUILD = HERE / "build"
RUN = BUILD / f"run-{os.getpid()}"
"""Configurations, logs and requests of this run, so that two runs at once do not meet. `build` makes it."""
PROXY_CPU, RIG_CPU = (0, 1) if (os.cpu_count() or 1) > 1 else (None, None)
"""Where there are two CPUs, the proxies share the first, and the rig keeps to the second."""

NGINX = which("nginx") or which("nginx", path="/usr/sbin:/usr/local/sbin")
GCC = which("gcc") or which("cc")


@dataclass(frozen=True, slots=True)
class Load:
    """What `load` reports. Times are microseconds, -1 where there were none."""

    answers: int
    refused: int
    broken: int
    chunks: int
    seconds: float
    p50_us: int
    p99_us: int
    delay_p50_us: int
    delay_p99_us: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy that runs: its name in the table, process and port."""

    name: str
    pid: int
    port: int


def missing() -> list[str]:
    """The programs that this machine lacks for a measurement."""
    found = {"gcc": GCC, "nginx": NGINX, "/proc": "/proc" if Path("/proc/self/stat").exists() else None}
    return [name for name, path in found.items() if path is None]


def build() -> None:
    """Compiles both ends where the sources are newer. Raises `CalledProcessError` with gcc's words on stderr."""
    RUN.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in (HERE / "rig").iterdir())
    for name in ("backend", "load"):
        target = BUILD / name
        if not target.exists() or target.stat().st_mtime < newest:
            subprocess.run(
                [str(GCC), "-O2", "-Wall", "-Wextra", "-o", str(RUN / name), str(HERE / "rig" / f"{name}.c")],
                check=True,
                timeout=120,
            )
            (RUN / name).replace(target)


def load(port: int, path: str, body: Mapping[str, object], *, connections: int, requests: int, seconds: float) -> Load:
    """Runs the load generator once. Raises `CalledProcessError` where nothing listens on `port`."""
    command = _load_command(port, path, body, connections, requests, seconds)
    done = subprocess.run(command, check=True, capture_output=True, timeout=seconds + 30)
    return Load(**json.loads(done.stdout))


@contextmanager
def background_load(
    port: int, path: str, body: Mapping[str, object], connections: int, seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """The load generator with one request a connection, beside whatever the block does."""
    command = _load_command(port, path, body, connections, connections, seconds)
    with running(command, log=RUN / "load.log") as process:
        yield process


def clear() -> None:
    """Removes what this run wrote; both programs stay."""
    rmtree(RUN, ignore_errors=True)


def _load_command(
    port: int, path: str, body: Mapping[str, object], connections: int, requests: int, seconds: float
) -> list[str]:
    body_file = RUN / "request.json"
    body_file.write_text(json.dumps(body, separators=(",", ":")))
    command = [str(BUILD / "load"), "-p", str(port), "-u", path, "-b", str(body_file)]
    command += ["-c", str(connections), "-n", str(requests), "-t", str(seconds)]
    # Pinned from its first instruction, where the program for that is there.
    return ["taskset", "-c", str(RIG_CPU), *command] if RIG_CPU is not None and which("taskset") else command


@contextmanager
def backend() -> Iterator[int]:
    """The model server; gives its port."""
    port = free_port()
    with running([str(BUILD / "backend"), str(port)], log=RUN / "backend.log", port=port, cpu=RIG_CPU):
        yield port


@contextmanager
def peers(backend_port: int, names: tuple[str, ...]) -> Iterator[list[Peer]]:
    """The proxies in front of the model server, all running at once."""
    with ExitStack() as stack:
        start = {"nginx": nginx, "arriero": arriero}
        yield [stack.enter_context(start[name](backend_port)) for name in names]


_NGINX_CONFIG = """
daemon off;
worker_processes 1;
pid {build}/nginx.pid;
error_log stderr;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {build}/nginx-body;
  proxy_temp_path {build}/nginx-proxy;
  fastcgi_temp_path {build}/nginx-fastcgi;
  uwsgi_temp_path {build}/nginx-uwsgi;
  scgi_temp_path {build}/nginx-scgi;
  keepalive_requests 1000000000;
  upstream models {{ server 127.0.0.1:{backend}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://models;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def nginx(backend_port: int) -> Iterator[Peer]:
    """nginx with one worker, keep-alive to the model server, and no buffering of answers."""
    port = free_port()
    config = RUN / "nginx.conf"
    config.write_text(_NGINX_CONFIG.format(build=RUN, backend=backend_port, port=port))
    command = [str(NGINX), "-p", str(RUN), "-c", str(config)]
    with running(command, log=RUN / "nginx.log", port=port, cpu=PROXY_CPU) as process:
        yield Peer("nginx", process.pid, port)


@contextmanager
def arriero(backend_port: int, *, module: str = "arriero") -> Iterator[Peer]:
    """arriero with an OpenAI and an Ollama backend, no engine, and everything on that is on by default; `module` is
    what Python runs.
    """
    url = f"http://127.0.0.1:{backend_port}"
    backends = [
        {"name": "bench-openai", "kind": "openai", "profile": "generic", "url": f"{url}/v1"},
        {"name": "bench-ollama", "kind": "ollama", "url": url},
    ]
    with serving(backends, log=RUN / f"{module}.log", module=module) as peer:
        yield peer


@contextmanager
def serving(
    backends: list[dict[str, object]] | list[dict[str, str]],
    *,
    log: Path,
    module: str = "arriero",
    cpu: int | None = PROXY_CPU,
) -> Iterator[Peer]:
    """`arriero serve` on a port of its own with these backends, and nothing of this machine's configuration."""
    port = free_port()
    config = RUN / f"arriero-{port}.yaml"
    # JSON is YAML.
    config.write_text(json.dumps({"server": {"host": "127.0.0.1", "port": port}, "backends": backends}))
    home = RUN / "home"
    home.mkdir(exist_ok=True)
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "PYTHONUNBUFFERED": "1"}
    env["PYTHONPATH"] = str(HERE.parent)  # a module may be the benchmark's own
    command = [sys.executable, "-m", module, "serve", "--config", str(config)]
    try:
        with running(command, log=log, port=port, cpu=cpu, env=env, cwd=home) as process:
            yield Peer("arriero", process.pid, port)
    finally:
        config.unlink(missing_ok=True)

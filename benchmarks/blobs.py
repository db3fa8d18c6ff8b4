"""Large blobs into the model store: an upload beside `dd`, a pull beside `curl`, to the same disk, and what they take
of the gateway's memory.

Each side has its bytes on the disk before it is done: `dd` with `conv=fsync`, `curl` with a `sync` of its file behind
it. arriero checks the SHA-256 of what it takes in besides, so theirs is told with that as well, by `openssl`. The
registry is nginx with files in the places where the protocol looks for them.
"""

import hashlib
import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from shutil import rmtree, which

from benchmarks import rig
from benchmarks.cases import Wrong
from benchmarks.processes import free_port, own_rss_mib, running

MIB = 1 << 20
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MODEL_TYPE = "application/vnd.ollama.image.model"
SECONDS = 300.0

PROGRAMS = {name: which(name) for name in ("curl", "dd", "openssl", "sh", "sync", "tee")}


@dataclass(frozen=True, slots=True)
class Moved:
    """Seconds: ours, theirs, and theirs with a digest of the same bytes; and by how many MiB the gateway grew."""

    ours: float
    theirs: float
    hashed: float
    grown_mib: float


def missing() -> list[str]:
    """The programs that this machine lacks."""
    return [name for name, path in PROGRAMS.items() if path is None]


def run(folder: Path, mib: int, rounds: int) -> tuple[Moved, Moved]:
    """An upload and a pull of so many MiB, the medians of the rounds; nobody is kept to one CPU.

    Raises `Wrong` and `NotStarted`.
    """
    store, place = folder / "store", folder / "registry"
    backends: list[dict[str, object]] = [
        {"name": "local", "kind": "engine", "models_dir": str(store), "demo_model": False}
    ]
    log = folder / "arriero-blobs.log"
    uploads: list[Moved] = []
    pulls: list[Moved] = []
    for number in range(rounds):
        # A start for each: memory that was taken once is not given back, and would not be seen again.
        with rig.serving(backends, log=log, cpu=None) as peer:
            uploads.append(_upload(peer, folder, store, mib, number))
        with (
            _registry(place, folder) as port,
            rig.serving(backends, log=folder / "arriero-blobs.log", cpu=None) as peer,
        ):
            pulls.append(_pull(peer, folder, place, port, mib, number))
        rmtree(store, ignore_errors=True)
        rmtree(place, ignore_errors=True)
    return _median(uploads), _median(pulls)


def _median(all_: list[Moved]) -> Moved:
    return Moved(
        statistics.median(one.ours for one in all_),
        statistics.median(one.theirs for one in all_),
        statistics.median(one.hashed for one in all_),
        max(one.grown_mib for one in all_),
    )


def _upload(peer: rig.Peer, folder: Path, store: Path, mib: int, number: int) -> Moved:
    source, copy = folder / "source", folder / "copy"
    digest = _sparse(source, mib, f"upload {number}")
    command = ["dd", f"if={source}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"]
    theirs = _timed(command)
    copy.unlink()
    hashed = _timed(["sh", "-c", f"tee '{copy}' < '{source}' | openssl dgst -sha256"]) + _timed(["sync", str(copy)])
    copy.unlink()
    url = f"http://127.0.0.1:{peer.port}/api/blobs/sha256:{digest}"
    # A body of known length from a file; curl waits for no leave to send it.
    command = ["curl", "-sS", "-f", "-X", "POST", "-H", "Expect:", "-T", str(source), "-o", os.devnull, url]
    with _watched(peer.pid) as grown:
        ours = _timed(command)
    source.unlink()
    if not (store / "blobs" / f"sha256-{digest}").is_file():
        raise Wrong("the blob that was uploaded is not in the store")
    return Moved(ours, theirs, hashed, grown[0])


def _pull(peer: rig.Peer, folder: Path, place: Path, port: int, mib: int, number: int) -> Moved:
    blobs, manifests = place / "v2/library/big/blobs", place / "v2/library/big/manifests"
    source = blobs / "source"
    digest = _sparse(source, mib, f"pull {number}")
    source.rename(blobs / f"sha256:{digest}")
    config = json.dumps({"model_format": "gguf", "os": "linux", "architecture": "amd64", "round": number}).encode()
    named = hashlib.sha256(config).hexdigest()
    (blobs / f"sha256:{named}").write_bytes(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": f"sha256:{named}", "size": len(config)},
        "layers": [{"mediaType": MODEL_TYPE, "digest": f"sha256:{digest}", "size": mib * MIB}],
    }
    (manifests / "latest").write_text(json.dumps(manifest))
    copy = folder / "copy"
    url = f"http://127.0.0.1:{port}/v2/library/big/blobs/sha256:{digest}"
    theirs = _timed(["curl", "-sS", "-f", "-o", str(copy), url]) + _timed(["sync", str(copy)])
    copy.unlink()
    hashed = _timed(["sh", "-c", f"curl -sS -f {url} | tee '{copy}' | openssl dgst -sha256"]) + _timed(
        ["sync", str(copy)]
    )
    copy.unlink()
    body = {"model": f"127.0.0.1:{port}/library/big", "insecure": True, "stream": False}
    connection = HTTPConnection("127.0.0.1", peer.port, timeout=SECONDS)
    try:
        with _watched(peer.pid) as grown:
            begun = time.perf_counter()
            connection.request("POST", "/api/pull", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            ours = time.perf_counter() - begun
    finally:
        connection.close()
    if answer.status != 200 or b'"success"' not in said:
        raise Wrong(f"the pull fails: {answer.status} {said[-300:]!r}")
    return Moved(ours, theirs, hashed, grown[0])


def _sparse(path: Path, mib: int, mark: str) -> str:
    """A file of zeros behind a mark, so that no two are the same; its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(mark.encode())
        file.truncate(mib * MIB)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _timed(command: list[str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    if done.returncode:
        raise Wrong(f"{command[0]} ends with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    return time.perf_counter() - begun


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """By how many MiB a process grows at most during the block; a list of one, filled in at its end."""
    before, highest, ended = own_rss_mib(pid), 0.0, threading.Event()
    grown: list[float] = []

    def watch() -> None:
        nonlocal highest
        while not ended.wait(0.02):
            highest = max(highest, own_rss_mib(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        ended.set()
        thread.join()
        grown.append(max(0.0, highest - before))


_NGINX_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {run}/registry.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off;
  sendfile on;
  client_body_temp_path {run}/registry-body;
  proxy_temp_path {run}/registry-proxy;
  fastcgi_temp_path {run}/registry-fastcgi;
  uwsgi_temp_path {run}/registry-uwsgi;
  scgi_temp_path {run}/registry-scgi;
  server {{
    listen 127.0.0.1:{port};
    root {place};
    location / {{ default_type application/octet-stream; }}
    location ~ /manifests/ {{ default_type {manifest}; }}
  }}
}}
"""


@contextmanager
def _registry(place: Path, folder: Path) -> Iterator[int]:
    """The files of `place` under the port."""
    for name in ("blobs", "manifests"):
        (place / "v2/library/big" / name).mkdir(parents=True, exist_ok=True)
    # Its worker would be somebody else, who may not read here.
    user = "user root;" if os.getuid() == 0 else ""
    port = free_port()
    config = folder / "registry.conf"
    config.write_text(_NGINX_CONFIG.format(user=user, run=folder, place=place, port=port, manifest=MANIFEST_TYPE))
    command = [str(rig.NGINX), "-p", str(folder), "-c", str(config)]
    with running(command, log=folder / "registry.log", port=port, cpu=rig.RIG_CPU):
        yield port

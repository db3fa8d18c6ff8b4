"""Debian's `docker-registry` as a process on loopback: the real thing that push and pull are tested against.

The package's service is never started; only its one binary is needed, which `.ci/run` unpacks into `build/tools`.
"""

import hashlib
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from arriero.dialects.ollama.names import Name
from support.program import environment, free_port, until

ACCEPT = "application/vnd.docker.distribution.manifest.v2+json"
"""Without it the registry tries to make an older kind of manifest, and fails."""

_PLACES = (Path(__file__).parents[2] / "build" / "tools" / "docker-registry", Path("/usr/bin/docker-registry"))


def docker_registry_binary() -> Path | None:
    """Where the program is: on the path, among the unpacked tools, or installed."""
    found = shutil.which("docker-registry")
    return Path(found) if found else next((place for place in _PLACES if place.is_file()), None)


class DockerRegistry:
    """One registry, with a storage of its own. It keeps its port, however often it is stopped."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run it; returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "config.yml"
        settings = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.host, "secret": "of the tests"},
        }
        config.write_text(json.dumps(settings))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "serve", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment(self._folder),
            )
        until(self._answers)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait(10)

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log
        try:
            return self.ask("GET", "/v2/")[0] == 200
        except OSError:
            return False

    # ---- what it holds ---------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def requests(self) -> list[str]:
        """`METHOD path status` of all requests so far, without those of `ask`. Digests are cut to twelve letters, and
        upload addresses to what is asked of them.
        """
        return [
            f"{method} {_shortened(url)} {status}" for method, url, status, agent in _LINE.findall(self.log) if agent
        ]

    def name(self, model: str, tag: str = "latest", namespace: str = "library") -> Name:
        """The name of a model of this registry."""
        return Name(model, tag, namespace, self.host)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"connection": "close", **(headers or {})})
            with connection.getresponse() as answer:
                fields = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, fields, answer.read()
        finally:
            connection.close()

    def manifest(self, name: Name) -> bytes | None:
        """The bytes of a manifest that it has."""
        status, _, body = self.ask(
            "GET", f"/v2/{name.namespace}/{name.model}/manifests/{name.tag}", headers={"accept": ACCEPT}
        )
        assert status in (200, 404), (status, body)
        return body if status == 200 else None

    def blob(self, name: Name, digest: str) -> str | None:
        """The digest of the bytes of a blob that it has."""
        status, _, body = self.ask("GET", f"/v2/{name.namespace}/{name.model}/blobs/{digest}")
        assert status in (200, 404), (status, body)
        return f"sha256:{hashlib.sha256(body).hexdigest()}" if status == 200 else None


_LINE = re.compile(r'"([A-Z]+) (/\S+) HTTP/1.1" (\d+) \d+ "[^"]*" "([^"]*)"')
_DIGEST = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]{52}")
_UPLOAD = re.compile(r"(?<=/uploads/).+")


def _shortened(url: str) -> str:
    parts = urlsplit(url)
    asked = [f"{key}={value}" for key, value in sorted(parse_qsl(parts.query)) if key in ("digest", "from", "mount")]
    path = _UPLOAD.sub("*", parts.path)
    return _DIGEST.sub(r"\1", f"{path}?{'&'.join(asked)}" if asked else path)


@contextmanager
def running_docker_registry(folder: Path) -> Iterator[DockerRegistry]:
    """A registry for a block or a fixture; without the program the tests are skipped."""
    binary = docker_registry_binary()
    if binary is None:
        pytest.skip("docker-registry of the Debian package of this name is not there")
    registry = DockerRegistry(binary, folder)
    try:
        registry.start()
        yield registry
    finally:
        registry.kill()

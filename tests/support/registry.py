"""A model registry that a test can read like a book and break where it likes: manifests, blobs, uploads, tokens.

    async with ScriptedRegistry() as registry:
        registry.hold("library/tiny:latest", b"weights", b"template")
        registry.fault("/blobs/", cut=3)            # the next blob breaks off after three bytes
        ... registry.name("tiny") ...
        assert registry.told("GET", "/blobs/") == [...]

It speaks what the contract asks of a registry (registry-and-store.md, sections 4 to 6, 10), on plain loopback http. It
is known under two host names, `127.0.0.1` and `localhost`, so that "another host" can be played by one server.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from arriero.dialects.ollama.names import Name
from support.registry_faults import Fault, Gate, Received, TokenAuth

__all__ = ["CONFIG_TYPE", "MANIFEST_TYPE", "Fault", "Gate", "Received", "ScriptedRegistry", "TokenAuth", "digest_of"]

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPES = ("model", "template", "params", "system", "license")
"""What the contents that `hold` is given are called, in their order; all further ones are licenses."""

PIECE = 65536

_BLOB = re.compile(r"/v2/(?P<repository>.+)/blobs/(?P<digest>sha256:[0-9a-f]{64})")
_UPLOADS = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?P<upload>[^/]*)")
_MANIFEST = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<tag>[^/]+)")
_DIRECT = re.compile(r"/direct/(?P<ticket>\d+)/(?P<digest>sha256:[0-9a-f]{64})")
_PART = re.compile(r"/part/(?P<upload>[^/]+)/(?P<start>\d+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"(\d+)-(\d+)")


def digest_of(data: bytes | bytearray) -> str:
    """`sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class _Answer:
    status: int
    body: bytes | Path = b""
    headers: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    length: int | None = None
    """So many bytes of the body from `offset` (None: to its end)."""


@dataclass
class _Upload:
    repository: str
    data: bytearray = field(default_factory=bytearray)
    parts: dict[int, bytes] = field(default_factory=dict)
    """What was sent to direct addresses, by its start."""


class ScriptedRegistry:
    """The registry. All attributes may be changed at any time."""

    def __init__(self, *, auth: TokenAuth | None = None) -> None:
        self.auth = auth
        self.manifests: dict[str, bytes] = {}
        """By `namespace/model:tag`."""
        self.manifest_types: dict[str, str] = {}
        self.blobs: dict[str, bytes | Path] = {}
        self.linked: dict[str, set[str]] = {}
        """Which repository (`namespace/model`) has which blobs."""
        self.requests: list[Received] = []
        self.faults: list[Fault] = []
        # Pull
        self.direct: int | None = None
        """The status (307, 302, ...) that sends readers of blobs to the other host name; None: serves them itself."""
        self.direct_location = True
        """Whether that answer has a `Location`."""
        self.location_with_200 = False
        """A 200 whose `Location` is the direct address, and whose body is the blob."""
        self.ranges = True
        self.ticket = 1
        """Part of the direct addresses; an address with an older one is refused with 403."""
        # Push
        self.chunked = True
        """Whether uploads take PATCH; without it: `patch_refusal`."""
        self.patch_refusal = 405
        self.mounts = True
        self.status_of_uploads = True
        self.strict = False
        """An upload address that is behind its upload ends it, as Debian's docker-registry does it."""
        self.parts_here = False
        """Those addresses are on the registry's own host."""
        self.direct_parts = False
        """PATCH answers 307, the part goes to the other host name by PUT."""
        self.upload_header = "Location"
        """Or `Docker-Upload-Location`."""
        self.relative = False
        """Whether upload addresses are paths alone."""
        self._uploads: dict[str, _Upload] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._made = 0
        self.most_at_once = 0
        """The highest number of requests with a body or a blob that were open at a time."""
        self._at_once = 0
        self.port = 0

    # ---- the test's side -------------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self.port}"

    @property
    def other_host(self) -> str:
        """The same server under another name."""
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def name(self, model: str, tag: str = "latest", namespace: str = "library") -> Name:
        """The name of a model of this registry."""
        return Name(model, tag, namespace, self.host)

    def hold(self, model: str, *contents: bytes | Path, config: bytes = b"{}\n") -> bytes:
        """Hold a model (`library/tiny:latest`) of these layers; the bytes of its manifest."""
        repository = model.rpartition(":")[0]
        layers = []
        for place, content in enumerate(contents):
            kind = LAYER_TYPES[min(place, len(LAYER_TYPES) - 1)]
            layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", **self.blob(repository, content)})
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": CONFIG_TYPE, **self.blob(repository, config)},
                "layers": layers,
            },
            separators=(",", ":"),
        ).encode()
        self.manifests[model] = manifest
        return manifest

    def blob(self, repository: str, content: bytes | Path) -> dict[str, Any]:
        """Hold one blob; its digest and size, as manifests have them."""
        if isinstance(content, Path):
            with content.open("rb") as file:
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            size = content.stat().st_size
        else:
            digest, size = digest_of(content), len(content)
        self.blobs[digest] = content
        self.linked.setdefault(repository, set()).add(digest)
        return {"digest": digest, "size": size}

    def fault(self, path: str, method: str = "", *, times: int | None = 1, **what: Any) -> Fault:
        """See `Fault`; the first one that strikes is played."""
        fault = Fault(path, method, times, **what)
        self.faults.append(fault)
        return fault

    def hold_back(self, path: str, method: str = "") -> Gate:
        """Requests whose path holds `path` are read, and wait at the gate."""
        gate = Gate()
        self.fault(path, method, times=None, hold=gate)
        return gate

    def stop_listening(self) -> None:
        """New connections are refused from now on."""
        assert self._server is not None
        self._server.close()

    @property
    def tasks(self) -> set["asyncio.Task[None]"]:
        """The connections that are still served."""
        return {task for task in self._tasks if not task.done()}

    def well(self) -> None:
        """No faults any more."""
        self.faults.clear()

    def told(self, method: str = "", path: str = "") -> list[Received]:
        """The requests of this method whose path holds `path`, oldest first."""
        return [request for request in self.requests if method in ("", request.method) and path in request.path]

    @property
    def log(self) -> list[str]:
        """`METHOD path` of all requests; digests are cut to twelve letters, upload ids to `*`."""
        lines = []
        for request in self.requests:
            path = re.sub(r"sha256:([0-9a-f]{12})[0-9a-f]{52}", r"\1", request.path)
            path = re.sub(r"(/uploads/|/part/)[^/]+", r"\1*", path)
            lines.append(f"{request.method} {path}")
        return lines

    @property
    def open_uploads(self) -> int:
        return len(self._uploads)

    # ---- life ------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> "ScriptedRegistry":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        for _ in range(3):
            await asyncio.sleep(0)  # the loop loses a connection that it is accepting while its server is closed
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for result in results:
            if error is None and isinstance(result, Exception):
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The other side has had enough; what it was told is asserted there.
        finally:
            # Without waiting: what the client does not read any more is not its fault.
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False if the connection is not to be used any more."""
        first = await reader.readexactly(1)
        if first == b"\x16":  # the greeting of TLS
            writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
            return False
        lines = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        parts = urlsplit(target)
        request = Received(method, parts.path, dict(parse_qsl(parts.query)), headers)
        fault = next((fault for fault in self.faults if fault.strikes(request)), Fault(""))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if fault.stop_reading:
                await asyncio.Event().wait()
            body, whole = await self._body(reader, headers, fault.cut_upload)
            request = Received(method, parts.path, request.query, headers, body)
            self.requests.append(request)
            if fault.hold is not None:
                await fault.hold.passed()
            if fault.forget_upload and (found := _UPLOADS.fullmatch(request.path)):
                self._uploads.pop(found["upload"], None)
            if not whole:
                self._keep(request)
                return False
            if fault.status is not None:
                answer = _Answer(fault.status, fault.body or b"", dict(fault.headers))
            else:
                answer = self._answer(request, ignore_range=fault.ignore_range)
                if fault.body is not None:
                    answer.body = fault.body
            return not fault.lose and await self._say(writer, answer, fault, bodiless=method == "HEAD")
        finally:
            self._at_once -= 1

    async def _body(
        self, reader: asyncio.StreamReader, headers: Mapping[str, str], most: int | None
    ) -> tuple[bytes, bool]:
        """The body of a request, and whether it was read to its end."""
        data = bytearray()
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                data += (await reader.readexactly(size + 2))[:-2]
                if most is not None and len(data) >= most:
                    return bytes(data[:most]), False
            await reader.readexactly(2)
            return bytes(data), True
        left = int(headers.get("content-length", "0"))
        if most is not None and most < left:
            return await reader.readexactly(most), False
        return await reader.readexactly(left), True

    async def _say(self, writer: asyncio.StreamWriter, answer: _Answer, fault: Fault, *, bodiless: bool) -> bool:
        size = answer.body.stat().st_size if isinstance(answer.body, Path) else len(answer.body)
        length = size - answer.offset if answer.length is None else answer.length
        head = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in answer.headers.items())]
        if fault.endless:
            head.append("connection: close")
        elif answer.status != 204:
            head.append(f"content-length: {length if fault.length is None else fault.length}")
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        if not bodiless:
            await self._say_body(writer, answer, length, fault)
        await writer.drain()
        return fault.cut is None and fault.length is None and not fault.endless

    async def _say_body(self, writer: asyncio.StreamWriter, answer: _Answer, length: int, fault: Fault) -> None:
        sent = 0
        for data in _pieces(answer, length, PIECE if fault.pace is None else fault.piece):
            piece = bytes([data[0] ^ 255]) + data[1:] if fault.wrong and not sent else data
            for most in (fault.cut, fault.stall):
                if most is not None and sent + len(piece) > most:
                    writer.write(piece[: most - sent])
                    await writer.drain()
                    if fault.stall is not None:
                        await writer.wait_closed()  # nothing of it comes before the client has left
                    return
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
            if fault.pace is not None:
                await asyncio.sleep(fault.pace)
        while fault.endless:
            writer.write(bytes(PIECE))
            await writer.drain()

    # ---- the registry's side ---------------------------------------------------------------------------------------

    def _answer(self, request: Received, *, ignore_range: bool = False) -> _Answer:
        path = request.path
        if path == "/token":
            return self._token(request)
        if found := _DIRECT.fullmatch(path):
            if "authorization" in request.headers:
                return _error(400, "INVALID", "this address takes no authorization")
            if int(found["ticket"]) != self.ticket:
                return _error(403, "EXPIRED", "this address is no longer good")
            return self._content(found["digest"], request, ignore_range=ignore_range)
        if found := _PART.fullmatch(path):
            return self._direct_part(found["upload"], int(found["start"]), request)
        if self.auth is not None and (refusal := self._refused(self.auth, request)) is not None:
            return refusal
        if found := _UPLOADS.fullmatch(path):
            return self._upload(found["repository"], found["upload"], request)
        if found := _BLOB.fullmatch(path):
            return self._blob(found["repository"], found["digest"], request, ignore_range=ignore_range)
        if found := _MANIFEST.fullmatch(path):
            return self._manifest(found["repository"], found["tag"], request)
        return _Answer(200, b"{}") if path == "/v2/" else _error(404, "NOT_FOUND", "no such page")

    # ---- tokens

    def _refused(self, auth: TokenAuth, request: Received) -> _Answer | None:
        """The answer to a request without a good token; None for one that has it."""
        found = re.match(r"/v2/(.+)/(?:blobs|manifests)/", request.path)
        repository = found[1] if found else ""
        actions = "pull" if request.method in ("GET", "HEAD") and "/uploads/" not in request.path else "pull,push"
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        scopes, uses = auth.given.get(token, (frozenset(), 0))
        granted = {
            action
            for scope in scopes
            if scope.startswith(f"repository:{repository}:")
            for action in scope.split(":")[2].split(",")
        }
        if set(actions.split(",")) <= granted and not auth.denied and (auth.uses is None or uses < auth.uses):
            auth.given[token] = (scopes, uses + 1)
            return _error(403, "DENIED", "requested access to the resource is denied") if auth.forbidden else None
        answer = _error(401, "UNAUTHORIZED", "authentication required")
        realm = auth.realm or f"{self.url}/token"
        answer.headers["www-authenticate"] = (
            'Basic realm="the registry"'
            if auth.basic
            else f'Bearer realm="{realm}",service="{auth.service}",scope="repository:{repository}:{actions}"'
        )
        return answer

    def _token(self, request: Received) -> _Answer:
        """Checks everything that section 5 of the contract asks of the request."""
        assert self.auth is not None, "nobody asked for a token"
        query = request.query
        try:
            nonce = base64.urlsafe_b64decode(query.get("nonce", "") + "==")
        except binascii.Error:
            nonce = b""
        wrong = [
            what
            for what, right in {
                "nonce": len(nonce) == 16,
                "ts": query.get("ts", "").isdigit(),
                "service": query.get("service") == self.auth.service,
                "scope": query.get("scope", "").startswith("repository:"),
                "signature": not self.auth.signed or ":" in request.headers.get("authorization", ""),
                "bearer": not request.headers.get("authorization", "").startswith("Bearer "),
            }.items()
            if not right
        ]
        if wrong:
            return _error(400, "UNAUTHORIZED", f"wrong: {', '.join(wrong)}")
        token = f"token-{len(self.auth.given) + 1}"
        self.auth.given[token] = (frozenset(query["scope"].split(" ")), 0)
        return _Answer(200, json.dumps({"token": token}).encode(), {"content-type": "application/json"})

    # ---- reading

    def _manifest(self, repository: str, tag: str, request: Received) -> _Answer:
        key = f"{repository}:{tag}"
        if request.method == "PUT":
            return self._put_manifest(key, repository, request)
        if key not in self.manifests:
            return _error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if MANIFEST_TYPE not in request.headers.get("accept", ""):
            return _error(400, "MANIFEST_INVALID", "manifest invalid")
        kind = self.manifest_types.get(key, MANIFEST_TYPE)
        return _Answer(200, self.manifests[key], {"content-type": kind})

    def _blob(self, repository: str, digest: str, request: Received, *, ignore_range: bool) -> _Answer:
        if digest not in self.linked.get(repository, ()):
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        direct = f"http://{self.other_host}/direct/{self.ticket}/{digest}?signature=secret"
        if request.method == "GET" and self.direct is not None:
            return _Answer(self.direct, b"", {"location": direct} if self.direct_location else {})
        answer = self._content(digest, request, ignore_range=ignore_range)
        if self.location_with_200:
            answer.headers["location"] = direct
        return answer

    def _content(self, digest: str, request: Received, *, ignore_range: bool) -> _Answer:
        content = self.blobs[digest]
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        headers = {"content-type": "application/octet-stream", "docker-content-digest": digest}
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        if found is None or ignore_range or not self.ranges or request.method == "HEAD":
            return _Answer(200, content, headers)
        start, end = int(found[1]), min(int(found[2] or size), size - 1)
        if start > end:
            return _Answer(416, b"", {"content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {start}-{end}/{size}"
        return _Answer(206, content, headers, start, end - start + 1)

    # ---- writing

    def _put_manifest(self, key: str, repository: str, request: Received) -> _Answer:
        try:
            manifest = json.loads(request.body)
            named = [layer["digest"] for layer in [*manifest["layers"], manifest["config"]]]
        except (ValueError, LookupError, TypeError):
            return _error(400, "MANIFEST_INVALID", "manifest invalid")
        missing = [digest for digest in named if digest not in self.linked.get(repository, ())]
        if missing:
            return _error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"digest": missing[0]})
        self.manifests[key] = request.body
        self.manifest_types[key] = request.headers.get("content-type", "")
        return _Answer(201, b"", {"docker-content-digest": digest_of(request.body)})

    def _upload(self, repository: str, key: str, request: Received) -> _Answer:
        if request.method == "POST" and not key:
            return self._begin(repository, request)
        upload = self._uploads.get(key)
        if upload is None or upload.repository != repository:
            return _error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if request.method == "DELETE":
            del self._uploads[key]
            return _Answer(204)
        state = request.query.get("_state", "")
        if self.strict and state != f"{key}/{len(upload.data)}":
            del self._uploads[key]
            return _error(404, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        if request.method == "GET":
            if not self.status_of_uploads:
                return _error(405, "UNSUPPORTED", "The operation is unsupported.")
            return self._where(key, upload, 204)
        if not state:
            return _error(400, "BLOB_UPLOAD_INVALID", "the state of the upload address is missing")
        if request.method == "PATCH":
            return self._patch(key, upload, request)
        if request.method == "PUT":
            return self._finish(key, upload, request)
        return _error(405, "UNSUPPORTED", "The operation is unsupported.")

    def _begin(self, repository: str, request: Received) -> _Answer:
        mount, source = request.query.get("mount", ""), request.query.get("from", "")
        if self.mounts and mount in self.linked.get(source, ()):
            self.linked.setdefault(repository, set()).add(mount)
            return _Answer(201, b"", {"location": f"/v2/{repository}/blobs/{mount}"})
        self._made += 1
        key = f"upload-{self._made}"
        self._uploads[key] = _Upload(repository)
        return self._where(key, self._uploads[key], 202)

    def _where(self, key: str, upload: _Upload, status: int) -> _Answer:
        """How far the upload is, and where it goes on."""
        done = len(upload.data)
        path = f"/v2/{upload.repository}/blobs/uploads/{key}?_state={quote(f'{key}/{done}', safe='')}&more=a%2Fb"
        headers = {
            self.upload_header: path if self.relative else f"{self.url}{path}",
            "range": f"0-{max(0, done - 1)}",
            "docker-upload-uuid": key,
        }
        return _Answer(status, b"", headers)

    def _patch(self, key: str, upload: _Upload, request: Received) -> _Answer:
        if not self.chunked:
            return _error(self.patch_refusal, "UNSUPPORTED", "The operation is unsupported.")
        if request.headers.get("content-type") != "application/octet-stream":
            return _error(415, "UNSUPPORTED", "the content type must be application/octet-stream")
        told = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", ""))
        if told is None:
            return _error(400, "SIZE_INVALID", "the content range is missing")
        start, length = int(told[1]), int(told[2]) - int(told[1]) + 1
        if self.direct_parts and request.headers.get("x-redirect-uploads") == "1":
            answer = self._where(key, upload, 307)
            answer.headers["docker-upload-location"] = answer.headers.pop(self.upload_header)
            host = self.host if self.parts_here else self.other_host
            answer.headers["location"] = f"http://{host}/part/{key}/{start}?signature=secret"
            return answer
        if start != len(upload.data):
            return self._where(key, upload, 416)
        if length != len(request.body):
            return _error(400, "SIZE_INVALID", "the content range and the body differ")
        upload.data += request.body
        return self._where(key, upload, 202)

    def _direct_part(self, key: str, start: int, request: Received) -> _Answer:
        if "authorization" in request.headers or "transfer-encoding" in request.headers:
            return _error(400, "INVALID", "no authorization here, and a content-length")
        upload = self._uploads.get(key)
        if request.method != "PUT" or upload is None:
            return _error(404, "NOT_FOUND", "no such part")
        upload.parts[start] = request.body
        return _Answer(200, b"", {"etag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _finish(self, key: str, upload: _Upload, request: Received) -> _Answer:
        digest = request.query.get("digest", "")
        for start, data in sorted(upload.parts.items()):
            if start == len(upload.data):
                upload.data += data
        upload.data += request.body
        if digest_of(upload.data) != digest:
            del self._uploads[key]
            return _error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        del self._uploads[key]
        self.blobs[digest] = bytes(upload.data)
        self.linked.setdefault(upload.repository, set()).add(digest)
        return _Answer(
            201, b"", {"location": f"/v2/{upload.repository}/blobs/{digest}", "docker-content-digest": digest}
        )

    def _keep(self, request: Received) -> None:
        """What came of a request that was cut."""
        found = _UPLOADS.fullmatch(request.path)
        if request.method == "PATCH" and found and (upload := self._uploads.get(found["upload"])) is not None:
            upload.data += request.body


def _pieces(answer: _Answer, length: int, size: int) -> Iterator[bytes]:
    if isinstance(answer.body, bytes):
        view = answer.body[answer.offset : answer.offset + length]
        for start in range(0, len(view), size):
            yield view[start : start + size]
        return
    with answer.body.open("rb") as file:
        file.seek(answer.offset)
        while length and (piece := file.read(min(size, length))):
            length -= len(piece)
            yield piece


def _error(status: int, code: str, message: str, detail: object = None) -> _Answer:
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()
    return _Answer(status, body, {"content-type": "application/json"})

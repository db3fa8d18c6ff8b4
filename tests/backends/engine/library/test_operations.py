"""What each call does to the store. Calls come in as they would over HTTP, and answers are read as a client would."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine import DEMO_ID
from arriero.backends.engine.library.operations import open_desk
from arriero.backends.engine.model import ModelFile
from arriero.backends.engine.models import Models, key
from arriero.backends.engine.store.manifest import CONFIG_TYPE, MODEL, Layer, Manifest, write_manifest
from arriero.backends.engine.store.store import Store
from arriero.backends.http.call import Call
from arriero.errors import (
    ArrieroError,
    BadRequest,
    Forbidden,
    ModelBroken,
    ModelNotFound,
    NotImplementedHere,
    StoreError,
    StoreReadOnly,
)
from support.gguf import random_llama
from support.store import blobs, check_store, digest, layer, models, name


class Place:
    """A store with the desk in front of it; `demo` is the model that ships with the program."""

    def __init__(self, root: Path, *, demo: Path | None = None, read_only: bool = False) -> None:
        self.root = root
        self.store = Store(root, read_only=read_only)
        self.models = Models(self.store, demo=demo)
        self.desk = open_desk(self.store, self.find)

    async def find(self, name: str) -> ModelFile | None:
        listing = self.models.scan()
        for broken in listing.broken.values():
            if key(broken.id) == key(name):
                raise ModelBroken(f"{broken.id} cannot be used: {broken.reason}")
        return listing.find(name)

    async def ask(self, path: str, body: bytes | AsyncIterator[bytes] | dict[str, Any], method: str = "POST") -> Any:
        """The status of an answer without a body, else its lines."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        head, answer = await self.desk.fetch(Call(method, path, (), data))
        return [json.loads(line) for line in answer.splitlines()] if answer else head.status

    async def upload(self, path: Path) -> str:
        data = path.read_bytes()  # noqa: ASYNC240
        assert await self.ask(f"/api/blobs/{digest(data)}", data) == 201
        return digest(data)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    demo = random_llama(tmp_path / "demo.gguf", context_length=512)
    place = Place(tmp_path / "models", demo=demo)
    yield place
    await place.desk.close()
    if place.root.exists():
        check_store(place.root)


# ---- blobs -----------------------------------------------------------------------------------------------------------


async def test_a_blob_is_new_once(place: Place) -> None:
    path = f"/api/blobs/{digest(b'abc')}"
    assert await place.ask(path, b"", "HEAD") == 404
    assert await place.ask(path, b"abc") == 201
    assert await place.ask(path, b"", "HEAD") == 200

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("a body that is not needed")
        yield b""

    assert await place.ask(path, unread()) == 200
    assert await place.ask(path.replace("sha256:", "sha256-"), b"", "HEAD") == 200


async def test_a_blob_that_has_been_cut_is_mended_by_sending_it_again(place: Place) -> None:
    path = place.store.blob(digest(b"abcdef"))
    assert await place.ask(f"/api/blobs/{digest(b'abcdef')}", b"abcdef") == 201
    path.write_bytes(b"abc")
    call = Call("POST", f"/api/blobs/{digest(b'abcdef')}", ((b"content-length", b"6"),), b"abcdef")
    head, _ = await place.desk.fetch(call)
    assert (head.status, path.read_bytes()) == (201, b"abcdef")
    head, _ = await place.desk.fetch(call)
    assert head.status == 200


async def test_what_a_client_wants_to_use_is_not_deleted_with_the_model_of_another(
    place: Place, tmp_path: Path
) -> None:
    file = random_llama(tmp_path / "tiny.gguf")
    blob = await place.upload(file)
    await place.ask("/api/create", {"model": "theirs", "files": {"tiny.gguf": blob}})
    assert await place.ask(f"/api/blobs/{blob}", file.read_bytes()) == 200
    await place.ask("/api/delete", {"model": "theirs"}, "DELETE")
    frames = await place.ask("/api/create", {"model": "mine", "files": {"tiny.gguf": blob}})
    assert frames[-1] == {"status": "success"}


async def test_a_blob_of_another_digest_stays_under_its_own(place: Place) -> None:
    wanted, got = digest(b"abc"), digest(b"abd")
    with pytest.raises(BadRequest) as raised:
        await place.ask(f"/api/blobs/{wanted}", b"abd")
    assert raised.value.message == f'digest mismatch, expected "{wanted}", got "{got}"'
    assert blobs(place.root) == [got]


@pytest.mark.parametrize("digest", ["sha256:12", "sha256:" + "g" * 64, "../../etc/passwd", "md5:" + "0" * 64, ""])
async def test_what_is_no_digest_is_refused(place: Place, digest: str) -> None:
    with pytest.raises(BadRequest, match="invalid digest format"):
        await place.ask(f"/api/blobs/{digest}", b"abc")


# ---- models ----------------------------------------------------------------------------------------------------------


async def test_a_model_is_created_copied_and_deleted(place: Place, tmp_path: Path) -> None:
    blob = await place.upload(random_llama(tmp_path / "tiny.gguf"))
    frames = await place.ask("/api/create", {"model": "Mine", "files": {"tiny.gguf": blob}, "system": "Be short."})
    assert [frame["status"] for frame in frames][:2] == ["parsing GGUF", f"using existing layer {blob}"]
    assert frames[-2:] == [{"status": "writing manifest"}, {"status": "success"}]
    assert await place.ask("/api/copy", {"source": "mine", "destination": "me/other:1b"}) == 200
    assert list(models(place.root)) == ["registry.ollama.ai/library/Mine/latest", "registry.ollama.ai/me/other/1b"]
    assert await place.ask("/api/delete", {"model": "MINE"}, "DELETE") == 200
    assert list(models(place.root)) == ["registry.ollama.ai/me/other/1b"]
    assert blob in blobs(place.root)
    assert await place.ask("/api/delete", {"name": "me/other:1b"}, "DELETE") == 200
    assert (models(place.root), blobs(place.root)) == ({}, [])


async def test_a_model_whose_manifest_is_damaged_can_be_deleted(place: Place) -> None:
    manifest = place.root / "manifests" / "registry.ollama.ai" / "library" / "odd" / "latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("<html>")
    assert await place.ask("/api/delete", {"model": "odd"}, "DELETE") == 200
    assert models(place.root) == {}


async def test_what_the_engine_cannot_use_is_still_a_model_of_the_store(place: Place, tmp_path: Path) -> None:
    """Its place may be taken, and its name is not that of a file beside the store."""
    odd = "127.0.0.1:1/me/odd"
    blob = await place.upload(random_llama(tmp_path / "tiny.gguf"))
    await place.ask("/api/create", {"model": "sound", "files": {"tiny.gguf": blob}})
    weights = place.store.put(b"no GGUF")[0]
    config = layer(place.store, b"{}", CONFIG_TYPE)
    place.store.write(name(odd), write_manifest(Manifest(config, (Layer(MODEL, weights, 7),))))
    with pytest.raises(ArrieroError) as raised:
        await place.ask("/api/push", {"model": odd, "insecure": True, "stream": False})
    assert raised.value.message == "cannot reach http://127.0.0.1:1: connection refused"
    assert await place.ask("/api/copy", {"source": "sound", "destination": odd}) == 200
    found = await place.find(odd)
    assert found is not None and found.stored is not None


async def test_a_damaged_file_beside_the_store_is_no_model_to_be_deleted(place: Place) -> None:
    place.root.mkdir()
    (place.root / "half.gguf").write_text("<html>")
    with pytest.raises(BadRequest) as raised:
        await place.ask("/api/delete", {"model": "half"}, "DELETE")
    assert raised.value.message == (
        "half:latest cannot be used: not a GGUF file: it is no model of the store but a file beside it, "
        "it is not deleted from here"
    )


async def test_a_file_beside_the_store_is_copied_into_it(place: Place) -> None:
    place.root.mkdir()
    file = random_llama(place.root / "Loose.gguf")
    assert await place.ask("/api/copy", {"source": "loose", "destination": "kept"}) == 200
    assert await place.ask("/api/copy", {"source": DEMO_ID, "destination": "demo-too"}) == 200
    assert list(models(place.root)) == [
        "registry.ollama.ai/library/demo-too/latest",
        "registry.ollama.ai/library/kept/latest",
    ]
    assert digest(file.read_bytes()) in blobs(place.root)
    assert file.exists()


async def test_a_cut_pull_to_a_closed_port_says_so(place: Place) -> None:
    with pytest.raises(ArrieroError) as raised:
        await place.ask("/api/pull", {"model": "127.0.0.1:1/me/x", "insecure": True, "stream": False})
    assert raised.value.message == "pull model manifest: cannot reach http://127.0.0.1:1: connection refused"


@pytest.mark.parametrize(
    ("path", "body", "kind", "text"),
    [
        ("/api/copy", {"source": "nope", "destination": "x"}, ModelNotFound, 'model "nope" not found'),
        ("/api/copy", {"source": DEMO_ID, "destination": "../x"}, BadRequest, 'destination "../x" is invalid'),
        ("/api/copy", {"source": "x", "destination": DEMO_ID}, BadRequest,
         f'"{DEMO_ID}" comes with arriero (demo_model: false hides it): choose another name'),
        ("/api/delete", {"model": "nope"}, ModelNotFound, "model 'nope' not found"),
        ("/api/delete", {"model": "a b"}, BadRequest, 'name "a b" is invalid'),
        ("/api/delete", {"model": DEMO_ID}, BadRequest,
         f'"{DEMO_ID}" comes with arriero (demo_model: false hides it): it is not deleted from here'),
        ("/api/delete", {"model": "loose"}, BadRequest,
         '"loose" is the file Loose.gguf in the models directory: it is not deleted from here'),
        ("/api/push", {"model": "loose", "stream": False}, BadRequest,
         '"loose" is the file Loose.gguf in the models directory: a copy of it can be pushed: ollama cp'),
        ("/api/pull", {"model": "x:cloud"}, Forbidden, "ollama cloud is disabled: remote model is unavailable"),
        ("/api/pull", {"model": "../x"}, BadRequest, "invalid model name"),
        ("/api/create", {"model": "x"}, BadRequest, "neither 'from' or 'files' was specified"),
        ("/api/chat", {}, NotImplementedHere, "the embedded engine has no /api/chat"),
    ],
)  # fmt: skip
async def test_what_is_refused(place: Place, path: str, body: dict[str, Any], kind: type, text: str) -> None:
    place.root.mkdir()
    random_llama(place.root / "Loose.gguf")
    with pytest.raises(ArrieroError) as raised:
        await place.ask(path, body)
    assert (type(raised.value), raised.value.message) == (kind, text)
    assert models(place.root) == {}


async def test_a_push_of_what_is_no_model_says_so_in_frames(place: Place) -> None:
    for typed in ("nope", "a b"):
        said = typed if typed == "a b" else f"{typed}:latest"
        with pytest.raises(StoreError, match=f"^open {said}: no such file or directory$") as raised:
            await place.ask("/api/push", {"model": typed, "stream": False})
        assert raised.value.status == 500


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("x", ["x/cloud", "x/local", "x/v1", "x/v1-cloud"]),
        ("x:local", ["x/cloud", "x/latest", "x/v1", "x/v1-cloud"]),
        ("X:Latest:LOCAL", ["x/cloud", "x/local", "x/v1", "x/v1-cloud"]),
        ("x:cloud", ["x/latest", "x/local", "x/v1", "x/v1-cloud"]),
        ("x:v1:local", ["x/cloud", "x/latest", "x/local", "x/v1-cloud"]),
        ("x:v1:cloud", ["x/cloud", "x/latest", "x/local", "x/v1"]),
        ("x:v1-cloud", ["x/cloud", "x/latest", "x/local", "x/v1"]),
    ],
)
async def test_a_suffix_never_deletes_another_model(place: Place, tmp_path: Path, typed: str, left: list[str]) -> None:
    blob = await place.upload(random_llama(tmp_path / "tiny.gguf"))
    await place.ask("/api/create", {"model": "x", "files": {"tiny.gguf": blob}})
    for tag in ("cloud", "local", "v1", "v1-cloud"):
        assert await place.ask("/api/copy", {"source": "x", "destination": f"x:{tag}"}) == 200
    assert await place.ask("/api/delete", {"model": typed}, "DELETE") == 200
    assert list(models(place.root)) == [f"registry.ollama.ai/library/{one}" for one in left]


async def test_a_read_only_store_is_not_changed(place: Place, tmp_path: Path) -> None:
    blob = await place.upload(random_llama(tmp_path / "tiny.gguf"))
    await place.ask("/api/create", {"model": "mine", "files": {"tiny.gguf": blob}})
    before = models(place.root)
    closed = Place(place.root, read_only=True)
    for path, body in (
        ("/api/create", {"model": "x", "from": "mine"}),
        ("/api/pull", {"model": "127.0.0.1:1/me/x", "insecure": True}),
        ("/api/copy", {"source": "mine", "destination": "x"}),
        ("/api/delete", {"model": "mine"}),
        (f"/api/blobs/{digest(b'new')}", b"new"),
    ):
        with pytest.raises(StoreReadOnly):
            await closed.ask(path, body)
    assert models(place.root) == before
    await closed.desk.close()

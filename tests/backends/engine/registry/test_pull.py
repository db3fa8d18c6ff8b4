"""A model from a scripted registry: frames in order, the manifest byte for byte, and manifests that are refused."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from arriero.backends.engine.progress import Frame
from arriero.backends.engine.registry.download import Downloads
from arriero.backends.engine.registry.pull import MAX_BLOBS, pull
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name
from arriero.errors import ArrieroError, ModelNotFound, StoreError, StoreReadOnly
from support.raw_backend import eventually
from support.registry import CONFIG_TYPE, MANIFEST_TYPE, ScriptedRegistry, TokenAuth, digest_of
from support.store import blobs, leftovers, models

WEIGHTS, WORDS, CONFIG = b"w" * 2500, b"{{ .Prompt }}", b"{}\n"


class Pulling:
    """A store, a registry, and what was reported."""

    def __init__(self, registry: ScriptedRegistry, folder: Path) -> None:
        self.registry = registry
        self.store = Store(folder / "models")
        self.registries = Registries(user_agent="x")
        self.downloads = Downloads()
        self.frames: list[Frame] = []
        self.on_frame: Callable[[Frame], None] = lambda frame: None
        self.name = registry.name("tiny")

    def _report(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.on_frame(frame)

    async def pull(self, name: Name | None = None, *, insecure: bool = True) -> None:
        async with asyncio.timeout(20):
            await pull(
                self.store,
                self.registries,
                self.downloads,
                name or self.name,
                insecure=insecure,
                report=self._report,
            )

    async def failure(self, name: Name | None = None) -> ArrieroError:
        with pytest.raises(ArrieroError) as raised:
            await self.pull(name)
        return raised.value

    @property
    def told(self) -> list[Frame]:
        """The frames, but for those that only count."""
        return [
            frame for frame in self.frames if not frame.status.startswith("pulling ") or frame.completed == frame.total
        ]


@pytest_asyncio.fixture
async def it(tmp_path: Path) -> AsyncIterator[Pulling]:
    async with ScriptedRegistry() as registry:
        registry.hold("library/tiny:latest", WEIGHTS, WORDS, config=CONFIG)
        made = Pulling(registry, tmp_path)
        yield made
        await made.downloads.close()
        await made.registries.close()


def full(data: bytes) -> Frame:
    digest = digest_of(data)
    return Frame(f"pulling {digest[7:19]}", digest, len(data), len(data))


def plain(status: str) -> Frame:
    return Frame(status)


ALL = [
    plain("pulling manifest"),
    full(WEIGHTS),
    full(WORDS),
    full(CONFIG),
    plain("verifying sha256 digest"),
    plain("writing manifest"),
    plain("success"),
]


async def test_a_new_model(it: Pulling) -> None:
    await it.pull()
    assert it.told == ALL
    stored = it.store.find(it.name)
    assert stored is not None
    assert stored.path.read_bytes() == it.registry.manifests["library/tiny:latest"]
    assert blobs(it.store.root) == sorted(map(digest_of, (WEIGHTS, WORDS, CONFIG)))
    assert leftovers(it.store.root) == []
    assert [line.replace("/v2/library/tiny/", "") for line in it.registry.log] == ["GET manifests/latest"] + [
        f"{method} blobs/{digest_of(data)[7:19]}" for data in (WEIGHTS, WORDS, CONFIG) for method in ("HEAD", "GET")
    ]


async def test_what_is_there_already_has_one_frame(it: Pulling) -> None:
    await it.pull()
    it.frames.clear()
    it.registry.requests.clear()
    await it.pull()
    assert (it.frames, it.registry.log) == (ALL, ["GET /v2/library/tiny/manifests/latest"])


async def test_a_download_that_takes_its_time_is_counted(it: Pulling) -> None:
    it.registry.fault("/blobs/", "GET", pace=0.08, piece=500)
    gate = it.registry.hold_back("/blobs/", "HEAD")
    pulling = asyncio.create_task(it.pull())
    digest = digest_of(WEIGHTS)
    nothing = Frame(f"pulling {digest[7:19]}", digest, len(WEIGHTS))
    await eventually(lambda: it.frames[-1:] == [nothing])
    gate.open()
    await pulling
    counts = [frame.completed for frame in it.frames if frame.digest == digest]
    assert (counts == sorted(counts), counts[-1], len(set(counts)) > 3) == (True, 2500, True)


async def test_layers_that_nobody_needs_any_more_go(it: Pulling) -> None:
    await it.pull()
    it.registry.hold("library/tiny:latest", b"newer", WORDS, config=CONFIG)
    it.frames.clear()
    await it.pull()
    assert it.told[-3:] == [plain("writing manifest"), plain("removing unused layers"), plain("success")]
    assert blobs(it.store.root) == sorted(map(digest_of, (b"newer", WORDS, CONFIG)))


async def test_one_blob_in_two_layers(it: Pulling) -> None:
    it.registry.hold("library/tiny:latest", WEIGHTS, WEIGHTS, config=CONFIG)
    await it.pull()
    assert it.told == [ALL[0], ALL[1], *ALL[3:]]


async def test_a_manifest_is_kept_byte_for_byte(it: Pulling) -> None:
    odd = b" \n" + it.registry.manifests["library/tiny:latest"].replace(b'"layers"', b'"x-odd" : 1.50 ,"layers"')
    it.registry.manifests["library/tiny:latest"] = odd
    await it.pull()
    stored = it.store.find(it.name)
    assert stored is not None and stored.path.read_bytes() == odd


async def test_with_a_token(it: Pulling) -> None:
    it.registry.auth = TokenAuth()
    await it.pull()
    assert (it.told, len(it.registry.told(path="/token"))) == (ALL, 1)


async def test_another_tag_and_namespace(it: Pulling) -> None:
    it.registry.hold("some-one/Tiny-GGUF:Q4_K_M", WEIGHTS, config=CONFIG)
    await it.pull(it.registry.name("Tiny-GGUF", "Q4_K_M", "some-one"))
    assert list(models(it.store.root)) == [f"{it.registry.host}/some-one/Tiny-GGUF/Q4_K_M"]


async def test_an_oci_manifest(it: Pulling) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = it.registry.manifests["library/tiny:latest"].replace(MANIFEST_TYPE.encode(), kind.encode())
    it.registry.manifests["library/tiny:latest"] = manifest
    it.registry.manifest_types["library/tiny:latest"] = kind
    await it.pull()
    assert it.told == ALL


# ---- what goes wrong -------------------------------------------------------------------------------------------------


async def test_an_unknown_model(it: Pulling) -> None:
    error = await it.failure(it.registry.name("none"))
    assert (error.message, error.status, type(error) is ModelNotFound) == (
        "pull model manifest: file does not exist",
        500,
        False,
    )
    assert (it.frames, it.store.root.exists()) == ([plain("pulling manifest")], False)


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (500, b"out of order", "500: out of order"),
        (403, b'{"errors":[{"code":"DENIED"}]}', '403: {"errors":[{"code":"DENIED"}]}'),
        (401, b"", "unauthorized: access denied by URL: it wants a user and a password, or a key, in a way that is "),
        (200, b"<html>", "the manifest is damaged: "),
        (200, b"[" * 100_000, "the manifest is damaged: "),
        (200, b"{}", "the manifest is damaged: "),
        (200, b'{"config":null,"layers":null}', "the manifest is damaged: "),
        (302, b"", "302"),
    ],
)
async def test_no_manifest(it: Pulling, status: int, body: bytes, text: str) -> None:
    it.registry.fault("/manifests/", status=status, body=body)
    error = await it.failure()
    assert error.message.startswith(f"pull model manifest: {text.replace('URL', it.registry.url)}")
    assert it.frames == [plain("pulling manifest")]


async def test_nobody_there(it: Pulling) -> None:
    it.registry.stop_listening()
    error = await it.failure()
    assert error.message == f"pull model manifest: cannot reach {it.registry.url}: connection refused"


async def test_an_endless_manifest(it: Pulling) -> None:
    it.registry.fault("/manifests/", endless=True)
    assert (await it.failure()).message == "pull model manifest: the answer has more than 16777216 bytes"


def layer(digest: str, size: Any = 1, kind: str = "model", **more: Any) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size, **more}


MLX = "this model requires MLX support, but the MLX runtime is not available"
MANY = f"the manifest has 10000 layers, and a model has at most {MAX_BLOBS}"
ONE, TWO = "sha256:" + 64 * "1", "sha256:" + 64 * "2"


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([layer(ONE), layer(TWO, kind="tensor", name="x")], MLX),
        ([layer("sha256:" + f"{n:064x}") for n in range(10_000)], MANY),
        ([], "the manifest has no layers: this is no model"),
        ([layer(ONE, 1), layer(ONE, 2)], f"the manifest gives two sizes for the blob {ONE}"),
        ([layer("sha256:../../../etc/passwd")], "the manifest is damaged: invalid digest format"),
        ([layer("sha256:" + 63 * "a" + "/")], "the manifest is damaged: invalid digest format"),
        ([layer("")], "the manifest is damaged: invalid digest format"),
        ([layer(ONE, -1)], "the manifest is damaged: "),
        ([layer(ONE, 1.5)], "the manifest is damaged: "),
        ([layer(ONE, 10**30)], "the manifest is damaged: "),
        ([7], "the manifest is damaged: "),
    ],
)  # fmt: skip
async def test_a_hostile_manifest(it: Pulling, layers: list[Any], text: str) -> None:
    config = {"mediaType": CONFIG_TYPE, "digest": TWO, "size": 2}
    it.registry.manifests["library/tiny:latest"] = json.dumps({"config": config, "layers": layers}).encode()
    error = await it.failure()
    assert error.message.startswith(f"pull model manifest: {text}")
    assert (it.store.root.exists(), len(it.registry.requests)) == (False, 1)


async def test_a_manifest_that_lies_about_sizes(it: Pulling) -> None:
    lie = it.registry.manifests["library/tiny:latest"].replace(b'"size":2500', b'"size":2400')
    it.registry.manifests["library/tiny:latest"] = lie
    error = await it.failure()
    assert error.message == (
        f"the registry has 2500 bytes for the blob {digest_of(WEIGHTS)}, and its manifest says 2400"
    )
    assert blobs(it.store.root) == []


async def test_a_wrong_digest_is_told_after_the_check(it: Pulling) -> None:
    it.registry.fault("/blobs/", "GET", wrong=True)
    error = await it.failure()
    assert error.message.startswith(f"digest mismatch, file must be downloaded again: want {digest_of(WEIGHTS)}, got ")
    assert it.frames[-1] == plain("verifying sha256 digest")
    assert (models(it.store.root), leftovers(it.store.root)) == ({}, [])


async def test_a_model_that_does_not_fit(it: Pulling) -> None:
    size = 1 << 60
    big = it.registry.manifests["library/tiny:latest"].replace(b'"size":2500', b'"size":%d' % size)
    it.registry.manifests["library/tiny:latest"] = big
    error = await it.failure()
    assert error.message.startswith(
        "no room left on the device of the model store: the model needs 1152922 TB more, and "
    )
    assert error.message.endswith(" are free; delete models or free some space")
    assert (isinstance(error, StoreError), len(it.registry.requests)) == (True, 1)


async def test_a_store_that_is_read_only(it: Pulling) -> None:
    it.store = Store(it.store.root, read_only=True)
    assert isinstance(await it.failure(), StoreReadOnly)
    assert it.registry.requests == []


async def test_a_blob_that_vanishes_meanwhile_comes_again(it: Pulling) -> None:
    def vanish(frame: Frame) -> None:
        if frame.status == "writing manifest":
            os.unlink(it.store.blob(digest_of(WEIGHTS)))

    it.on_frame = vanish
    await it.pull()
    assert blobs(it.store.root) == sorted(map(digest_of, (WEIGHTS, WORDS, CONFIG)))
    assert len(it.registry.told("GET", digest_of(WEIGHTS))) == 2
    assert [frame.status for frame in it.told if not frame.digest] == [
        frame.status for frame in ALL if not frame.digest
    ]


async def test_a_blob_of_the_wrong_size_is_mended(it: Pulling) -> None:
    await it.pull()
    it.store.blob(digest_of(WEIGHTS)).write_bytes(b"cut")
    await it.pull()
    assert it.store.blob(digest_of(WEIGHTS)).read_bytes() == WEIGHTS


async def test_a_cancelled_pull_leaves_what_came(it: Pulling) -> None:
    it.registry.fault("/blobs/", "GET", stall=1000)
    pulling = asyncio.create_task(it.pull())
    await eventually(lambda: bool(it.frames) and it.frames[-1].completed == 1000)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    it.registry.requests.clear()
    await it.pull()
    assert it.registry.told("GET", digest_of(WEIGHTS))[0].headers["range"] == "bytes=1000-2499"
    assert (it.told[-7:], leftovers(it.store.root)) == (ALL, [])


async def test_two_pulls_of_one_model(it: Pulling) -> None:
    await asyncio.gather(it.pull(), it.pull())
    assert it.frames.count(plain("success")) == 2
    assert len(it.registry.told("GET", "/blobs/")) == 3
    assert leftovers(it.store.root) == []

"""A model of the store to a scripted registry: frames in order, what is sent, what is not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from arriero.backends.engine.progress import Frame
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.push import push
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.store.manifest import (
    CONFIG_TYPE,
    MANIFEST_TYPE,
    MODEL,
    TEMPLATE,
    TENSOR,
    Layer,
    Manifest,
    write_manifest,
)
from arriero.backends.engine.store.store import Store
from arriero.dialects.ollama.names import Name
from arriero.errors import ArrieroError, RegistryError, StoreError
from support.raw_backend import eventually
from support.registry import ScriptedRegistry, TokenAuth, digest_of

WEIGHTS, WORDS, CONFIG = b"w" * 2500, b"{{ .Prompt }}", b"{}\n"


class Pushing:
    """A store, a registry, and what was reported."""

    def __init__(self, registry: ScriptedRegistry, registries: Registries, store: Store) -> None:
        self.registry = registry
        self.registries = registries
        self.store = store
        self.frames: list[Frame] = []
        self.slept: list[float] = []
        self.name = registry.name("tiny")

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def layer(self, data: bytes, kind: str = MODEL, *, origin: str = "", name: str = "") -> Layer:
        return Layer(kind, self.store.put(data)[0], len(data), origin, name)

    def model(self, *layers: Layer, name: Name | None = None) -> bytes:
        """Write a model of these layers, or of weights and a template; the bytes of its manifest."""
        made = layers or (self.layer(WEIGHTS), self.layer(WORDS, TEMPLATE))
        data = write_manifest(Manifest(self.layer(CONFIG, CONFIG_TYPE), made))
        self.store.write(name or self.name, data)
        return data

    async def push(self, name: Name | None = None, *, insecure: bool = True) -> None:
        await push(
            self.store,
            self.registries,
            name or self.name,
            insecure=insecure,
            report=self.frames.append,
            sizes=Sizes(smallest=1000),
            sleep=self.sleep,
        )

    async def refusal(self) -> ArrieroError:
        with pytest.raises(ArrieroError) as raised:
            await self.push()
        return raised.value

    @property
    def log(self) -> list[str]:
        return [line.replace("/v2/library/tiny/", "") for line in self.registry.log]

    @property
    def told(self) -> list[Frame]:
        """The frames, but for those that only count."""
        return [
            frame for frame in self.frames if not frame.status.startswith("pushing ") or frame.completed == frame.total
        ]


def full(data: bytes) -> Frame:
    digest = digest_of(data)
    return Frame(f"pushing {digest[7:19]}", digest, len(data), len(data))


def short(data: bytes) -> str:
    return digest_of(data)[7:19]


@pytest_asyncio.fixture
async def pushing(tmp_path: Path) -> AsyncIterator[Pushing]:
    async with ScriptedRegistry() as registry:
        registries = Registries(user_agent="ollama/0 (arriero)")
        yield Pushing(registry, registries, Store(tmp_path / "models"))
        await registries.close()


async def test_a_model_goes_up_blob_by_blob_and_then_its_manifest(pushing: Pushing) -> None:
    manifest = pushing.model()
    await pushing.push()
    assert list(dict.fromkeys(pushing.told)) == [
        Frame("retrieving manifest"),
        full(WEIGHTS),
        full(WORDS),
        full(CONFIG),
        Frame("pushing manifest"),
        Frame("success"),
    ]
    assert pushing.log == [
        f"HEAD blobs/{short(WEIGHTS)}",
        "POST blobs/uploads/",
        "PATCH blobs/uploads/*",
        "PATCH blobs/uploads/*",
        "PATCH blobs/uploads/*",
        "PUT blobs/uploads/*",
        f"HEAD blobs/{short(WORDS)}",
        "POST blobs/uploads/",
        "PATCH blobs/uploads/*",
        "PUT blobs/uploads/*",
        f"HEAD blobs/{short(CONFIG)}",
        "POST blobs/uploads/",
        "PATCH blobs/uploads/*",
        "PUT blobs/uploads/*",
        "PUT manifests/latest",
    ]
    assert pushing.registry.manifests == {"library/tiny:latest": manifest}
    assert pushing.registry.manifest_types == {"library/tiny:latest": MANIFEST_TYPE}
    assert {request.headers["user-agent"] for request in pushing.registry.requests} == {"ollama/0 (arriero)"}


async def test_what_the_registry_has_is_told_of_in_one_frame_and_not_sent(pushing: Pushing) -> None:
    manifest = pushing.model()
    for data in (WEIGHTS, WORDS, CONFIG):
        pushing.registry.blob("library/tiny", data)
    await pushing.push()
    assert pushing.frames == [
        Frame("retrieving manifest"),
        full(WEIGHTS),
        full(WORDS),
        full(CONFIG),
        Frame("pushing manifest"),
        Frame("success"),
    ]
    assert pushing.log[-1] == "PUT manifests/latest"
    assert pushing.registry.told("POST") == []
    assert pushing.registry.manifests == {"library/tiny:latest": manifest}


async def test_a_blob_that_stands_twice_in_a_model_goes_up_once(pushing: Pushing) -> None:
    pushing.model(pushing.layer(WORDS), pushing.layer(WORDS, TEMPLATE))
    await pushing.push()
    assert len(pushing.registry.told("POST")) == 2


async def test_a_long_upload_is_told_of_while_it_goes_on(pushing: Pushing) -> None:
    pushing.model()
    gate = pushing.registry.hold_back("/uploads/", "PATCH")
    running = asyncio.create_task(pushing.push())
    await eventually(lambda: len(pushing.frames) >= 5)
    gate.open()
    await running
    counting = [frame for frame in pushing.frames if frame.digest == digest_of(WEIGHTS)]
    assert {(frame.status, frame.total) for frame in counting} == {(f"pushing {short(WEIGHTS)}", 2500)}
    counts = [frame.completed for frame in counting]
    assert (counts[0], counts[1], counts[-1]) == (0, 1000, 2500)
    assert counts == sorted(counts)


async def test_the_counts_over_a_model_of_tensors_are_one(pushing: Pushing) -> None:
    pushing.model(pushing.layer(b"a" * 10, TENSOR, name="a"), pushing.layer(b"b" * 20, TENSOR, name="b"))
    await pushing.push()
    counting = [frame for frame in pushing.frames if frame.total]
    assert {(frame.status, frame.digest, frame.total) for frame in counting} == {
        ("pushing model", "sha256:model", 33),
    }
    assert list(dict.fromkeys(frame.completed for frame in counting)) == [0, 10, 30, 33]


async def test_another_tag_in_another_namespace(pushing: Pushing) -> None:
    name = pushing.registry.name("tiny", "q4", "me")
    manifest = pushing.model(name=name)
    await pushing.push(name)
    assert pushing.registry.manifests == {"me/tiny:q4": manifest}


async def test_a_layer_of_another_model_of_this_registry_is_asked_for_there(pushing: Pushing) -> None:
    pushing.registry.blob("library/base", WEIGHTS)
    pushing.model(pushing.layer(WEIGHTS, origin=f"{pushing.registry.host}/library/base:latest"))
    await pushing.push()
    assert [dict(request.query) for request in pushing.registry.told("POST")] == [
        {"mount": digest_of(WEIGHTS), "from": "library/base"},
        {},
    ]
    assert len(pushing.registry.told("PATCH")) == 1


@pytest.mark.parametrize(
    "origin", ["", "base", "{host}/library/tiny:other", "elsewhere.test/library/base", "/models/blobs/sha256-00", "a b"]
)
async def test_a_layer_from_anywhere_else_is_sent(pushing: Pushing, origin: str) -> None:
    pushing.model(pushing.layer(WORDS, origin=origin.format(host=pushing.registry.host)))
    await pushing.push()
    assert [dict(request.query) for request in pushing.registry.told("POST")] == [{}, {}]


async def test_a_manifest_of_another_kind_says_so(pushing: Pushing) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = pushing.model().replace(MANIFEST_TYPE.encode(), kind.encode())
    pushing.store.write(pushing.name, manifest)
    await pushing.push()
    assert pushing.registry.manifests == {"library/tiny:latest": manifest}
    assert pushing.registry.manifest_types == {"library/tiny:latest": kind}


async def test_a_registry_that_wants_a_token_gets_one_for_all_of_it(pushing: Pushing) -> None:
    manifest = pushing.model()
    pushing.registry.auth = TokenAuth()
    await pushing.push()
    assert pushing.registry.manifests == {"library/tiny:latest": manifest}
    assert len(pushing.registry.auth.given) == 2  # to look, and to write


async def test_a_registry_that_stumbles_is_asked_again(pushing: Pushing) -> None:
    pushing.model()
    pushing.registry.fault("/blobs/sha256:", "HEAD", status=503)
    pushing.registry.fault("/manifests/", "PUT", status=502)
    await pushing.push()
    assert pushing.slept == [1.0, 1.0]
    assert pushing.frames[-1] == Frame("success")


# ---- errors ---------------------------------------------------------------------------------------------------------


async def test_a_model_that_is_not_there(pushing: Pushing) -> None:
    error = await pushing.refusal()
    assert (type(error), error.status) == (StoreError, 500)
    assert error.message == f"open {pushing.registry.host}/library/tiny:latest: no such file or directory"
    assert pushing.frames == [Frame("retrieving manifest"), Frame("couldn't retrieve manifest")]
    assert pushing.registry.requests == []


async def test_a_blob_that_is_missing_here(pushing: Pushing) -> None:
    pushing.model()
    pushing.store.blob(digest_of(WORDS)).unlink()
    error = await pushing.refusal()
    assert isinstance(error, StoreError)
    assert error.message == (
        f"model '{pushing.name.shortest}': its blob {digest_of(WORDS)} is missing in the store; "
        "pull or create the model again"
    )
    assert pushing.registry.manifests == {}


async def test_a_blob_that_is_missing_here_and_there_already_is_no_hindrance(pushing: Pushing) -> None:
    pushing.model()
    pushing.registry.blob("library/tiny", WORDS)
    pushing.store.blob(digest_of(WORDS)).unlink()
    await pushing.push()
    assert pushing.frames[-1] == Frame("success")


async def test_a_blob_of_another_size_is_damaged(pushing: Pushing) -> None:
    pushing.model()
    pushing.store.blob(digest_of(WEIGHTS)).write_bytes(b"w" * 7)
    error = await pushing.refusal()
    assert isinstance(error, StoreError)
    assert error.message == (
        f"model '{pushing.name.shortest}': its blob {digest_of(WEIGHTS)} is damaged: it has 7 bytes, not 2500; "
        "pull or create the model again"
    )
    assert pushing.registry.told("POST") == []


async def test_a_blob_that_the_registry_loses_goes_up_again(pushing: Pushing) -> None:
    manifest = pushing.model()
    gate = pushing.registry.hold_back("/manifests/")
    running = asyncio.create_task(pushing.push())
    await eventually(lambda: gate.waiting == 1)
    pushing.registry.linked["library/tiny"].remove(digest_of(WORDS))
    gate.open()
    await running
    since = pushing.told.index(Frame("pushing manifest"))
    assert list(dict.fromkeys(pushing.told[since:])) == [Frame("pushing manifest"), full(WORDS), Frame("success")]
    assert pushing.registry.manifests == {"library/tiny:latest": manifest}
    assert pushing.slept == [1.0]


async def test_a_registry_that_loses_every_blob_is_told_of_in_its_own_words(pushing: Pushing) -> None:
    pushing.model()
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    pushing.registry.fault("/manifests/", status=400, body=body, times=None)
    error = await pushing.refusal()
    assert isinstance(error, RegistryError)
    assert error.message == (
        f"{pushing.registry.url} does not take the manifest (400: blob unknown to registry (MANIFEST_BLOB_UNKNOWN))"
    )
    assert pushing.frames[-1] == Frame("pushing manifest")
    assert (pushing.slept, len(pushing.registry.told("PUT", "/manifests/"))) == ([1.0, 2.0], 3)


async def test_a_refused_manifest_is_told_in_the_registrys_words(pushing: Pushing) -> None:
    pushing.model()
    body = b'{"errors":[{"code":"TAG_INVALID","message":"manifest tag did not match URI"}]}'
    pushing.registry.fault("/manifests/", status=400, body=body)
    error = await pushing.refusal()
    assert isinstance(error, RegistryError)
    assert error.message == (
        f"{pushing.registry.url} does not take the manifest (400: manifest tag did not match URI (TAG_INVALID))"
    )
    assert pushing.slept == []


@pytest.mark.parametrize("auth", [TokenAuth(denied=True), TokenAuth(forbidden=True), TokenAuth(basic=True)])
async def test_who_may_not_push_is_told_so_in_words_that_clients_know(pushing: Pushing, auth: TokenAuth) -> None:
    pushing.model()
    pushing.registry.auth = auth
    error = await pushing.refusal()
    assert error.message.startswith(f"unauthorized: access denied by {pushing.registry.url}: ")
    assert (pushing.registry.manifests, pushing.slept) == ({}, [])


async def test_a_registry_without_tls_is_asked_only_where_the_client_says_so(pushing: Pushing) -> None:
    pushing.model()
    with pytest.raises(RegistryError) as raised:
        await pushing.push(insecure=False)
    assert raised.value.message.startswith(f"cannot reach https://{pushing.registry.host}: ")
    assert raised.value.message.endswith("; a registry without TLS is asked only with `insecure: true`")
    assert pushing.slept == [1.0]


async def test_a_push_that_is_given_up_stops(pushing: Pushing) -> None:
    pushing.model()
    gate = pushing.registry.hold_back("/uploads/", "PATCH")
    running = asyncio.create_task(pushing.push())
    await eventually(lambda: gate.waiting == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.open()
    await eventually(lambda: len(asyncio.all_tasks()) - len(pushing.registry.tasks) == 1)
    assert pushing.registry.manifests == {}

"""One blob to a scripted registry: its requests to the byte, and what is done when something goes wrong."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from arriero.backends.engine.lasting import Threads
from arriero.backends.engine.registry.asking import Asking
from arriero.backends.engine.registry.auth import Denied
from arriero.backends.engine.registry.outgoing import Blob
from arriero.backends.engine.registry.parts import Sizes
from arriero.backends.engine.registry.session import Registries
from arriero.backends.engine.registry.upload import Upload
from arriero.errors import RegistryError, StoreError
from support.raw_backend import eventually
from support.registry import ScriptedRegistry, TokenAuth, digest_of

SIZES = Sizes(smallest=1000)
DATA = bytes(range(256)) * 10
"""2,560 bytes: two parts of 1,000 and one of 560."""
DIGEST = digest_of(DATA)
UPLOADS = "/v2/library/tiny/blobs/uploads/"


class Uploading:
    """One registry, one file, and the seconds that were slept."""

    def __init__(self, registry: ScriptedRegistry, registries: Registries, path: Path) -> None:
        self.registry = registry
        self.registries = registries
        self.path = path
        self.slept: list[float] = []
        self.on_sleep: Callable[[], object] = bool

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()

    def upload(self, data: bytes = DATA, *, mount: str = "", sizes: Sizes = SIZES) -> Upload:
        self.path.write_bytes(data)
        session = self.registries.session(self.registry.name("tiny"), insecure=True)
        blob = Blob(digest_of(data), len(data), self.path, mount)
        return Upload(Asking(session, sleep=self.sleep), blob, threads=Threads(), sizes=sizes, sleep=self.sleep)

    def ranges(self) -> list[str]:
        """The content ranges of the parts, in the order in which they came."""
        return [request.headers["content-range"] for request in self.registry.told("PATCH")]

    @property
    def log(self) -> list[str]:
        return [line.replace("/v2/library/tiny/blobs/", "") for line in self.registry.log]


@pytest_asyncio.fixture
async def uploading(tmp_path: Path) -> AsyncIterator[Uploading]:
    async with ScriptedRegistry() as registry:
        registries = Registries(user_agent="ollama/0 (arriero)")
        yield Uploading(registry, registries, tmp_path / "blob")
        await registries.close()


def etag(data: bytes, size: int = 1000) -> str:
    sums = [hashlib.md5(data[start : start + size]).digest() for start in range(0, len(data), size)]
    return f"{hashlib.md5(b''.join(sums)).hexdigest()}-{len(sums)}"


# ---- the order of things --------------------------------------------------------------------------------------------


async def test_parts_go_one_after_the_other_to_addresses_that_change(uploading: Uploading) -> None:
    upload = uploading.upload()
    await upload.run()
    assert uploading.log == ["POST uploads/", "PATCH uploads/*", "PATCH uploads/*", "PATCH uploads/*", "PUT uploads/*"]
    _, *parts, last = uploading.registry.requests
    fields = ("content-type", "content-range", "content-length", "x-redirect-uploads")
    assert [[part.headers[field] for field in fields] for part in parts] == [
        ["application/octet-stream", "0-999", "1000", "1"],
        ["application/octet-stream", "1000-1999", "1000", "1"],
        ["application/octet-stream", "2000-2559", "560", "1"],
    ]
    assert [part.query for part in parts] == [
        {"_state": f"upload-1/{offset}", "more": "a/b"} for offset in (0, 1000, 2000)
    ]
    assert dict(last.query) == {"_state": "upload-1/2560", "more": "a/b", "digest": DIGEST, "etag": etag(DATA)}
    assert (last.headers["content-length"], last.body) == ("0", b"")
    assert uploading.registry.blobs == {DIGEST: DATA}
    assert (upload.completed, uploading.slept, uploading.registry.open_uploads) == (2560, [], 0)


async def test_an_empty_blob_has_no_parts(uploading: Uploading) -> None:
    await uploading.upload(b"").run()
    assert uploading.log == ["POST uploads/", "PUT uploads/*"]
    assert uploading.registry.told("PUT")[0].query["etag"] == "d41d8cd98f00b204e9800998ecf8427e-0"
    assert uploading.registry.blobs == {digest_of(b""): b""}


@pytest.mark.parametrize("field", ["Location", "Docker-Upload-Location"])
async def test_addresses_may_be_paths_and_stand_in_either_field(uploading: Uploading, field: str) -> None:
    uploading.registry.relative, uploading.registry.upload_header = True, field
    await uploading.upload().run()
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_blob_that_another_repository_has_is_not_sent(uploading: Uploading) -> None:
    uploading.registry.blob("library/base", DATA)
    await uploading.upload(mount="library/base").run()
    [asked] = uploading.registry.requests
    assert (asked.method, asked.path) == ("POST", UPLOADS)
    assert dict(asked.query) == {"mount": DIGEST, "from": "library/base"}
    assert uploading.registry.linked["library/tiny"] == {DIGEST}


async def test_a_blob_that_cannot_be_taken_from_another_repository_is_sent(uploading: Uploading) -> None:
    await uploading.upload(mount="library/base").run()
    assert uploading.ranges() == ["0-999", "1000-1999", "2000-2559"]
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_token_that_grows_old_on_the_way_is_renewed(uploading: Uploading) -> None:
    uploading.registry.auth = TokenAuth(uses=2)
    await uploading.upload().run()
    assert len(uploading.registry.auth.given) == 3
    assert uploading.registry.blobs == {DIGEST: DATA}
    assert uploading.slept == []


# ---- parts that are sent elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("here", [False, True])
async def test_parts_that_are_sent_elsewhere_go_there_at_once_and_without_the_token(
    uploading: Uploading, here: bool
) -> None:
    registry = uploading.registry
    registry.auth, registry.direct_parts, registry.parts_here = TokenAuth(), True, here
    gate = registry.hold_back("/part/")
    running = asyncio.create_task(uploading.upload().run())
    await eventually(lambda: gate.waiting == 3)
    gate.open()
    await running
    parts = registry.told("PUT", "/part/")
    assert sorted(part.path.rpartition("/")[2] for part in parts) == ["0", "1000", "2000"]
    assert {part.headers["host"] for part in parts} == {registry.host if here else registry.other_host}
    assert [name for part in parts for name in part.headers if name in ("authorization", "content-range")] == []
    assert dict(registry.told("PUT", UPLOADS)[0].query)["etag"] == etag(DATA)
    assert registry.blobs == {DIGEST: DATA}


async def test_no_more_than_sixteen_parts_are_elsewhere_at_a_time(uploading: Uploading) -> None:
    registry = uploading.registry
    registry.direct_parts = True
    gate = registry.hold_back("/part/")
    running = asyncio.create_task(uploading.upload(sizes=Sizes(smallest=1, largest=100)).run())
    await eventually(lambda: gate.waiting == 16)
    await asyncio.sleep(0.05)
    assert (gate.waiting, len(registry.told("PATCH"))) == (16, 16)
    gate.open()
    await running
    assert (len(registry.told("PATCH")), registry.blobs) == (26, {DIGEST: DATA})


async def test_an_upload_that_begins_again_lets_go_of_parts_elsewhere(uploading: Uploading) -> None:
    registry = uploading.registry
    registry.direct_parts = True
    registry.fault("/part/upload-1/", stop_reading=True, times=None)
    registry.fault(UPLOADS, "PATCH", forget_upload=True, after=15)
    await uploading.upload(sizes=Sizes(smallest=1, largest=100)).run()
    assert len(registry.told("POST")) == 2
    assert registry.blobs == {DIGEST: DATA}


async def test_an_address_of_a_part_that_has_grown_old_is_asked_for_anew(uploading: Uploading) -> None:
    uploading.registry.direct_parts = True
    uploading.registry.fault("/part/", status=403, body=b"<Error>Request has expired</Error>")
    await uploading.upload().run()
    assert uploading.slept == [1.0]
    assert len(uploading.registry.told("PATCH")) == 4
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_part_that_breaks_elsewhere_is_sent_again_alone(uploading: Uploading) -> None:
    uploading.registry.direct_parts = True
    uploading.registry.fault("/part/", cut_upload=300, times=2)
    await uploading.upload().run()
    assert sorted(uploading.slept) in ([1.0, 1.0], [1.0, 2.0])
    assert uploading.registry.blobs == {DIGEST: DATA}
    assert dict(uploading.registry.told("PUT", UPLOADS)[0].query)["etag"] == etag(DATA)


async def test_a_part_that_nobody_takes_elsewhere_ends_the_upload(uploading: Uploading) -> None:
    uploading.registry.direct_parts = True
    uploading.registry.fault("/part/", status=503, times=None)
    with pytest.raises(RegistryError) as raised:
        await uploading.upload().run()
    assert raised.value.message == (
        f"max retries exceeded: {uploading.registry.url} does not take a part of a blob where it sends it now (503): "
        "try again later"
    )
    assert len(asyncio.all_tasks()) - len(uploading.registry.tasks) == 1


# ---- what breaks ----------------------------------------------------------------------------------------------------


async def test_a_cut_part_goes_on_where_the_registry_is(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=400, after=1)
    upload = uploading.upload()
    await upload.run()
    assert uploading.ranges() == ["0-999", "1000-1999", "1400-1999", "2000-2559"]
    assert uploading.log[2:5] == ["PATCH uploads/*", "GET uploads/*", "PATCH uploads/*"]
    assert dict(uploading.registry.told("PUT")[0].query)["etag"] == etag(DATA)
    assert uploading.registry.blobs == {DIGEST: DATA}
    assert (uploading.slept, upload.completed) == ([1.0], 2560)


async def test_a_cut_part_begins_again_where_the_registry_loses_the_upload(uploading: Uploading) -> None:
    uploading.registry.strict = True
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=400, after=1)
    await uploading.upload().run()
    assert uploading.ranges() == ["0-999", "1000-1999", "0-999", "1000-1999", "2000-2559"]
    assert len(uploading.registry.told("POST")) == 2
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_cut_part_begins_again_where_the_registry_does_not_tell_how_far_it_is(uploading: Uploading) -> None:
    uploading.registry.status_of_uploads = False
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=400, after=1)
    await uploading.upload().run()
    assert uploading.ranges() == ["0-999", "1000-1999", "0-999", "1000-1999", "2000-2559"]
    assert uploading.registry.blobs == {DIGEST: DATA}


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_range_that_means_one_byte_or_none_is_not_relied_on(uploading: Uploading, taken: int) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=taken)
    await uploading.upload().run()
    assert len(uploading.registry.told("POST")) == 2
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_registry_that_says_it_has_more_than_was_sent_is_not_believed(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=400)
    uploading.registry.fault(UPLOADS, "GET", status=204, headers={"range": "0-2559"})
    await uploading.upload().run()
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_lost_answer_to_a_part_is_found_out(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", lose=True)
    await uploading.upload().run()
    assert uploading.ranges() == ["0-999", "1000-1999", "2000-2559"]
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_lost_answer_to_the_end_is_found_out(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PUT", lose=True)
    await uploading.upload().run()
    assert uploading.log[-2:] == ["PUT uploads/*", f"HEAD {DIGEST[7:19]}"]


async def test_an_end_that_fails_is_said_again(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PUT", status=502)
    await uploading.upload().run()
    assert uploading.log[-4:] == ["PUT uploads/*", f"HEAD {DIGEST[7:19]}", "GET uploads/*", "PUT uploads/*"]
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_an_upload_that_is_gone_at_its_end_begins_again(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PUT", forget_upload=True)
    await uploading.upload().run()
    assert len(uploading.registry.told("POST")) == 2
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_registry_that_wants_a_pause_gets_it(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "POST", status=429, headers={"retry-after": "7"})
    uploading.registry.fault(UPLOADS, "PATCH", status=503, headers={"retry-after": "4000"})
    await uploading.upload().run()
    assert uploading.slept == [7.0, 60.0]
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_six_failures_in_a_row_are_enough(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", status=500, body=b"out of order", times=None)
    with pytest.raises(RegistryError) as raised:
        await uploading.upload().run()
    assert raised.value.message == (
        f"max retries exceeded: {uploading.registry.url} does not take a part of a blob (500: out of order)"
    )
    assert uploading.slept == [1.0, 2.0, 4.0, 8.0, 16.0]


async def test_what_gets_further_has_all_its_tries_again(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=200, times=9)
    await uploading.upload().run()
    assert uploading.slept == [1.0] * 8  # the fifth of each five ends a part
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_registry_that_dies_is_an_error_that_names_it(uploading: Uploading) -> None:
    uploading.on_sleep = uploading.registry.stop_listening
    uploading.registry.fault("", cut_upload=0, times=None)
    with pytest.raises(RegistryError) as raised:
        await uploading.upload().run()
    assert raised.value.message.startswith(f"max retries exceeded: cannot reach {uploading.registry.url}")


# ---- registries that take no parts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 405, 416, 501])
async def test_a_registry_without_parts_gets_one_piece(uploading: Uploading, status: int) -> None:
    uploading.registry.chunked, uploading.registry.patch_refusal = False, status
    upload = uploading.upload()
    await upload.run()
    assert uploading.log == ["POST uploads/", "PATCH uploads/*", "POST uploads/", "PUT uploads/*"]
    [put] = uploading.registry.told("PUT")
    assert dict(put.query) == {"_state": "upload-2/0", "more": "a/b", "digest": DIGEST}
    assert (put.headers["content-length"], put.headers["content-type"]) == ("2560", "application/octet-stream")
    assert uploading.registry.blobs == {DIGEST: DATA}
    assert (upload.completed, uploading.slept) == (2560, [])


async def test_a_registry_that_takes_no_second_part_gets_one_piece(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", status=416, times=None, after=1)
    await uploading.upload().run()
    assert uploading.ranges() == ["0-999", "1000-1999", "1000-1999"]
    assert uploading.registry.told("PUT")[0].body == DATA
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_one_piece_that_is_cut_is_sent_again(uploading: Uploading) -> None:
    uploading.registry.chunked = False
    uploading.registry.fault(UPLOADS, "PUT", cut_upload=1500)
    await uploading.upload().run()
    assert uploading.slept == [1.0]
    assert uploading.registry.blobs == {DIGEST: DATA}


# ---- what no try can mend -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "body", "message"),
    [
        (
            "POST",
            403,
            b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied","detail":"t0ken"}]}',
            "unauthorized: access denied by {url}: it does not take a blob (403: requested access to the resource is "
            "denied (DENIED)); check the model name, and what the account may push",
        ),
        (
            "PATCH",
            413,
            b"<html><head><title>413 Request Entity Too Large</title></head></html>",
            "{url} does not take a part of a blob (413: 413 Request Entity Too Large): it is too large for it, or for "
            "a proxy that stands before it",
        ),
        ("POST", 404, b"", "{url} does not take a blob (404)"),
        ("POST", 202, b"", "{url} does not say where to send a blob: look at its address"),
        ("PUT", 400, b"{}", "{url} does not finish a blob (400: {{}})"),
        (
            "POST",
            301,
            b"",
            "{url} does not take a blob, it sends its clients elsewhere (301): look at its address",
        ),
    ],
)
async def test_a_refusal_is_told_in_words(
    uploading: Uploading, method: str, status: int, body: bytes, message: str
) -> None:
    uploading.registry.fault(UPLOADS, method, status=status, body=body, times=None)
    with pytest.raises(RegistryError) as raised:
        await uploading.upload().run()
    assert raised.value.message == message.format(url=uploading.registry.url)
    assert uploading.slept == []


async def test_a_token_that_may_not_push_is_an_error_that_the_client_explains(uploading: Uploading) -> None:
    uploading.registry.auth = TokenAuth(denied=True)
    with pytest.raises(Denied) as raised:
        await uploading.upload().run()
    assert raised.value.message.startswith(f"unauthorized: access denied by {uploading.registry.url}: ")


async def test_a_file_with_other_bytes_is_damaged(uploading: Uploading) -> None:
    upload = uploading.upload()
    uploading.path.write_bytes(DATA[::-1])
    with pytest.raises(StoreError) as raised:
        await upload.run()
    assert raised.value.message == (
        f"the registry finds that the bytes of {DIGEST} are other ones than its digest says: "
        "it is damaged, pull or create the model again"
    )


async def test_a_wrong_digest_after_a_resumed_part_is_tried_once_more(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", cut_upload=400)
    uploading.registry.fault(UPLOADS, "PUT", status=400, body=b'{"errors":[{"code":"DIGEST_INVALID"}]}')
    await uploading.upload().run()
    assert uploading.ranges() == ["0-999", "400-999", "1000-1999", "2000-2559", "0-999", "1000-1999", "2000-2559"]
    assert uploading.registry.blobs == {DIGEST: DATA}


async def test_a_file_that_is_cut_short_is_not_tried_again(uploading: Uploading) -> None:
    upload = uploading.upload()
    uploading.path.write_bytes(DATA[:1500])
    with pytest.raises(StoreError) as raised:
        await upload.run()
    assert raised.value.message == f"the blob {DIGEST} is cut short: pull or create the model again"
    assert uploading.slept == []


async def test_a_file_that_is_deleted_on_the_way_is_not_tried_again(uploading: Uploading) -> None:
    uploading.registry.fault(UPLOADS, "PATCH", status=503)
    uploading.on_sleep = uploading.path.unlink
    with pytest.raises(StoreError) as raised:
        await uploading.upload().run()
    assert raised.value.message == f"the blob {DIGEST} was deleted while it was pushed"
    assert uploading.slept == [1.0]


# ---- giving up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_who_gives_up_leaves_nothing_running(uploading: Uploading, elsewhere: bool) -> None:
    uploading.registry.direct_parts = elsewhere
    gate = uploading.registry.hold_back("/part/" if elsewhere else UPLOADS, "PUT" if elsewhere else "PATCH")
    running = asyncio.create_task(uploading.upload().run())
    await eventually(lambda: gate.waiting == (3 if elsewhere else 1))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.open()
    await eventually(lambda: len(asyncio.all_tasks()) - len(uploading.registry.tasks) == 1)


async def test_a_large_file_is_read_no_faster_than_it_is_taken(uploading: Uploading) -> None:
    data = bytes(32 << 20)
    upload = uploading.upload(data)
    stuck = uploading.registry.fault(UPLOADS, "PATCH", stop_reading=True)
    running = asyncio.create_task(upload.run())
    await eventually(lambda: stuck.hits == 1 and upload.completed > 0)
    await asyncio.sleep(0.2)
    reached = upload.completed
    await asyncio.sleep(0.1)
    assert upload.completed == reached < 32 << 20
    running.cancel()
    await asyncio.wait((running,))

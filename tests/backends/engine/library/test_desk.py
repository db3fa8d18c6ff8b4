"""How library calls are answered without a socket: when the answer begins, what is held, and how errors are told."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from arriero.backends.engine.library.desk import SUCCESS, Desk, Done, Job
from arriero.backends.engine.progress import Frame, Report
from arriero.backends.http.call import Call, Head
from arriero.errors import ArrieroError, BackendError, BadRequest, EngineError, NoBackend, StoreError

NDJSON = Head(200, ((b"content-type", b"application/x-ndjson"),))
CALL = Call("POST", "/api/pull", (), b"{}")


class Heard:
    """Takes an answer and keeps what was said."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def on_head(self, head: Head) -> None:
        self.said.append(head)

    def on_body(self, data: bytes) -> None:
        self.said.append(data)

    def on_end(self) -> None:
        self.said.append("end")

    def on_error(self, error: BackendError) -> None:
        self.said.append((type(error), error.message))


def desk(run: Callable[[Report], Awaitable[Done | None]], *, stream: bool = True) -> Desk:
    return Desk(lambda call: Job(run, stream))


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_frames_go_out_as_they_come() -> None:
    go_on = asyncio.Event()

    async def run(report: Report) -> None:
        report(Frame("pulling manifest"))
        await go_on.wait()
        report(Frame("pulling 3a0c", "sha256:3a0c", 10, 5))
        report(SUCCESS)

    heard = Heard()
    await desk(run).open(CALL, heard)
    assert heard.said == []  # not from within `open`: who called does not have the answer yet
    await _settled()
    assert heard.said == [NDJSON, b'{"status":"pulling manifest"}\n']
    go_on.set()
    await _settled()
    assert heard.said[2:] == [
        b'{"status":"pulling 3a0c","digest":"sha256:3a0c","total":10,"completed":5}\n',
        b'{"status":"success"}\n',
        "end",
    ]


async def test_who_wants_no_frames_hears_how_it_ended() -> None:
    async def run(report: Report) -> None:
        report(Frame("pulling manifest"))

    head, body = await desk(run, stream=False).fetch(CALL)
    assert (head.status, head.get(b"content-type"), body) == (
        200,
        b"application/json",
        b'{"status":"success"}',
    )


async def test_what_has_no_frames_answers_with_a_status() -> None:
    async def run(report: Report) -> Done:
        return Done(201)

    head, body = await desk(run, stream=False).fetch(CALL)
    assert (head, body) == (Head(201, ((b"content-length", b"0"),)), b"")


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_first_frame_is_raised(stream: bool) -> None:
    async def run(report: Report) -> None:
        raise BadRequest("invalid model name")

    with pytest.raises(BadRequest, match="invalid model name"):
        await desk(run, stream=stream).open(CALL, Heard())


async def test_a_call_that_cannot_be_read_is_raised() -> None:
    def read(call: Call) -> Job:
        raise BadRequest("missing request body")

    with pytest.raises(BadRequest, match="missing request body"):
        await Desk(read).open(CALL, Heard())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreError("no room"), (StoreError, "no room")),
        (BadRequest("template error"), (EngineError, "template error")),
    ],
    ids=["a backend's", "another"],
)
async def test_an_error_after_the_first_frame_is_told(error: ArrieroError, told: tuple[type, str]) -> None:
    async def run(report: Report) -> None:
        report(Frame("pulling manifest"))
        raise error

    heard = Heard()
    await desk(run).open(CALL, heard)
    await _settled()
    assert heard.said == [NDJSON, b'{"status":"pulling manifest"}\n', told]


async def test_a_paused_visit_holds_the_last_frame_of_a_blob_only() -> None:
    go_on = asyncio.Event()

    async def run(report: Report) -> None:
        report(Frame("pulling manifest"))
        await go_on.wait()
        for completed in range(1, 1000):
            report(Frame("pulling 3a0c", "sha256:3a0c", 1000, completed))
        report(Frame("pulling 9999", "sha256:9999", 7, 7))
        report(SUCCESS)

    heard = Heard()
    visit = await desk(run).open(CALL, heard)
    await _settled()
    visit.pause()
    go_on.set()
    await _settled()
    assert heard.said == [NDJSON, b'{"status":"pulling manifest"}\n']
    visit.resume()
    assert heard.said[2:] == [
        b'{"status":"pulling 3a0c","digest":"sha256:3a0c","total":1000,"completed":999}\n',
        b'{"status":"pulling 9999","digest":"sha256:9999","total":7,"completed":7}\n',
        b'{"status":"success"}\n',
        "end",
    ]


async def test_a_client_that_leaves_ends_the_job_and_hears_nothing_more() -> None:
    ended = asyncio.Event()

    async def run(report: Report) -> None:
        report(Frame("pulling manifest"))
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
            report(Frame("too late"))

    heard = Heard()
    visit = await desk(run).open(CALL, heard)
    await _settled()
    visit.abort()
    await asyncio.wait_for(ended.wait(), 5)
    await _settled()
    assert heard.said == [NDJSON, b'{"status":"pulling manifest"}\n']


async def test_one_that_leaves_before_the_answer_begins_ends_the_job() -> None:
    ended = asyncio.Event()

    async def run(report: Report) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    asking = asyncio.create_task(desk(run).open(CALL, Heard()))
    await _settled()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(ended.wait(), 5)


async def test_closing_tells_those_who_wait_and_those_who_listen() -> None:
    async def silent(report: Report) -> None:
        await asyncio.sleep(60)

    async def talking(report: Report) -> None:
        report(Frame("pulling manifest"))
        await asyncio.sleep(60)

    jobs = {"/silent": Job(silent), "/talking": Job(talking, True)}
    closed: list[str] = []

    async def close() -> None:
        closed.append("the registries")

    place = Desk(lambda call: jobs[call.target], close)
    heard = Heard()
    await place.open(Call("POST", "/talking"), heard)
    waiting = asyncio.create_task(place.fetch(Call("POST", "/silent")))
    await _settled()
    await place.close()
    with pytest.raises(NoBackend, match="the engine is closing"):
        await waiting
    assert heard.said[-1] == (EngineError, "the engine is closing")
    assert closed == ["the registries"]


async def test_a_fault_before_the_first_frame_reaches_the_border_above() -> None:
    async def run(report: Report) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await desk(run).open(CALL, Heard())

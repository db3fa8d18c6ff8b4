"""One attempt: the callbacks of a socket on one side, a lane on the other."""

from collections.abc import Callable

import pytest

from arriero.backends.http.call import Head, Headers
from arriero.errors import ArrieroError, BackendBroken, BackendError, BackendRefused
from arriero.gateway.attempt import ERROR_BODY_BYTES, Attempt
from arriero.gateway.pipes import Pipe, Relay
from support.lanes import KeptLane
from support.raw_backend import Hold

OK = Head(200, ((b"content-type", b"text/event-stream"),))


class Broken(Relay):
    """A pipe that cannot read what it is fed."""

    def feed(self, data: bytes, now_ns: int) -> bytes:
        raise BackendBroken("not JSON")


class Complete(Relay):
    """A pipe that has said everything after its first read."""

    def feed(self, data: bytes, now_ns: int) -> bytes:
        self.over = True
        return data


def said(error: ArrieroError) -> bytes:
    return b"ERROR " + error.message.encode()


def attempt(
    lane: KeptLane,
    pipe: Pipe | None = None,
    *,
    relay_errors: bool = False,
    stream_error: Callable[[ArrieroError], bytes] | None = said,
) -> Attempt:
    def head_of(head: Head, relayed: bool) -> Headers:
        return ((b"content-type", b"relayed" if relayed else b"ours"),)

    def read_error(head: Head, body: bytes) -> BackendError:
        kind = BackendRefused if head.status < 500 else BackendError
        return kind(body.decode(), status=head.status)

    made = Attempt(
        lane,
        choose=lambda head: pipe or Relay(checked=False),
        head_of=head_of,
        read_error=read_error,
        stream_error=stream_error,
        relay_errors=relay_errors,
    )
    made.upstream = Hold()
    return made


class Ends:
    """What an attempt said of its end: nothing yet, or one result."""

    def __init__(self, one: Attempt) -> None:
        self.told: list[ArrieroError | None] = []
        one.on_done = self.told.append

    def result(self) -> ArrieroError | None:
        (only,) = self.told
        return only


async def test_a_good_head_without_an_answer_is_read_as_an_error() -> None:
    lane = KeptLane()
    one = Attempt(
        lane,
        choose=lambda head: None,
        head_of=lambda head, relayed: (),
        read_error=lambda head, body: BackendBroken(f"{head.status} {body.decode()}"),
        stream_error=said,
        relay_errors=True,
    )
    ends = Ends(one)
    one.on_head(OK)
    one.on_body(b"Log ")
    one.on_body(b"in")
    one.on_end()
    error = ends.result()
    assert (type(error), error and error.message) == (BackendBroken, "200 Log in")
    assert (lane.started, one.told) == (False, False)


async def test_what_cannot_be_read_because_it_is_compressed_is_called_so() -> None:
    lane = KeptLane()
    one = attempt(lane, pipe=Broken())
    ends = Ends(one)
    one.on_head(Head(200, ((b"content-encoding", b"gzip"),)))
    one.on_body(b"\x1f\x8b")
    error = ends.result()
    assert error is not None and not lane.started
    assert error.message == (
        "the backend compresses its answer (gzip) though it was asked not to: look at what stands before it"
    )


async def test_nothing_is_said_before_the_first_byte() -> None:
    lane = KeptLane()
    one = attempt(lane)
    ends = Ends(one)
    one.on_head(OK)
    assert not lane.started
    one.on_body(b"a")
    one.on_body(b"b")
    one.on_end()
    assert (lane.status, lane.headers, lane.length) == (200, ((b"content-type", b"relayed"),), None)
    assert (lane.pieces, lane.end, ends.result(), one.told) == ([b"a", b"b"], "finish", None, True)
    assert one.first_byte_ns is not None


async def test_a_relayed_stream_has_no_length_so_that_an_error_can_be_told() -> None:
    lane = KeptLane()
    one = attempt(lane, pipe=Relay())
    one.on_head(Head(200, ((b"content-length", b"9"),)))
    one.on_body(b'{"a":1}\n{"')
    one.on_end()
    assert lane.length is None


async def test_a_relayed_length_stays() -> None:
    lane = KeptLane()
    one = attempt(lane)
    one.on_head(Head(200, ((b"content-length", b"2"),)))
    one.on_body(b"ab")
    one.on_end()
    assert lane.length == 2


async def test_an_empty_answer_has_length_0() -> None:
    lane = KeptLane()
    one = attempt(lane)
    one.on_head(Head(204, ()))
    one.on_end()
    assert (lane.status, lane.length, lane.end) == (204, 0, "finish")


async def test_an_error_answer_is_the_result_and_the_lane_is_free_for_another_attempt() -> None:
    lane = KeptLane()
    one = attempt(lane)
    ends = Ends(one)
    one.on_head(Head(500, ()))
    one.on_body(b"out of ")
    one.on_body(b"memory")
    one.on_end()
    error = ends.result()
    assert error is not None
    assert (error.message, error.status, lane.started) == ("out of memory", 500, False)


async def test_an_endless_error_is_not_read_to_its_end() -> None:
    one = attempt(KeptLane())
    ends = Ends(one)
    one.on_head(Head(500, ()))
    for _ in range(40):
        one.on_body(b"x" * 100_000)
    one.on_end()
    error = ends.result()
    assert error is not None and len(error.message) <= ERROR_BODY_BYTES + 100_000


async def test_a_refusal_in_the_clients_own_dialect_is_passed_on_as_it_is() -> None:
    lane = KeptLane()
    one = attempt(lane, relay_errors=True)
    ends = Ends(one)
    one.on_head(Head(422, ((b"content-type", b"application/problem+json"),)))
    one.on_body(b'{"code":7}')
    one.on_end()
    assert (lane.status, lane.body, ends.result()) == (422, b'{"code":7}', None)
    assert lane.headers == ((b"content-type", b"application/problem+json"),)


@pytest.mark.parametrize("status", [301, 304])
async def test_anything_but_success_is_an_error(status: int) -> None:
    one = attempt(KeptLane())
    ends = Ends(one)
    one.on_head(Head(status, ()))
    one.on_end()
    assert ends.result() is not None


async def test_a_failure_before_the_first_byte_leaves_the_lane_alone() -> None:
    lane = KeptLane()
    one = attempt(lane)
    ends = Ends(one)
    one.on_head(OK)
    one.on_error(BackendBroken("cut"))
    assert (lane.started, one.told) == (False, False)
    assert ends.result() is not None


@pytest.mark.parametrize(("last", "between"), [(b"data: a\n\n", b""), (b'data: {"half', b"\n\n")])
async def test_a_failure_in_mid_stream_stands_on_a_line_of_its_own(last: bytes, between: bytes) -> None:
    lane = KeptLane()
    one = attempt(lane)
    ends = Ends(one)
    one.on_head(OK)
    one.on_body(last)
    error = BackendBroken("cut")
    one.on_error(error)
    assert (ends.result(), one.told) == (error, False)
    one.tell(error)
    assert (lane.body, lane.end) == (last + between + b"ERROR cut", "finish")


async def test_an_answer_without_a_form_for_errors_is_aborted() -> None:
    lane = KeptLane()
    one = attempt(lane, stream_error=None)
    one.on_head(OK)
    one.on_body(b'{"half')
    error = BackendBroken("cut")
    one.on_error(error)
    one.tell(error)
    assert lane.end == "abort"


async def test_bytes_that_cannot_be_read_close_the_backend() -> None:
    lane = KeptLane()
    one = attempt(lane, Broken())
    ends = Ends(one)
    one.on_head(OK)
    one.on_body(b"x")
    assert isinstance(one.upstream, Hold)
    assert (one.upstream.asked, lane.started) == (["abort"], False)
    assert ends.result() is not None


async def test_what_follows_a_complete_answer_means_nothing() -> None:
    lane = KeptLane()
    one = attempt(lane, Complete())
    ends = Ends(one)
    one.on_head(OK)
    one.on_body(b"all")
    assert (lane.body, lane.end, ends.result()) == (b"all", "finish", None)
    one.on_body(b"more")
    one.on_error(BackendBroken("late"))
    assert (lane.body, ends.result()) == (b"all", None)

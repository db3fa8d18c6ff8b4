"""The inbound request, and a whole answer at once."""

from arriero.gateway.lane import reply
from support.lanes import KeptLane, inbound


def test_a_header_is_found_by_its_lower_case_name() -> None:
    request = inbound("POST", "/api/chat", headers=((b"a", b"1"), (b"b", b"2"), (b"b", b"3")))
    assert (request.get(b"b"), request.get(b"c")) == (b"2", None)


def test_a_reply_knows_its_length() -> None:
    lane = KeptLane()
    reply(lane, 404, ((b"content-type", b"text/plain"),), b"gone")
    assert (lane.status, lane.headers, lane.length, lane.body, lane.end) == (
        404,
        ((b"content-type", b"text/plain"),),
        4,
        b"gone",
        "finish",
    )


def test_an_empty_reply_writes_no_body() -> None:
    lane = KeptLane()
    reply(lane, 204, (), b"")
    assert (lane.length, lane.pieces, lane.end) == (0, [], "finish")

"""A lane whose end comes late."""

from arriero.gateway.library import late
from arriero.gateway.library.late import Late
from support.lanes import KeptLane

FIELDS = ((b"x-a", b"1"),)


def test_frames_pass_and_the_end_waits() -> None:
    lane = KeptLane()
    held = Late(lane, whole=False)
    held.start(200, FIELDS)
    held.write(b"one\n")
    held.write(b"two\n")
    held.finish()
    assert (lane.status, lane.headers, lane.pieces, lane.end) == (200, FIELDS, [b"one\n", b"two\n"], None)
    held.end()
    assert (lane.end, held.good) == ("finish", True)


def test_a_whole_answer_waits_altogether() -> None:
    lane = KeptLane()
    held = Late(lane, whole=True)
    held.start(200, FIELDS, 4)
    held.write(b"on")
    held.write(b"e\n")
    held.finish()
    assert (held.started, lane.started) == (True, False)
    held.end()
    assert (lane.status, lane.length, lane.body, lane.end) == (200, 4, b"one\n", "finish")


def test_a_long_one_does_not_wait_in_memory() -> None:
    lane = KeptLane()
    held = Late(lane, whole=True)
    held.start(200, FIELDS)
    held.write(b"x" * late.HELD_BYTES)
    assert lane.started is False
    held.write(b"y")
    held.write(b"z")
    assert (lane.status, len(lane.body)) == (200, late.HELD_BYTES + 2)


def test_an_end_that_has_not_come_does_not_come() -> None:
    lane = KeptLane()
    held = Late(lane, whole=False)
    held.start(500, FIELDS)
    held.end()
    assert (lane.end, held.good) == (None, False)


def test_a_cut_does_not_wait() -> None:
    lane = KeptLane()
    Late(lane, whole=True).abort()
    assert lane.end == "abort"


def test_everything_else_is_the_lanes_own() -> None:
    lane = KeptLane()
    held = Late(lane, whole=False)
    held.on_pause, held.on_resume, held.on_gone = lane.abort, lane.leave, lane.finish
    held.extra = FIELDS
    lane.gone = True
    assert (lane.on_pause, lane.on_resume, lane.on_gone) == (lane.abort, lane.leave, lane.finish)
    assert (held.on_pause, held.extra, held.gone, lane.extra) == (lane.abort, FIELDS, True, FIELDS)

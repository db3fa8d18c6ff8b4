"""The event order, the bracketer, fold and unfold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.events import (
    Answer,
    Event,
    Failed,
    Finished,
    Kind,
    PartDelta,
    PartEnded,
    PartStarted,
    Reason,
    Started,
    TokenLogprob,
    Usage,
)
from arriero.canonical.requests import Text, Thinking, ToolCall
from arriero.canonical.stream import Bracketer, Folder, OutOfOrder, State, advance, fold, unfold

CALL = ToolCall("weather", '{"city":"Lima"}', "call_1")
LOGPROB = TokenLogprob("a", -0.5)

PART = (
    st.builds(Text, st.text(min_size=1))
    | st.builds(Thinking, st.text(min_size=1))
    | st.builds(ToolCall, st.text(min_size=1), st.just("{}"), st.none() | st.text())
)
ANSWER = st.builds(
    Answer,
    st.lists(PART, max_size=5).map(tuple),
    st.builds(Finished, st.sampled_from(Reason), st.builds(Usage, st.none() | st.integers(0, 9))),
    st.builds(Started, st.none() | st.text()),
)


def run(events: list[Event]) -> State:
    state = State.BEFORE
    for event in events:
        state = advance(state, event)
    return state


def test_the_order_of_a_whole_stream() -> None:
    text: list[Event] = [PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, "a"), PartEnded(Text("a"))]
    assert run([Started(), Finished()]) is State.OVER
    assert run([Started(), *text, *text, Finished()]) is State.OVER
    assert run([Failed("x")]) is State.OVER
    assert run([Started(), PartStarted(Kind.TEXT), Failed("x")]) is State.OVER


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([Finished()], "Finished while before"),
        ([Started(), Started()], "Started while between"),
        ([Started(), PartDelta(Kind.TEXT, "a")], "PartDelta while between"),
        ([Started(), PartStarted(Kind.TEXT), PartStarted(Kind.TEXT)], "PartStarted while inside"),
        ([Started(), PartStarted(Kind.TEXT), Finished()], "Finished while inside"),
        ([Started(), Finished(), Failed("x")], "Failed while over"),
    ],
)
def test_anything_else_is_out_of_order(events: list[Event], message: str) -> None:
    with pytest.raises(OutOfOrder, match=message):
        run(events)


def test_the_bracketer_puts_the_brackets() -> None:
    out: list[Event] = []
    bracketer = Bracketer()
    bracketer.start(out, "id", "model")
    bracketer.start(out, "again")
    bracketer.piece(out, Kind.THINKING, "hm")
    bracketer.piece(out, Kind.TEXT, "a")
    bracketer.piece(out, Kind.TEXT, "")
    bracketer.piece(out, Kind.TEXT, "b", (LOGPROB,))
    bracketer.call(out, CALL)
    bracketer.finish(out, Finished(Reason.TOOL_CALLS))
    assert out == [
        Started("id", "model"),
        PartStarted(Kind.THINKING),
        PartDelta(Kind.THINKING, "hm"),
        PartEnded(Thinking("hm")),
        PartStarted(Kind.TEXT),
        PartDelta(Kind.TEXT, "a"),
        PartDelta(Kind.TEXT, "b", (LOGPROB,)),
        PartEnded(Text("ab")),
        PartStarted(Kind.TOOL_CALL, "call_1", "weather"),
        PartDelta(Kind.TOOL_CALL, '{"city":"Lima"}'),
        PartEnded(CALL),
        Finished(Reason.TOOL_CALLS),
    ]
    assert run(out) is State.OVER


@given(st.lists(st.sampled_from([Kind.TEXT, Kind.THINKING, Kind.TOOL_CALL]) | st.none(), max_size=12), st.booleans())
def test_whatever_the_bracketer_is_told_the_order_holds(steps: list[Kind | None], fails: bool) -> None:
    out: list[Event] = []
    bracketer = Bracketer()
    for step in steps:
        match step:
            case None:
                bracketer.start(out)
            case Kind.TOOL_CALL:
                bracketer.call(out, CALL)
            case kind:
                bracketer.piece(out, kind, "a")
    if fails:
        bracketer.fail(out, Failed("x"))
    else:
        bracketer.finish(out, Finished())
    assert run(out) is State.OVER


def test_a_folder_has_no_answer_before_the_end_or_after_a_failure() -> None:
    folder = Folder()
    folder.feed([Started(), PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, "a"), PartEnded(Text("a"))])
    assert folder.answer is None
    folder.feed([Failed("broken", 500)])
    assert (folder.answer, folder.failed) == (None, Failed("broken", 500))
    with pytest.raises(OutOfOrder):
        fold([Started()])


def test_logprobs_are_gathered() -> None:
    out: list[Event] = []
    bracketer = Bracketer()
    bracketer.piece(out, Kind.TEXT, "a", (LOGPROB,))
    bracketer.piece(out, Kind.TEXT, "b", (LOGPROB,))
    bracketer.finish(out, Finished())
    assert fold(out) == Answer((Text("ab"),), logprobs=(LOGPROB, LOGPROB))


@given(ANSWER)
def test_unfold_is_in_order_and_folds_back(answer: Answer) -> None:
    events = unfold(answer)
    assert run(events) is State.OVER
    assert fold(events) == answer


@pytest.mark.parametrize("parts", [(Thinking("hm"), Text("a"), Text("b")), (Thinking("hm"), CALL), (CALL, CALL)])
def test_unfold_keeps_logprobs(parts: tuple[Text | Thinking | ToolCall, ...]) -> None:
    answer = Answer(parts, logprobs=(LOGPROB,))
    assert fold(unfold(answer)) == answer

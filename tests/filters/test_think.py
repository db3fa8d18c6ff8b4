"""Events with `<think>` tags in their text in, events with thinking out."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.canonical.events import (
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
from arriero.canonical.stream import Bracketer, State, advance, fold
from arriero.filters.think import ThinkTags

STARTED = Started("id", "model")
END = Finished(Reason.STOP, Usage(3, 4))
CALL = ToolCall("weather", '{"city":"Lima"}', "call_1")
CALLED: list[Event] = [
    PartStarted(Kind.TOOL_CALL, "call_1", "weather"),
    PartDelta(Kind.TOOL_CALL, "{"),
    PartEnded(CALL),
]


def stream(*pieces: str, end: Sequence[Event] = (END,)) -> list[Event]:
    """One text part in these pieces, and the end."""
    text: list[Event] = [PartDelta(Kind.TEXT, piece) for piece in pieces]
    return [STARTED, PartStarted(Kind.TEXT), *text, PartEnded(Text("".join(pieces))), *end]


def passed(events: Iterable[Event], *, inside: bool = False, at_once: bool = False) -> list[Event]:
    """What comes out, one event at a time or all in one; it keeps the order of events."""
    filter = ThinkTags(inside=inside)
    out = list(filter.feed(list(events))) if at_once else [made for event in events for made in filter.feed([event])]
    state = State.BEFORE
    for event in out:
        state = advance(state, event)
    return out


def parts(events: Iterable[Event], *, inside: bool = False) -> list[Text | Thinking | ToolCall]:
    return list(fold(passed(events, inside=inside)).parts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<think>Hm.</think>Hi", [Thinking("Hm."), Text("Hi")]),
        ("\n <think>\nHm.\n</think>\n\nHi \n", [Thinking("Hm."), Text("Hi \n")]),
        ("<think>a < b</ b </thinking> c</think>d", [Thinking("a < b</ b </thinking> c"), Text("d")]),
        ("<think>a\n\nb</think>c", [Thinking("a\n\nb"), Text("c")]),
        ("<think></think>Hi", [Text("Hi")]),
        ("<think>\n\n</think>\n\nHi", [Text("Hi")]),
        ("<think>Hm.</think>", [Thinking("Hm.")]),
        ("<think>Hm.</think>\n", [Thinking("Hm.")]),
        ("<think>Hm.", [Thinking("Hm.")]),  # the limit came while it was thinking
        ("<think>Hm.</thi", [Thinking("Hm.</thi")]),
        ("<think>", []),
        ("<think>a</think>b<think>c</think>d", [Thinking("a"), Text("b<think>c</think>d")]),
    ],
)
def test_tags(text: str, found: list[Text | Thinking]) -> None:
    assert parts(stream(text)) == found
    assert parts(stream(*text)) == found
    assert parts(stream(text), inside=True) == found
    assert parts(stream(*text), inside=True) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hm.</think>Hi", [Thinking("Hm."), Text("Hi")]),
        ("\nHm.\n</think>\n\nHi", [Thinking("Hm."), Text("Hi")]),
        ("</think>Hi", [Text("Hi")]),
        ("a<think>b</think>Hi", [Thinking("a<think>b"), Text("Hi")]),
        ("<thinking>Hm.</think>Hi", [Thinking("<thinking>Hm."), Text("Hi")]),
        ("Hm.", [Thinking("Hm.")]),
    ],
)
def test_the_opening_tag_may_be_missing_where_the_operator_says_so(text: str, found: list[Text | Thinking]) -> None:
    assert parts(stream(text), inside=True) == found
    assert parts(stream(*text), inside=True) == found


@pytest.mark.parametrize(
    "text",
    [
        "Hi",
        " \n Hi",
        "Hi <think>no</think>",
        "<thin",
        "<thinking>no</thinking>",
        "< think>",
        "</think>",
        " ",
        "<",
        "Hm.</think>Hi",
    ],
)
def test_text_without_a_tag_at_its_start_is_unchanged(text: str) -> None:
    for events in (stream(text), stream(*text), stream(*text, end=[Failed("cut", cut=True)])):
        assert passed(events) == events
        assert passed(events, at_once=True) == events


def test_events_come_as_soon_as_they_can() -> None:
    filter = ThinkTags()
    assert filter.feed([STARTED]) == [STARTED]
    assert filter.feed([PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, " <th")]) == []
    assert filter.feed([PartDelta(Kind.TEXT, "ink>")]) == []
    assert filter.feed([PartDelta(Kind.TEXT, "Hm. ")]) == [PartStarted(Kind.THINKING), PartDelta(Kind.THINKING, "Hm.")]
    assert filter.feed([PartDelta(Kind.TEXT, "So")]) == [PartDelta(Kind.THINKING, " So")]
    assert filter.feed([PartDelta(Kind.TEXT, "</think>\n")]) == []
    assert filter.feed([PartDelta(Kind.TEXT, "Hi")]) == [
        PartEnded(Thinking("Hm. So")),
        PartStarted(Kind.TEXT),
        PartDelta(Kind.TEXT, "Hi"),
    ]
    assert filter.feed([PartEnded(Text("..."))]) == []
    assert filter.feed([END]) == [PartEnded(Text("Hi")), END]


def test_without_a_tag_the_very_same_list_goes_on() -> None:
    filter = ThinkTags()
    filter.feed([STARTED, PartStarted(Kind.TEXT), PartDelta(Kind.TEXT, "Hi")])
    events: list[Event] = [PartDelta(Kind.TEXT, " there")]
    assert filter.feed(events) is events


def test_a_backend_that_marks_its_thinking_itself() -> None:
    thought: list[Event] = [
        PartStarted(Kind.THINKING),
        PartDelta(Kind.THINKING, "Hm."),
        PartEnded(Thinking("Hm.", "signature")),
    ]
    events: list[Event] = [STARTED, *thought, *stream("<think>", "no</think>", "Hi")[1:]]
    assert passed(events) == events
    assert passed(events, inside=True) == events
    blank = stream(" ", end=thought)[:-1]
    assert passed([*blank, PartEnded(Thinking("Hm.")), END]) == [*blank, PartEnded(Thinking("Hm.")), END]


def test_tool_calls() -> None:
    before: list[Event] = [STARTED, *CALLED, *stream("<think>no</think>Hi")[1:]]
    assert passed(before) == before
    assert parts(stream("<think>Hm.</think>", end=[*CALLED, END])) == [Thinking("Hm."), CALL]
    assert parts(stream("<think>Hm.</think>Hi", end=[*CALLED, END])) == [Thinking("Hm."), Text("Hi"), CALL]
    assert parts(stream("<think>Hm. </th", end=[*CALLED, END])) == [Thinking("Hm. </th"), CALL]
    alone: list[Event] = [STARTED, *CALLED, END]
    assert passed(alone) == alone


def test_an_answer_of_nothing_and_a_failure() -> None:
    assert passed([STARTED, END]) == [STARTED, END]
    assert passed([Failed("no")]) == [Failed("no")]
    assert passed(stream("<think>Hm. ", end=[Failed("cut", cut=True)])) == [
        STARTED,
        PartStarted(Kind.THINKING),
        PartDelta(Kind.THINKING, "Hm."),
        PartDelta(Kind.THINKING, " "),
        Failed("cut", cut=True),
    ]


def test_each_logprob_goes_once_with_the_text_it_came_with_or_the_next() -> None:
    tokens = ["<think>", "Hm.", "</think>Hi", "!"]
    probs = [TokenLogprob(token, -0.5) for token in tokens]
    out: list[Event] = []
    bracketer = Bracketer()
    for token, prob in zip(tokens, probs, strict=True):
        bracketer.piece(out, Kind.TEXT, token, (prob,))
    bracketer.finish(out, END)
    deltas = [event for event in passed(out) if isinstance(event, PartDelta)]
    assert deltas == [
        PartDelta(Kind.THINKING, "Hm.", (probs[0], probs[1])),
        PartDelta(Kind.TEXT, "Hi", (probs[2],)),
        PartDelta(Kind.TEXT, "!", (probs[3],)),
    ]
    plain: list[Event] = [
        STARTED,
        PartStarted(Kind.TEXT),
        PartDelta(Kind.TEXT, " ", (probs[0],)),
        PartDelta(Kind.TEXT, "a", (probs[1],)),
    ]
    assert passed(plain) == plain


SCRAP = st.sampled_from(["<think>", "</think>", "<", "/", "think>", " ", "\n", "a", "b c", "é", "</th", "<thi"])
ANSWER = st.lists(SCRAP, max_size=12).map("".join)


def sliced(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


@given(ANSWER, st.lists(st.integers(0, 200), max_size=12), st.booleans(), st.booleans())
def test_any_slicing_gives_the_same_parts(text: str, places: list[int], inside: bool, called: bool) -> None:
    end: list[Event] = [*CALLED, END] if called else [END]
    whole = fold(passed(stream(text, end=end), inside=inside)).parts
    assert fold(passed(stream(*sliced(text, places), end=end), inside=inside)).parts == whole
    assert fold(passed(stream(*sliced(text, places), end=end), inside=inside, at_once=True)).parts == whole


@given(ANSWER, st.lists(st.integers(0, 200), max_size=12))
def test_no_tag_no_change(text: str, places: list[int]) -> None:
    events = stream(*sliced(text, places))
    if not text.lstrip().startswith("<think>"):
        assert passed(events) == events


@given(ANSWER)
def test_nothing_but_white_space_and_tags_is_lost(text: str) -> None:
    said = "".join(part.text for part in parts(stream("<think>" + text)) if not isinstance(part, ToolCall))
    assert "".join(said.split()) == "".join(text.replace("</think>", "", 1).split())

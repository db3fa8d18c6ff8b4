"""Tool calls put together from pieces; the streams of `test_stream` show every form, here are the rules alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from arriero.canonical.requests import ToolCall
from arriero.dialects.openai.calls import BadCall, Calls
from arriero.dialects.openai.chunks import CallPiece, FunctionPiece


def piece(
    index: int | None = None, id: str | None = None, name: str | None = None, arguments: str | None = None
) -> CallPiece:
    raw = Raw(b"null") if arguments is None else Raw(json.dumps(arguments).encode())
    return CallPiece(index, id, FunctionPiece(name, raw))


def gathered(*pieces: CallPiece) -> list[ToolCall]:
    calls = Calls()
    for each in pieces:
        calls.feed([each])
    return calls.finish()


def test_nothing() -> None:
    assert gathered() == []


def test_an_entry_without_function() -> None:
    assert gathered(CallPiece(0, "c1", None), piece(0, None, "f", "{}")) == [ToolCall("f", "{}", "c1")]


def test_an_entry_of_nothing_is_no_call() -> None:
    assert gathered(piece(0, "c1"), piece(1, "c2", "f", "{}")) == [ToolCall("f", "{}", "c2")]


def test_calls_come_in_the_order_of_their_appearance() -> None:
    assert gathered(piece(3, "b", "g", "{}"), piece(0, "a", "f", "{}")) == [
        ToolCall("g", "{}", "b"),
        ToolCall("f", "{}", "a"),
    ]


def test_two_names_in_one_chunk_without_index() -> None:
    calls = Calls()
    calls.feed([piece(None, None, "f"), piece(None, None, "g")])
    assert calls.finish() == [ToolCall("f", "{}"), ToolCall("g", "{}")]


def test_whole_calls_are_never_joined() -> None:
    calls = Calls()
    calls.whole([piece(0, None, "f", '{"a":1}'), piece(0, None, "f", '{"a":1}')])
    assert calls.finish() == [ToolCall("f", '{"a":1}'), ToolCall("f", '{"a":1}')]


ARGUMENTS = {
    "": "{}",
    "  ": "{}",
    "null": "{}",
    "{}": "{}",
    '{"b": 1.50, "a": "é"}': '{"b": 1.50, "a": "é"}',
    '"{\\"a\\": 1}"': '{"a": 1}',
    '{"a":"tab\there"}': '{"a":"tab\\there"}',
    '{"a":"\\ud83d"}': '{"a":"\\ud83d"}',
}


@pytest.mark.parametrize("text", ARGUMENTS)
def test_arguments(text: str) -> None:
    assert gathered(piece(0, "c", "f", text)) == [ToolCall("f", ARGUMENTS[text], "c")]


@pytest.mark.parametrize("text", ["{", "[]", "7", '"a"', "true", '{"a":NaN}', "get_weather()"])
def test_bad_arguments(text: str) -> None:
    with pytest.raises(BadCall, match="the model called f with arguments that are not a JSON object: "):
        gathered(piece(0, "c", "f", text))


def test_a_long_text_is_shortened_in_the_error() -> None:
    with pytest.raises(BadCall) as caught:
        gathered(piece(0, "c", "f", "x" * 5000))
    assert len(str(caught.value)) < 300


objects = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=4).map(json.dumps)


@given(
    st.lists(st.tuples(st.sampled_from("fgh"), objects), min_size=1, max_size=4),
    st.integers(1, 5),
    st.sampled_from(["openai", "no index", "index 0", "id repeated", "interleaved"]),
)
def test_any_cut_of_the_arguments(wanted: list[tuple[str, str]], size: int, style: str) -> None:
    """Every style that names its calls by id gives the same calls, wherever the arguments are cut."""
    rows: list[list[CallPiece]] = []
    for number, (name, arguments) in enumerate(wanted):
        index = {"no index": None, "index 0": 0}.get(style, number)
        pieces = [piece(index, f"c{number}", name, "")]
        for at in range(0, len(arguments), size):
            id = f"c{number}" if style == "id repeated" else None
            pieces.append(piece(index, id, None, arguments[at : at + size]))
        rows.append(pieces)
    flat = [each for row in rows for each in row]
    if style == "interleaved":
        longest = max(map(len, rows))
        flat = [row[at] for at in range(longest) for row in rows if at < len(row)]
    assert gathered(*flat) == [
        ToolCall(name, arguments, f"c{number}") for number, (name, arguments) in enumerate(wanted)
    ]

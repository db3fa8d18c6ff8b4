"""Splice: only the named bytes move."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from arriero.wire.splice import members, peek, splice, splice_model

KEYS = st.sampled_from(["model", "stream", "options", "a", "ñ", '"', "\\", "}{", "\u2028", ""]) | st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)
SPACES = st.text(" \n\t\r", max_size=2)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """An object, and one of the many ways to write it."""
    value = draw(OBJECTS)
    ascii_only = draw(st.booleans())
    written: list[str] = []
    for key, item in value.items():
        colon = draw(SPACES) + ":" + draw(SPACES)
        text = json.dumps(item, ensure_ascii=ascii_only, indent=draw(st.sampled_from([None, 1])))
        written.append(draw(SPACES) + json.dumps(key, ensure_ascii=ascii_only) + colon + text + draw(SPACES))
    text = draw(SPACES) + "{" + (",".join(written) or draw(SPACES)) + "}" + draw(SPACES)
    return value, text.encode()


@given(bodies())
def test_members_are_found_where_they_are(body: tuple[dict[str, Any], bytes]) -> None:
    value, text = body
    found = members(text)
    assert [member.key for member in found] == list(value)
    for member in found:
        assert json.loads(text[member.value_start : member.end]) == value[member.key]


@given(bodies(), VALUES, st.data())
def test_a_value_is_put_and_nothing_else_moves(
    body: tuple[dict[str, Any], bytes], new: Any, data: st.DataObject
) -> None:
    value, text = body
    assume(value)
    key = data.draw(st.sampled_from(list(value)))
    (member,) = [found for found in members(text) if found.key == key]
    put = json.dumps(new).encode()
    assert splice(text, {key: put}) == text[: member.value_start] + put + text[member.end :]


@given(bodies(), KEYS, VALUES)
def test_a_new_member_comes_first(body: tuple[dict[str, Any], bytes], key: str, new: Any) -> None:
    value, text = body
    assume(key not in value)
    spliced = splice(text, {key: json.dumps(new).encode()})
    assert list(json.loads(spliced).items()) == [(key, new), *value.items()]
    brace = text.index(b"{") + 1
    assert spliced.startswith(text[:brace])
    assert spliced.endswith(text[brace:])


@given(bodies(), st.data())
def test_members_are_dropped_and_the_rest_stays(body: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    value, text = body
    assume(value)
    gone = data.draw(st.sets(st.sampled_from(list(value))))
    spliced = splice(text, {}, gone)
    assert list(json.loads(spliced).items()) == [(key, item) for key, item in value.items() if key not in gone]
    for member in members(text):
        if member.key not in gone:
            assert text[member.start : member.end] in spliced


@given(bodies(), st.text(max_size=8), st.text(max_size=8))
def test_another_model_name(body: tuple[dict[str, Any], bytes], old: str, new: str) -> None:
    value, text = body
    value = {"model": old, **{key: item for key, item in value.items() if key != "model"}}
    text = splice(splice(text, {}, ["model"]), {"model": json.dumps(old).encode()})
    spliced = splice_model(text, old, new)
    assert list(json.loads(spliced).items()) == list({**value, "model": new}.items())
    assert peek(spliced)[0] == new
    assert splice_model(spliced, new, new) is spliced


@given(bodies())
def test_peek_reads_what_a_parser_reads(body: tuple[dict[str, Any], bytes]) -> None:
    value, text = body
    model, stream = value.get("model"), value.get("stream")
    assert peek(text) == (model if isinstance(model, str) else None, stream if isinstance(stream, bool) else None)

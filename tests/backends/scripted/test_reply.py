"""Messages in, the bytes of streams out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.scripted.reply import MAX_DIMENSIONS, Reply, cut, dimensions, dump, events, lines, vector, whole
from arriero.backends.scripted.script import Form


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (Form(), (b'data: {"a":1}\n\n', b"data: [DONE]\n\n")),
        (Form(line_end="crlf"), (b'data: {"a":1}\r\n\r\n', b"data: [DONE]\r\n\r\n")),
        (Form(line_end="cr"), (b'data: {"a":1}\r\r', b"data: [DONE]\r\r")),
        (Form(space=False), (b'data:{"a":1}\n\n', b"data:[DONE]\n\n")),
        (Form(done=False), (b'data: {"a":1}\n\n',)),
        (Form(done=False, comments=True), (b': keep-alive\n\nevent: ping\n\ndata: {"a":1}\n\n',)),
    ],
)
def test_events(form: Form, written: tuple[bytes, ...]) -> None:
    assert events([{"a": 1}], form) == written


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (Form(), (b'{"a":1}\n', b'{"b":2}\n')),
        (Form(line_end="crlf"), (b'{"a":1}\r\n', b'{"b":2}\r\n')),
        (Form(comments=True), (b'\n{"a":1}\n', b'\n{"b":2}\n')),
    ],
)
def test_lines(form: Form, written: tuple[bytes, ...]) -> None:
    assert lines([{"a": 1}, {"b": 2}], form) == written


def test_json_is_utf8_and_compact() -> None:
    assert dump({"a": ["ñ", 1.5, None]}) == '{"a":["ñ",1.5,null]}'.encode()
    assert dump("\ud800") == b'"?"'
    assert whole([1], 500) == Reply(500, "application/json", (b"[1]",))


@given(st.text(), st.integers(1, 100))
def test_a_vector_has_norm_1_and_depends_on_the_text(text: str, length: int) -> None:
    made = vector(text, length)
    assert len(made) == length
    assert sum(value * value for value in made) == pytest.approx(1, abs=0.01)
    assert made == vector(text, length)
    assert length == 1 or made != vector(text + "x", length)


@pytest.mark.parametrize(("asked", "length"), [(3, 3), (0, 8), (-1, 8), (None, 8), ("3", 8), (10**9, MAX_DIMENSIONS)])
def test_dimensions(asked: object, length: int) -> None:
    assert dimensions({"dimensions": asked}, 8) == length
    assert dimensions({}, 8) == 8


@given(st.text(), st.integers(1, 5))
def test_a_cut_text_is_the_text(text: str, count: int) -> None:
    assert "".join(cut(text, count)) == text
    assert 1 <= len(cut(text, count)) <= count


def test_nothing_of_it_is_lost() -> None:
    assert json.loads(dump({"deep": [{"er": True}]})) == {"deep": [{"er": True}]}

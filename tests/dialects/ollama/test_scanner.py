"""Syntax errors in Go's words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.dialects.ollama.scanner import MAX_DEPTH, first_value
from arriero.errors import BadRequest


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b" \r\n\t", "missing request body"),
        (b"{", "unexpected EOF"),
        (b'{"model', "unexpected EOF"),
        (b'{"model":"x"', "unexpected EOF"),
        (b'{"model":"x\\', "unexpected EOF"),
        (b'{"model":tr', "unexpected EOF"),
        (b"[1,", "unexpected EOF"),
        (b"-", "unexpected EOF"),
        (b"1.", "unexpected EOF"),
        (b"hello", "invalid character 'h' looking for beginning of value"),
        (b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value"),
        (b"'a'", r"invalid character '\'' looking for beginning of value"),
        (b"{'a'}", r"invalid character '\'' looking for beginning of object key string"),
        (b"{1:2}", "invalid character '1' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        (b"[trux]", "invalid character 'x' in literal true (expecting 'e')"),
        (b"[nil]", "invalid character 'i' in literal null (expecting 'u')"),
        (b"[-a]", "invalid character 'a' in numeric literal"),
        (b"[1.a]", "invalid character 'a' after decimal point in numeric literal"),
        (b"[1e+]", "invalid character ']' in exponent of numeric literal"),
        (b"[01]", "invalid character '1' after array element"),
        (b'["a\nb"]', r"invalid character '\n' in string literal"),
        (b'["\\x"]', "invalid character 'x' in string escape code"),
        (b'["\\u12g"]', "invalid character 'g' in \\u hexadecimal character escape"),
        (b"[" * (MAX_DEPTH + 1), "exceeded max depth"),
    ],
)
def test_what_is_wrong(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        first_value(body)
    assert (caught.value.status, caught.value.message) == (400, message)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b' {"a":1} trailing', b'{"a":1}'),
        (b"{}{}", b"{}"),
        (b"null,", b"null"),
        (b"12 3", b"12"),
        (b"0.5e-3x", b"0.5e-3"),
        (b'"a\\"\\u00e9"]', b'"a\\"\\u00e9"'),
        (b'[ [ ] , { } , {"a" : [ 1 , { "b" : null } ] } ] ...', b'[ [ ] , { } , {"a" : [ 1 , { "b" : null } ] } ]'),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"]", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH),
    ],
)
def test_the_first_value_is_read(body: bytes, value: bytes) -> None:
    assert first_value(body) == value


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_json, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_text_is_one_value(value: object, ascii: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii, indent=indent).encode("utf-8", "replace")
    assert first_value(b" " + body + b" x") == body


@given(_json, st.data())
def test_what_json_refuses_is_refused(value: object, data: st.DataObject) -> None:
    body = json.dumps([value]).encode()
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(BadRequest):
        first_value(body[:cut])

"""Reading and changing single fields of a JSON text."""

import tracemalloc

import pytest

from arriero.wire.splice import Member, NotAnObject, members, other_models, peek, splice, splice_model


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"{}", (None, None)),
        (b'{"model":"a","stream":true}', ("a", True)),
        (b' {"stream" : false , "x":[{"model":"no"}], "model" : "g\\u00fc:latest"} ', ("gü:latest", False)),
        (b'{"model":null,"stream":null}', (None, None)),
        (b'{"model":7,"stream":"true"}', (None, None)),
        (b'{"model":"a","model":"b"}', ("b", None)),
    ],
)
def test_peek(body: bytes, found: tuple[str | None, bool | None]) -> None:
    assert peek(body) == found


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"[]", b"null", b'"model"', b'{"model":"a"', b"hello", b'{"model":"\xff"}', b'{"model":"\\ud800"}'],
)
def test_peek_wants_an_object(body: bytes) -> None:
    with pytest.raises(NotAnObject):
        peek(body)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"model":"a","models":["b","c/d:free"]}', ("b", "c/d:free")),
        (b'{"\\u006dodels":["b",7,null]}', ("b",)),
        (b'{"x":{"models":["b"]}}', ()),
        (b'{"models":"b"}', ()),
        (b'{"models":{"b":1}}', ()),
        (b'[{"models":["b"]}]', ()),
        (b"--boundary", ()),
        (b"", ()),
    ],
)
def test_models_that_are_named_beside_the_one(body: bytes, found: tuple[str, ...]) -> None:
    assert other_models(body) == found


def test_members_are_named_with_their_places() -> None:
    body = b'{"a" : 1 , "b":{"c":[1,2]},"d":"}{\\",:"}'
    assert members(body) == [Member("a", 1, 7, 8), Member("b", 11, 15, 26), Member("d", 27, 31, 39)]
    assert [body[found.value_start : found.end] for found in members(body)] == [b"1", b'{"c":[1,2]}', b'"}{\\",:"']
    assert members(b"{}") == members(b" { } ") == []
    assert [found.key for found in members(b'{"k":1,"\\u006b":2}')] == ["k", "k"]


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"a":1', b'{"a', b"]{", b'x{"a":1}', b'{"\xff":1}'])
def test_members_want_an_object(body: bytes) -> None:
    with pytest.raises(NotAnObject):
        members(body)


def test_members_of_a_long_string_take_no_memory_to_find() -> None:
    body = b'{"images":["' + b"A" * 4_000_000 + b'"],"text":"' + b'\\"' * 1_000_000 + b'"}'
    tracemalloc.start()
    try:
        assert [found.key for found in members(body)] == ["images", "text"]
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "put", "drop", "spliced"),
    [
        (b'{"a": 1, "b": 2}', {"a": b"9"}, (), b'{"a": 9, "b": 2}'),
        (b'{"a": 1, "b": 2}', {"c": b"3"}, (), b'{"c":3,"a": 1, "b": 2}'),
        (b"{}", {"c": b"3"}, (), b'{"c":3}'),
        (b" { } ", {"c": b"3", "d": b"[]"}, (), b' {"c":3,"d":[] } '),
        (b'{"a": 1, "b": 2, "c": 3}', {}, ("a",), b'{"b": 2, "c": 3}'),
        (b'{"a": 1, "b": 2, "c": 3}', {}, ("b",), b'{"a": 1, "c": 3}'),
        (b'{"a": 1, "b": 2, "c": 3}', {}, ("c",), b'{"a": 1, "b": 2}'),
        (b'{"a": 1, "b": 2, "c": 3}', {}, ("b", "c"), b'{"a": 1}'),
        (b'{"a": 1, "b": 2, "c": 3}', {}, ("a", "b", "c"), b"{}"),
        (b'{"a": 1, "b": 2}', {"b": b'"x"'}, ("a",), b'{"b": "x"}'),
        (b'{"a":1,"a":2}', {"a": b"9"}, (), b'{"a":9,"a":9}'),
        (b'{"x":{"a":1},"a":2}', {"a": b"9"}, (), b'{"x":{"a":1},"a":9}'),
    ],
)
def test_splice(body: bytes, put: dict[str, bytes], drop: tuple[str, ...], spliced: bytes) -> None:
    assert splice(body, put, drop) == spliced


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (b'{"model":"a","x":1.50}', b'{"model":"n","x":1.50}'),
        (b'{"model": "a","x":"a"}', b'{"model": "n","x":"a"}'),
        (b'{"model" : "a"}', b'{"model" : "n"}'),
        (b'{"mod\\u0065l":"a"}', b'{"mod\\u0065l":"n"}'),
        (b'{"model":"\\u0061"}', b'{"model":"n"}'),
        (b'{"meta":{"model":"a"},"model":"a"}', b'{"meta":{"model":"a"},"model":"n"}'),
        (b'{"text":"\\"model\\":\\"a\\"","model":"a"}', b'{"text":"\\"model\\":\\"a\\"","model":"n"}'),
        (b'{"meta":{"model":"a"},"mod\\u0065l":"a"}', b'{"meta":{"model":"a"},"mod\\u0065l":"n"}'),
    ],
)
def test_splice_model(body: bytes, spliced: bytes) -> None:
    assert splice_model(body, "a", "n") == spliced


def test_the_same_name_is_the_same_body() -> None:
    body = b'{"model":"a"}'
    assert splice_model(body, "a", "a") is body

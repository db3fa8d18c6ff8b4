from collections.abc import AsyncIterator

import pytest

from arriero.backends.http.call import Call, Rendered
from arriero.backends.http.request import RequestHeads, declared_length
from arriero.errors import BadRequest

HEADS = RequestHeads((b"host", b"h:1"))


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    ("call", "head"),
    [
        (Call("GET", "/"), b"GET / HTTP/1.1\r\nhost: h:1\r\n\r\n"),
        (Call("POST", "/a?b=c"), b"POST /a?b=c HTTP/1.1\r\nhost: h:1\r\ncontent-length: 0\r\n\r\n"),
        (Call("DELETE", "/a"), b"DELETE /a HTTP/1.1\r\nhost: h:1\r\n\r\n"),
        (
            Call("POST", "/a", ((b"accept", b"*/*"), (b"x-empty", b"")), b"body"),
            b"POST /a HTTP/1.1\r\nhost: h:1\r\naccept: */*\r\nx-empty: \r\ncontent-length: 4\r\n\r\n",
        ),
        (
            Call(
                "POST",
                "/",
                ((b"host", b"evil"), (b"content-length", b"9"), (b"transfer-encoding", b"chunked")),
                b"body",
            ),
            b"POST / HTTP/1.1\r\nhost: h:1\r\ncontent-length: 4\r\n\r\n",
        ),
        (Call("PUT", "/", (), pieces()), b"PUT / HTTP/1.1\r\nhost: h:1\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            Call("PUT", "/", ((b"content-length", b"1"),), pieces()),
            b"PUT / HTTP/1.1\r\nhost: h:1\r\ncontent-length: 1\r\n\r\n",
        ),
    ],
)
def test_a_call_becomes_a_head(call: Call, head: bytes) -> None:
    assert HEADS.render(call) == head


def test_a_plain_proxy_gets_the_absolute_form_and_its_credentials() -> None:
    heads = RequestHeads((b"host", b"h"), (b"proxy-authorization", b"Basic eA=="), prefix="http://h")
    assert heads.render(Call("GET", "/a", ((b"x", b"1"),))) == (
        b"GET http://h/a HTTP/1.1\r\nhost: h\r\nproxy-authorization: Basic eA==\r\nx: 1\r\n\r\n"
    )


BREAK = "a request header or the target holds a line break or a NUL byte"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (Call("GET", "/", ((b"x", b"a\r\ny: b"),)), BREAK),
        (Call("GET", "/", ((b"x", b"a\n"),)), BREAK),
        (Call("GET", "/", ((b"x", b"\r"),)), BREAK),
        (Call("GET", "/", ((b"x", b"\0"),)), BREAK),
        (Call("GET", "/", ((b"x\r\ny", b"a"),)), BREAK),
        (Call("GET", "/a\r\nx:y"), BREAK),
        (Call("GET\r\n", "/a"), BREAK),
        (Call("GET", ""), "the request target is empty or holds a space"),
        (Call("GET", "/a HTTP/1.1"), "the request target is empty or holds a space"),
        (Call("GET", "/ä"), "the request target holds characters that are not ASCII"),
        (
            Call("PUT", "/", ((b"content-length", b"-1"),), pieces()),
            "the content-length of the request is not a number",
        ),
    ],
)
def test_what_cannot_stand_in_a_head_is_refused(call: Call, sentence: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        HEADS.render(call)
    assert refusal.value.message == sentence


def test_the_declared_length_is_read() -> None:
    assert declared_length(Call("PUT", "/", ((b"content-length", b"12"),), pieces())) == 12
    assert declared_length(Call("PUT", "/", (), pieces())) is None


def test_lines_that_were_written_before_stand_before_the_others() -> None:
    rendered = Rendered.of(((b"x-a", b"1"), (b"host", b"evil"), (b"x-b", b"2")))
    call = Call("POST", "/x", ((b"x-c", b"3"),), b"{}", rendered=rendered)
    assert RequestHeads((b"host", b"h")).render(call) == (
        b"POST /x HTTP/1.1\r\nhost: h\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\ncontent-length: 2\r\n\r\n"
    )
    bare = Call("GET", "/x", rendered=Rendered())
    assert RequestHeads((b"host", b"h")).render(bare) == b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n"


def test_a_line_break_in_what_was_written_before_is_found() -> None:
    call = Call("GET", "/x", rendered=Rendered.of(((b"x-a", b"1\r\nx-evil: 2"),)))
    with pytest.raises(BadRequest):
        RequestHeads((b"host", b"h")).render(call)

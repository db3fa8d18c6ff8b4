"""The loader of the recordings reads what is there, byte for byte."""

import pytest

from support.recordings import folders, load, names, pairs, parse_request, parse_response, recordings, select


def test_all_of_them_are_there() -> None:
    assert folders() == ("llama-server",)
    assert len(names()) == 127
    assert sum(1 for _ in recordings()) == 127
    assert [found.name for found in recordings() if not found.response.complete] == ["cut_mid_stream"]
    assert [found.name for found in recordings() if not found.request.method] == ["garbage_request"]


def test_a_whole_answer() -> None:
    found = load("models")
    assert (found.request.method, found.request.target, found.request.body) == ("GET", "/v1/models", b"")
    assert (found.response.status, found.response.streamed) == (200, False)
    assert found.response.header("content-length") == str(len(found.response.body))
    assert found.response.json()["data"][0]["id"] == "arriero-demo"


def test_a_stream_in_its_pieces() -> None:
    response = load("chat_stream").response
    assert response.streamed
    assert len(response.pieces) > 1
    assert all(piece.endswith(b"\n\n") for piece in response.pieces)
    assert response.body.endswith(b"data: [DONE]\n\n")
    assert response.raw.endswith(b"\r\n0\r\n\r\n")


def test_a_chunked_request() -> None:
    assert load("chunked_request").request.json()["messages"] == [{"role": "user", "content": "hi"}]


def test_pairs_ask_the_same_in_both_forms() -> None:
    found = pairs("/v1/chat/completions")
    assert len(found) > 10
    for whole, streamed in found:
        assert not whole.request.json().get("stream")
        assert streamed.request.json()["stream"] is True
        assert whole.request.json()["messages"] == streamed.request.json()["messages"]


def test_selections() -> None:
    assert {found.response.status for found in select("/v1/embeddings")} == {200}
    assert all(found.response.streamed for found in select("/v1/chat/completions", streamed=True))


def test_bytes_that_are_not_whole() -> None:
    assert parse_request(b"NOT HTTP\r\n\r\n").method == ""
    cut = parse_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nab")
    assert (cut.pieces, cut.complete) == ((b"abcde", b"ab"), False)
    assert parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").complete is False
    with pytest.raises(ValueError, match="not a status line"):
        parse_response(b"HELLO\r\n\r\n")

"""Paths and methods: what is found, and what is said where nothing is."""

import asyncio

import pytest

from arriero.gateway.lane import Inbound, Lane, reply
from arriero.server.routes import Route, Table
from support.lanes import KeptLane, inbound


async def said(inbound: Inbound, lane: Lane) -> None:
    reply(lane, 200, (), inbound.path.encode())


TABLE = Table(
    [
        Route("/", ("GET", "HEAD"), said),
        Route("/api/chat", ("POST",), said, hot=True),
        Route("/api/tags", ("GET", "HEAD"), said),
        Route("/api/tags", ("DELETE",), said),
        Route("/v1/models", ("GET",), said),
        Route("/v1/models/*", ("GET",), said),
    ]
)


def ask(method: str, path: str, query: bytes = b"") -> KeptLane:
    lane = KeptLane()

    async def run() -> None:
        rest = TABLE.find(path, method).handler(inbound(method, path, query=query), lane)
        assert rest is not None
        await rest

    asyncio.run(run())
    return lane


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/api/chat"),
        ("DELETE", "/api/tags"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/openai/gpt-4o:free"),
    ],
)
def test_a_route_is_found(method: str, path: str) -> None:
    lane = ask(method, path)
    assert (lane.status, lane.body, lane.end) == (200, path.encode(), "finish")


@pytest.mark.parametrize("path", ["/nope", "/api", "/api/chat/x", "/api/chats"])
def test_an_unknown_path_is_a_plain_404(path: str) -> None:
    lane = ask("GET", path)
    assert (lane.status, lane.headers, lane.body) == (404, ((b"content-type", b"text/plain"),), b"404 page not found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/chat", b"POST"),
        ("POST", "/", b"GET, HEAD"),
        ("POST", "/api/tags", b"GET, HEAD, DELETE"),
        ("HEAD", "/v1/models/x", b"GET"),
    ],
)
def test_a_wrong_method_is_a_plain_405_that_names_the_right_ones(method: str, path: str, allow: bytes) -> None:
    lane = ask(method, path)
    assert lane.status == 405
    assert lane.headers == ((b"content-type", b"text/plain"), (b"allow", allow))
    assert lane.body == b"405 method not allowed"


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "location"),
    [
        ("GET", "/api/tags/", b"", 301, b"/api/tags"),
        ("POST", "/api/chat/", b"", 307, b"/api/chat"),
        ("GET", "/api/tags/", b"a=1", 301, b"/api/tags?a=1"),
    ],
)
def test_a_slash_too_many_is_a_redirect(method: str, path: str, query: bytes, status: int, location: bytes) -> None:
    lane = ask(method, path, query)
    assert (lane.status, lane.headers, lane.body) == (status, ((b"location", location),), b"")


def test_only_hot_routes_are_in_the_fast_lane() -> None:
    assert set(TABLE.hot) == {("/api/chat", "POST")}

"""Every route of the server: which doors there are, what stands behind each, and what counts for the rates."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from arriero.compose import DIALECTS
from arriero.gateway.door import FRONT, Door
from arriero.gateway.exchange import Policy
from arriero.gateway.kinds import SCOPES
from arriero.server import surface
from arriero.server.access import Access
from arriero.server.app import App, Limits, Settled
from arriero.server.catalog import Catalog
from arriero.server.routes import Route, Table
from arriero.server.surface import DOORS, HOUSE, LIBRARY_ROUTES, PASSED_ROUTES
from support.gateway import Played, http
from support.serving import TERMS, Answered, Asked, application, over_asgi

ENDPOINTS = [endpoint.path for dialect in DIALECTS.values() for endpoint in dialect.endpoints]
CATALOG = ["/api/tags", "/api/ps", "/api/show", "/v1/models", "/api/version"]
HI = [{"role": "user", "content": "hi"}]
CHAT = json.dumps({"model": "gpt-x", "messages": HI, "stream": False}).encode()
WHOLE = http(b'{"model":"gpt-x","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"}}]}')


async def table() -> Table:
    async with application(Played("openai", WHOLE)) as app:
        return app.table


def found(routes: Table, method: str, path: str) -> Route:
    return routes.find(path, method)


def is_there(routes: Table, method: str, path: str) -> bool:
    return found(routes, method, path) in routes.routes


async def asked(method: str, path: str, body: bytes = b"", *backends: Played) -> Answered:
    async with application(*(backends or (Played("openai", WHOLE),))) as app:
        return await over_asgi(app, Asked(method, path, body))


def value(answer: Answered, name: str) -> str | None:
    return next((value for field, value in answer.fields if field == name), None)


# ---- what is there -------------------------------------------------------------------------------------------------


def test_there_is_a_door_for_every_word_but_those_with_doors_of_their_own() -> None:
    for door in DOORS:
        assert door == Door(f"/olla/{door.scope}", door.scope, olla=True)
    assert {door.scope for door in DOORS} <= set(SCOPES)
    assert {"ollama", "openai", "openai-compatible", "proxy", "vllm", "llamacpp", "lm-studio", "lmstudio"} <= {
        door.scope for door in DOORS
    }
    assert (HOUSE.prefix, HOUSE.scope, HOUSE.olla) == ("", None, True)


async def test_the_front_has_every_endpoint() -> None:
    routes = await table()
    for path in ENDPOINTS:
        route = found(routes, "POST", path)
        assert (route.path, route.door, route.hot, route.limited) == (path, FRONT, True, True)
    for path in CATALOG:
        assert is_there(routes, "POST" if path == "/api/show" else "GET", path), path
    assert found(routes, "GET", "/arriero/api/explain").limited is False


async def test_every_door_has_what_the_front_has() -> None:
    routes = await table()
    for door in DOORS:
        for path in ENDPOINTS:
            route = found(routes, "POST", door.prefix + path)
            assert (route.path, route.door, route.hot, route.limited) == (door.prefix + path, door, True, True)
            assert route.inner(door.prefix + path) == path
        for path, methods in LIBRARY_ROUTES:
            for method in methods:
                route = found(routes, method, door.prefix + path.replace("*", "sha256:x"))
                assert (route.door, route.limited, route.streams_upload) == (door, True, path.endswith("*"))
        assert is_there(routes, "GET", f"{door.prefix}/api/tags")
        assert is_there(routes, "GET", f"{door.prefix}/v1/models")


async def test_whatever_a_door_has_no_words_for_is_passed_on_by_any_method() -> None:
    routes = await table()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"):
        for path in ("/v1/whatever", "/api/whatever", "/tokenize"):
            route = found(routes, method, f"/olla/ollama{path}")
            assert (route.door.scope, route.hot, route.limited) == ("ollama", False, True)
            assert route in routes.routes
    assert found(routes, "POST", "/olla/vllm/v1/x").handler != found(routes, "POST", "/olla/vllm/x").handler


async def test_the_front_passes_on_only_what_it_is_told_to() -> None:
    routes = await table()
    for path in PASSED_ROUTES:
        assert is_there(routes, "POST", path.replace("*", "x"))
    for path in ("/v1/whatever", "/api/whatever", "/tokenize", "/_scripted/play", "/olla", "/olla/nobody/api/chat"):
        assert not is_there(routes, "POST", path), path


async def test_what_tells_of_the_house_has_ollas_fields_and_costs_nobody_anything() -> None:
    routes = await table()
    for path in (
        "/internal/health",
        "/internal/status",
        "/internal/status/endpoints",
        "/internal/status/models",
        "/internal/stats/models",
        "/internal/stats/translators",
        "/internal/stats/sticky",
        "/internal/process",
        "/internal/metrics",
        "/version",
        "/olla/models",
        "/olla/models/llama3.2:latest",
    ):
        route = found(routes, "GET", path)
        assert (route in routes.routes, route.door, route.limited) == (True, HOUSE, False), path


async def test_ollama_proxys_pages_stand_at_the_front_and_cost_nobody_anything() -> None:
    routes = await table()
    for path in (
        "/health",
        "/health/",
        "/health/detailed",
        "/health/metrics",
        "/health/providers",
        "/health/providers/openai",
        "/metrics",
        "/api/providers",
        "/api/providers/openai/stats",
        "/api/tags/openai",
    ):
        for method in ("GET", "HEAD"):
            route = found(routes, method, path)
            assert (route in routes.routes, route.door, route.limited) == (True, FRONT, False), path
        assert not is_there(routes, "GET", f"/olla{path}"), path


async def test_health_says_what_the_operator_calls_this_installation() -> None:
    async with application(Played("openai", WHOLE)) as app:
        policy = Policy()
        catalog = Catalog(app.roster, DIALECTS, tagged=True)
        terms = replace(TERMS, environment="staging")
        routes = surface.table(app, DIALECTS, catalog=catalog, policy=policy, started=0.0, terms=terms)
        app.settle(Settled(routes, Access((), checks_host=True), Limits(), policy))
        answer = await over_asgi(app, Asked("GET", "/health"))
    assert (answer.status, json.loads(answer.body)["environment"]) == (200, "staging")


async def test_a_page_of_two_forms_has_one_address() -> None:
    for accept, type in (("*/*", "application/json"), ("text/plain", "text/plain; version=0.0.4; charset=utf-8")):
        async with application(Played("openai", WHOLE)) as app:
            answer = await over_asgi(app, Asked("GET", "/metrics", fields=(("accept", accept),)))
        assert (answer.status, value(answer, "content-type"), value(answer, "vary")) == (200, type, "Accept")


async def test_no_two_routes_take_the_same_request() -> None:
    routes = await table()
    seen: set[tuple[str, str]] = set()
    for route in routes.routes:
        for method in route.methods or ("*",):
            assert (route.path, method) not in seen, (route.path, method)
            seen.add((route.path, method))


async def test_a_door_without_its_slash_is_redirected() -> None:
    answer = await asked("GET", "/olla/ollama")
    assert (answer.status, value(answer, "location")) == (301, "/olla/ollama/")


# ---- through the doors ---------------------------------------------------------------------------------------------


async def test_one_request_through_three_doors() -> None:
    for path in ("/v1/chat/completions", "/olla/openai/v1/chat/completions", "/olla/proxy/v1/chat/completions"):
        backend = Played("openai", WHOLE)
        answer = await asked("POST", path, CHAT, backend)
        assert (answer.status, backend.seen[0][0]) == (200, "POST /v1/chat/completions HTTP/1.1")
        assert (value(answer, "x-olla-endpoint"), value(answer, "x-olla-routing-reason")) == (
            ("openai", "model_found") if path.startswith("/olla/") else (None, None)
        )


async def test_a_door_lets_nobody_through_to_others() -> None:
    backend = Played("openai", WHOLE)
    answer = await asked("POST", "/olla/vllm/v1/chat/completions", CHAT, backend)
    assert (answer.status, backend.seen, value(answer, "x-olla-routing-decision")) == (404, [], "rejected")


async def test_every_answer_at_ollas_doors_has_the_request_id() -> None:
    async with application(Played("openai", WHOLE)) as app:
        for method, path in (
            ("GET", "/olla/ollama/api/tags"),
            ("GET", "/olla/ollama/whatever"),
            ("DELETE", "/olla/openai/v1/chat/completions"),  # with another method it is passed on
            ("GET", "/olla/vllm"),
            ("GET", "/internal/health"),
            ("GET", "/version"),
        ):
            door = found(app.table, method, path).door
            assert app.marked(door, "abc") == ((b"x-olla-request-id", b"abc"),), path
        assert app.marked(found(app.table, "GET", "/api/tags").door, "abc") == ()


async def test_nothing_leads_out_through_a_door() -> None:
    backend = Played("openai", WHOLE)
    for path in ("/olla/openai/../x", "/olla/openai/v1/../../x", "/olla/openai/_scripted/play"):
        answer = await asked("GET", path, b"", backend)
        assert (answer.status, backend.seen) == (404 if "_scripted" in path else 400, [])


async def test_errors_are_in_the_doors_dialect() -> None:
    unknown = json.dumps({"model": "nope", "messages": HI}).encode()
    ollama = await asked("POST", "/olla/openai/api/chat", unknown)
    openai = await asked("POST", "/olla/openai/v1/chat/completions", unknown)
    passed = await asked("POST", "/olla/openai/v1/whatever", unknown)
    said: list[Any] = [json.loads(answer.body)["error"] for answer in (ollama, openai, passed)]
    assert said[0] == "model 'nope' not found"
    assert [each["code"] for each in said[1:]] == ["model_not_found"] * 2


@pytest.mark.parametrize("path", ["/olla/nobody/api/tags", "/olla/", "/internal/nothing", "/internal"])
async def test_what_is_not_there(path: str) -> None:
    assert (await asked("GET", path)).status == 404


async def test_an_application_that_is_settled_anew_has_the_new_table() -> None:
    async with application(Played("openai", WHOLE)) as app:
        assert isinstance(app, App)
        before = app.table
        assert before.find("/api/chat", "POST").hot
        assert before.hot[("/olla/ollama/api/chat", "POST")].door.scope == "ollama"

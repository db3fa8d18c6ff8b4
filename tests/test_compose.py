"""From a configuration to its parts: each setting reaches the part that it is for."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any, get_args

import pytest

from arriero.backends.http.call import Timeouts
from arriero.backends.remote import Ollama, OpenAI
from arriero.canonical.catalog import Capability
from arriero.compose import LOCAL_CHECKS, SEATED, USER_AGENT, adopt, build, build_backend, build_roster
from arriero.compose import seat as seat_of
from arriero.config import Config, OllamaConfig, OpenAIConfig
from arriero.config.schema import RoutingConfig
from arriero.errors import ArrieroError
from arriero.filters.rules import Clamp
from arriero.gateway.choice import Retrying
from arriero.gateway.entry import Seat
from arriero.gateway.told import Told
from arriero.routing.decide import Rules
from arriero.routing.names import Patterns
from support.engine import eventually
from support.raw_backend import Peer, RawBackend

OLLAMA = {"name": "gpu", "kind": "ollama", "url": "http://10.0.0.5:11434"}
OPENAI = {"name": "lab", "kind": "openai", "url": "http://10.0.0.6:8000/v1", "profile": "vllm"}
SCRIPTED = {"name": "play", "kind": "scripted"}


def config(*backends: dict[str, Any], **sections: Any) -> Config:
    return Config.model_validate({"backends": list(backends), **sections})


def seat(backend: dict[str, Any], **settings: Any) -> Seat:
    found = config({**backend, **settings})
    (entry,) = build_roster(found).entries.values()
    return entry.seat


def built(backend: dict[str, Any], **sections: Any) -> Any:
    found = config(backend, **sections)
    return build_backend(found, found.backends[0])


# ---- backends ------------------------------------------------------------------------------------------------------


def test_each_kind_is_built() -> None:
    gpu, lab = built(OLLAMA), built(OPENAI)
    assert (type(gpu), gpu.name, gpu.kind, gpu.where) == (Ollama, "gpu", "ollama", "http://10.0.0.5:11434")
    assert (type(lab), lab.name, lab.kind, lab.where) == (OpenAI, "lab", "openai", "http://10.0.0.6:8000/v1")
    assert built(SCRIPTED).kind == "scripted"


def test_an_engine_is_built_without_touching_the_disk(tmp_path: Path) -> None:
    backend = built({"name": "local", "kind": "engine", "models_dir": str(tmp_path / "none")})
    assert (backend.name, backend.kind, backend.where) == ("local", "engine", "this machine")
    assert not (tmp_path / "none").exists()


def test_the_roster_has_them_in_the_order_of_the_file() -> None:
    assert list(build_roster(config(OPENAI, OLLAMA, SCRIPTED)).entries) == ["lab", "gpu", "play"]


def test_an_ollama_server_speaks_both_dialects_unless_told_otherwise() -> None:
    assert dict(built(OLLAMA).roots) == {"ollama": "", "openai": "/v1"}
    assert dict(built({**OLLAMA, "openai_api": False}).roots) == {"ollama": ""}


def test_keys_and_headers_go_into_the_head_of_every_request() -> None:
    lab = built({**OPENAI, "api_key": "sk-secret", "headers": {"X-Team": "lab"}})
    fields = {name.lower(): value for name, value in lab.headers}
    assert (fields[b"authorization"], fields[b"x-team"]) == (b"Bearer sk-secret", b"lab")
    assert fields[b"user-agent"] == USER_AGENT.encode()
    assert "sk-secret" not in repr(lab) + lab.where


def test_timeouts_are_the_common_ones_unless_a_backend_has_its_own() -> None:
    common = {"connect": 1, "first_byte": 2, "idle": 3, "total": None}
    assert built(OPENAI, timeouts=common).pool.timeouts == Timeouts(1, 2, 3, None)
    own = {**OPENAI, "timeouts": {"first_byte": 60, "total": 9}}
    assert built(own, timeouts=common).pool.timeouts == Timeouts(1, 60, 3, 9)


def test_what_cannot_be_built_is_named() -> None:
    wrong = {**OPENAI, "url": "https://10.0.0.6/v1", "tls": {"ca_file": "/nowhere.pem"}}
    with pytest.raises(ArrieroError, match=r"^backend lab: "):
        built(wrong)


# ---- seats ---------------------------------------------------------------------------------------------------------


def test_a_seat_is_what_the_operator_says_of_a_backend() -> None:
    found = seat(
        OPENAI,
        priority=7,
        weight=2,
        max_concurrency=3,
        check_interval=0,
        check_timeout=4,
        extra_models=["hidden"],
        models={
            "include": ["a*"],
            "exclude": ["*b"],
            "capabilities": {"a*": ["completion", "tools"]},
            "context_length": {"*": 99},
        },
    )
    assert found == Seat(
        priority=7,
        weight=2.0,
        max_concurrency=3,
        check_interval=0,
        check_timeout=4,
        patterns=Patterns(("a*",), ("*b",)),
        extra_models=("hidden",),
        told=Told({"a*": frozenset({Capability.COMPLETION, Capability.TOOLS})}, {"*": 99}),
    )


def test_backends_of_this_machine_are_looked_at_often_and_waited_for() -> None:
    found = seat(SCRIPTED)
    assert (found.check_interval, found.check_timeout) == LOCAL_CHECKS
    remote = seat(OLLAMA)
    assert (remote.check_interval, remote.check_timeout) == (5.0, 2.0)


# ---- the application -----------------------------------------------------------------------------------------------


def test_limits_reach_the_server() -> None:
    app = build(config(limits={"max_body_bytes": 11, "max_header_bytes": 2222}))
    assert (app.max_body_bytes, app.max_header_bytes) == (11, 2222)


def test_one_address_of_this_machine_alone_is_enough_for_the_check() -> None:
    access = build(config(server={"listen": ["10.0.0.1:1", "127.0.0.1:2"]})).access
    evil = ((b"host", b"evil.example"),)
    assert (access.check("GET", evil, local=True).status, access.check("GET", evil, local=False).status) == (403, None)


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 403), ("::1", 403), ("localhost", 403), ("0.0.0.0", None), ("10.0.0.1", None)]
)
def test_the_host_is_checked_where_only_this_machine_can_ask(host: str, status: int | None) -> None:
    app = build(config(server={"host": host}))
    assert app.access.check("GET", ((b"host", b"evil.example"),)).status == status


def test_origins_of_the_configuration_are_allowed() -> None:
    app = build(config(server={"cors_origins": ["https://app.example"]}))
    assert app.access.check("GET", ((b"origin", b"https://app.example"),)).status is None
    assert app.access.check("GET", ((b"origin", b"https://evil.example"),)).status == 403


def test_filters_become_rules() -> None:
    filter = {
        "models": ["qwen*"],
        "defaults": {"temperature": 0.6},
        "clamps": {"max_tokens": {"max": 10}},
        "set": {"seed": 4},
        "strip": ["logit_bias"],
        "think_tags": "false",
    }
    (rule,) = build(config(filters=[filter]))._policy.rules
    assert (rule.models, rule.defaults, rule.force) == (("qwen*",), {"temperature": 0.6}, {"seed": 4})
    assert rule.clamps == {"max_tokens": Clamp(max=10)}
    assert (rule.strip, rule.think_tags) == (frozenset({"logit_bias"}), False)
    (auto,) = build(config(filters=[{"think_tags": "auto"}]))._policy.rules
    assert (auto.models, auto.think_tags) == (("*",), None)


def test_attempts_and_aliases_reach_the_gateway() -> None:
    app = build(config(OLLAMA, routing={"retry": {"attempts": 5}, "aliases": {"fast": ["tiny"]}}))
    assert app._policy.routing.retrying.attempts == 5
    assert list(app.roster.names.aliases) == ["fast"]


def test_how_a_failure_is_tried_again_reaches_the_gateway() -> None:
    retry = {"statuses": [500], "attempts": 4, "budget_seconds": None, "where": "same"}
    made = build(config(OLLAMA, routing={"retry": retry}))._policy.routing.retrying
    assert made == Retrying(statuses=frozenset({500}), attempts=4, budget_seconds=None, same=True)
    assert build(config(OLLAMA))._policy.routing.retrying == Retrying()


@pytest.mark.parametrize("policy", get_args(RoutingConfig.model_fields["policy"].annotation))
def test_every_policy_reaches_the_gateway(policy: str) -> None:
    made = build(config(OLLAMA, routing={"policy": policy, "prefer_loaded": False}))._policy.routing.rules
    assert made == Rules(policy, prefer_loaded=False)


# ---- another configuration while it runs ---------------------------------------------------------------------------


SEATS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (OLLAMA, {"priority": 7}),
    (OLLAMA, {"weight": 2}),
    (OLLAMA, {"max_concurrency": 3}),
    (OLLAMA, {"check_interval": 9}),
    (OLLAMA, {"check_timeout": 9}),
    (OLLAMA, {"models_interval": 9}),
    (OLLAMA, {"models": {"include": ["a*"]}}),
    ({**OPENAI, "extra_models": ["b"]}, {"extra_models": ["a"]}),
    (SCRIPTED, {"priority": 7}),
]

MAKINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (OLLAMA, {"url": "http://10.0.0.7:11434"}),
    (OLLAMA, {"api_key": "sk-other"}),
    (OLLAMA, {"headers": {"X-Team": "lab"}}),
    (OLLAMA, {"timeouts": {"idle": 9}}),
    (OLLAMA, {"proxy": "http://proxy:3128"}),
    (OLLAMA, {"tls": {"verify": False}}),
    (OLLAMA, {"openai_api": False}),
    (OLLAMA, {"check_path": "/healthy"}),
    (OPENAI, {"profile": "generic"}),
    (OPENAI, {"query": {"api-version": "2024-10-21"}}),
    # They say whether there has to be a list.
    (OPENAI, {"extra_models": ["a"]}),
    ({**OPENAI, "profile": "perplexity"}, {"extra_models": ["sonar"]}),
    (OLLAMA, {**OPENAI, "name": "gpu"}),
    ({"name": "local", "kind": "engine"}, {"keep_alive": 9}),
]


@pytest.mark.parametrize(("backend", "change"), SEATS)
async def test_a_backend_that_only_sits_elsewhere_is_the_same_object(
    backend: dict[str, Any], change: dict[str, Any]
) -> None:
    before, after = config(backend), config({**backend, **change})
    app = build(before)
    made = app.roster.entries[backend["name"]].backend
    await adopt(app, before, after)
    (entry,) = app.roster.entries.values()
    assert (entry.backend is made, entry.seat) == (True, seat_of(after, after.backends[0]))
    assert entry.seat != seat_of(before, before.backends[0])


@pytest.mark.parametrize(("backend", "change"), MAKINGS)
async def test_a_backend_that_is_made_of_something_else_is_another_object(
    backend: dict[str, Any], change: dict[str, Any]
) -> None:
    before, after = config(backend), config({**backend, **change})
    app = build(before)
    made = app.roster.entries[backend["name"]].backend
    await adopt(app, before, after)
    assert [entry.backend is made for entry in app.roster.entries.values()] == [False]
    await app.roster.close()


def test_every_setting_of_a_backend_has_been_thought_of() -> None:
    """A new one belongs to the seat, or a change of it makes another object."""
    thought_of = {setting for backend, change in (*SEATS, *MAKINGS) if "url" in backend for setting in change}
    assert {*OllamaConfig.model_fields, *OpenAIConfig.model_fields} == {*thought_of, "name", "kind", "discover"}
    assert {setting for _, change in SEATS for setting in change} | {"discover"} == SEATED


@pytest.mark.parametrize(
    "sections",
    [
        {"timeouts": {"idle": 9}},
        {"proxy": {"http": "http://proxy:3128"}},
    ],
)
async def test_common_settings_that_reach_into_a_backend_make_another_one(sections: dict[str, Any]) -> None:
    before, after = config(OLLAMA, SCRIPTED), config(OLLAMA, SCRIPTED, **sections)
    app = build(before)
    gpu = app.roster.entries["gpu"].backend
    await adopt(app, before, after)
    assert app.roster.entries["gpu"].backend is not gpu
    await app.roster.close()


async def test_common_settings_that_a_backend_has_of_its_own_do_not() -> None:
    own = {**OLLAMA, "timeouts": {"idle": 3}, "proxy": "direct"}
    before = config(own)
    after = config(own, timeouts={"idle": 9}, proxy={"http": "http://proxy:3128"}, limits={"burst": 3})
    app = build(before)
    gpu = app.roster.entries["gpu"].backend
    await adopt(app, before, after)
    assert app.roster.entries["gpu"].backend is gpu
    await app.roster.close()


async def test_one_that_cannot_be_built_refuses_the_whole() -> None:
    before = config(OLLAMA)
    wrong = {**OPENAI, "url": "https://10.0.0.6/v1", "tls": {"ca_file": "/nowhere.pem"}}
    after = config({**OLLAMA, "priority": 7}, {**SCRIPTED}, wrong, routing={"aliases": {"fast": ["tiny"]}})
    app = build(before)
    table, entries = app.table, dict(app.roster.entries)
    with pytest.raises(ArrieroError, match=r"^backend lab: "):
        await adopt(app, before, after)
    assert (app.table is table, app.roster.entries, entries["gpu"].seat.priority) == (True, entries, 100)
    assert app.roster.names.aliases == {}
    await app.roster.close()


async def test_cancelled_it_leaves_nothing_of_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scripted backend has a socket as soon as it is asked."""

    async def hang(peer: Peer) -> None:
        await peer.gone()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with RawBackend(hang) as silent:
        before, after = config(), config(SCRIPTED, {**OLLAMA, "url": silent.url})
        app = build(before)
        await app.roster.start()
        adopting = asyncio.create_task(adopt(app, before, after))
        await eventually(lambda: len(os.listdir(tmp_path)) == 1)
        adopting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adopting
        assert (os.listdir(tmp_path), app.roster.entries) == ([], {})
        await app.roster.close()


async def test_everything_else_is_settled_too() -> None:
    before = config(OLLAMA)
    after = config(
        OLLAMA,
        limits={"max_body_bytes": 11},
        routing={"aliases": {"fast": ["tiny"]}, "queue": {"max_waiting": 7}, "sticky": {"enabled": True}},
    )
    app = build(before)
    await adopt(app, before, after)
    assert (app.max_body_bytes, list(app.roster.names.aliases), app.roster.queue.most) == (11, ["fast"], 7)
    assert app.roster.sessions is not None
    await app.roster.close()

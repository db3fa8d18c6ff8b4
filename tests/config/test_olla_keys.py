import inspect
from typing import Any

import pytest

from arriero.config import backends
from arriero.config.olla_keys import ENDPOINTS, KEYS, OTHER_VARIABLES, TYPES, VARIABLES, Key
from arriero.config.problems import keys_at
from arriero.config.vendors import is_known

BY_NAME = {key.name: key for key in KEYS}

VALUES: list[tuple[str, Any, Any]] = [
    # key, what the file says -> the value in arriero's units
    ("server.host", "0.0.0.0", "0.0.0.0"),
    ("server.port", 8080, 8080),
    ("server.shutdown_timeout", "1m", 60.0),
    ("dashboard.enabled", False, False),
    ("dashboard.access_policy.allowed_cidrs", ["10.0.0.0/8"], ["10.0.0.0/8"]),
    ("dashboard.access_policy.allowed_hosts", ["gpu"], ["gpu"]),
    ("server.request_limits.max_body_size", "50MiB", 50 << 20),
    ("server.request_limits.max_body_size", 0, 1 << 62),
    ("server.request_limits.max_header_size", 524288, 524288),
    ("server.request_limits.max_header_size", 100, 4096),
    ("server.request_limits.max_header_size", 0, 1 << 20),
    ("server.rate_limits.global_requests_per_minute", 10, 10),
    ("server.rate_limits.global_requests_per_minute", 0, None),
    ("server.rate_limits.per_ip_requests_per_minute", 0, None),
    ("server.rate_limits.burst_size", 5, 5),
    ("proxy.load_balancer", "round-robin", "round-robin"),
    ("proxy.connection_timeout", "40s", 40.0),
    ("proxy.connection_timeout", "0s", None),
    ("proxy.read_timeout", "10m", 600.0),
    ("proxy.response_header_timeout", "180s", 180.0),
    ("proxy.sticky_sessions.enabled", True, True),
    ("proxy.sticky_sessions.idle_ttl_seconds", 60, 60),
    ("proxy.sticky_sessions.idle_ttl_seconds", 0, 365 * 86400.0),
    ("proxy.sticky_sessions.max_sessions", 7, 7),
    (
        "proxy.sticky_sessions.key_sources",
        ["session_header", "prefix_hash", "auth_header", "ip"],
        ["header", "prefix", "authorization", "address"],
    ),
    ("logging.level", "warn", "warning"),
    ("logging.format", "json", "auto"),
    ("logging.format", "text", "text"),
]


@pytest.mark.parametrize(("name", "said", "value"), VALUES)
def test_values(name: str, said: Any, value: object) -> None:
    assert BY_NAME[name].read(said) == value


def test_every_key_that_sets_something_is_tried() -> None:
    assert {key.name for key in KEYS if key.setting} == {name for name, *_ in VALUES}


@pytest.mark.parametrize("key", [key for key in KEYS if key.setting], ids=lambda key: key.name)
def test_a_key_sets_what_there_is(key: Key) -> None:
    *sections, name = key.setting.split(".")
    assert name in keys_at(tuple(sections))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_says_what_becomes_of_it(key: Key) -> None:
    assert key.setting or key.does
    assert not (key.ignored and (key.setting or key.default is not None))
    assert key.ignored or not key.agrees


def test_no_key_is_there_twice() -> None:
    assert len(BY_NAME) == len(KEYS)
    assert len({row.name for row in VARIABLES} | OTHER_VARIABLES.keys()) == len(VARIABLES) + len(OTHER_VARIABLES)


def test_every_variable_has_its_key() -> None:
    assert [row for row in VARIABLES if row.key not in BY_NAME] == []


def test_every_type_has_its_kind_and_profile() -> None:
    assert {type.kind for type in TYPES.values()} == {"ollama", "openai"}
    assert [type for type in TYPES.values() if type.profile is not None and not is_known(type.profile)] == []
    assert all(type.base.endswith("/v1") for type in TYPES.values() if type.kind == "openai")


def test_what_an_endpoint_sets_is_a_setting_of_a_backend() -> None:
    source = inspect.getsource(backends)
    for key in KEYS:
        if key.name.startswith(f"{ENDPOINTS}[]") and key.does.startswith("`backends[]."):
            assert f"    {key.does.split('`')[1].removeprefix('backends[].').split('.')[-1]}:" in source

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from arriero.config.environment import Origin, Variables
from arriero.config.olla_keys import KEYS, OTHER_VARIABLES, Key
from arriero.config.olla_reading import Reading, Said, read


class Reader:
    """Reads a text as the file `config.yaml`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"

    def __call__(self, text: str, env: Mapping[str, str] | None = None) -> Reading:
        self.path.write_text(text)
        return read(self.path, Variables(env or {}))

    def problems(self, text: str, env: Mapping[str, str] | None = None) -> list[str]:
        return [problem.replace(f"{self.path.parent}/", "") for problem in self(text, env).problems]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_what_is_said_and_where(reader: Reader) -> None:
    reading = reader("server:\n  port: 1\nproxy:\n  read_timeout: 5m\n")
    place = f"{reader.path}:4: proxy.read_timeout"
    assert reading.find("proxy", "read_timeout") == Said(300.0, Origin("file", "config.yaml:4"), place)
    assert reading.value("server", "port") == 1
    assert reading.value("server", "host") is None
    assert (reading.problems, reading.warnings) == ([], [])


def test_lists_of_mappings_and_free_names(reader: Reader) -> None:
    reading = reader(
        "discovery:\n  static:\n    endpoints:\n      - {url: a, headers: {X.A: 1, B: x}}\n      - {url: b}\n"
        "model_aliases:\n  llama3.1: [a, b]\n"
    )
    where = ("discovery", "static", "endpoints")
    assert reading.lengths == {where: 2}
    assert [reading.value(*where, position, "url") for position in (0, 1)] == ["a", "b"]
    assert [(name, said.value) for name, said in reading.below(*where, 0, "headers")] == [("X.A", "1"), ("B", "x")]
    assert [(name, said.value) for name, said in reading.below("model_aliases")] == [("llama3.1", ["a", "b"])]


@pytest.mark.parametrize("text", ["", "server:\n", "server:\n  cors:\n", "discovery: {static: {endpoints: }}"])
def test_a_section_without_a_value_says_nothing(reader: Reader, text: str) -> None:
    reading = reader(text)
    assert (reading.said, reading.lengths, reading.problems, reading.warnings) == ({}, {}, [], [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("servr: {}", "config.yaml:1: servr: unknown key, in Olla too; the nearest known one is 'server'"),
        (
            "proxy:\n  sticky_sessions:\n    enable: true",
            "config.yaml:3: proxy.sticky_sessions.enable: unknown key, in Olla too; the nearest known one is 'enabled'",
        ),
        (
            "discovery: {static: {endpoints: [{nme: a}]}}",
            "config.yaml:1: discovery.static.endpoints[0].nme: unknown key, in Olla too; "
            "the nearest known one is 'name'",
        ),
        (
            "dashboard: {allowed_cidrs: []}",
            "config.yaml:1: dashboard.allowed_cidrs: unknown key, in Olla too; the nearest known one is 'enabled'",
        ),
        ("server: 5", "config.yaml:1: server: is not a mapping of keys to values"),
        ("discovery: {static: {endpoints: {}}}", "config.yaml:1: discovery.static.endpoints: is not a list"),
        (
            "discovery: {static: {endpoints: [a]}}",
            "config.yaml:1: discovery.static.endpoints[0]: is not a mapping of keys to values",
        ),
        (
            "proxy:\n  read_timeout: 10 minutes",
            "config.yaml:2: proxy.read_timeout: is not a duration such as 30s, 5m or 1h30m; the unit must be there",
        ),
        (
            "proxy: {load_balancer: least_conn}",
            "config.yaml:1: proxy.load_balancer: is not one of least-connections, priority, round-robin; "
            "did you mean least-connections?",
        ),
        ("server: {port: 0}", "config.yaml:1: server.port: is not a port from 1 to 65535"),
        ("server: {host: '${NO}'}", "config.yaml:1: server.host: the variable NO is not set"),
        ("discovery: {type: consul}", "config.yaml:1: discovery.type: is not one of static"),
        ("a: [", "config.yaml:1:5: is not YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_problems(reader: Reader, text: str, problem: str) -> None:
    assert reader.problems(text) == [problem]


# ---- what is not honoured -------------------------------------------------------------------------------------------

IGNORED = [key for key in KEYS if key.ignored]
WORDS = {"model_aliases_mode": "hidden", "server.write_timeout": "1s", "server.idle_timeout": "1s"}


def nested(name: str, value: Any) -> str:
    *sections, last = name.split(".")
    return "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(sections)) + (
        f"{'  ' * len(sections)}{last}: {value}\n"
    )


def other_than(key: Key) -> str:
    """A value that the key takes and that arriero does not do."""
    if key.name in WORDS:
        return WORDS[key.name]
    return str(not key.agrees[0]).lower() if key.agrees in ((True,), (False,)) else "[x]"


@pytest.mark.parametrize("key", [key for key in IGNORED if key.agrees not in (("static",), ("memory",))])
def test_a_key_that_is_not_honoured_is_named_with_its_line(reader: Reader, key: Key) -> None:
    text = nested(key.name, other_than(key))
    reading = reader(text)
    line = len(text.splitlines())
    assert reading.warnings == [f"config.yaml:{line}: {key.name} is ignored: {key.does}"]
    assert reading.problems == []


@pytest.mark.parametrize("key", [key for key in IGNORED if key.agrees])
def test_a_key_that_says_what_arriero_does_anyway_is_not_named(reader: Reader, key: Key) -> None:
    value = f"{key.agrees[0]:g}s" if isinstance(key.agrees[0], float) else str(key.agrees[0])
    reading = reader(nested(key.name, value))
    assert (reading.warnings, reading.problems) == ([], [])


def test_the_file_and_the_line_of_a_dead_section(reader: Reader) -> None:
    assert reader("proxy:\n  engine: olla\n  retry: {enabled: true, max_attempts: 0}\n").warnings == [
        "config.yaml:2: proxy.engine is ignored: arriero carries every request in the same way",
        "config.yaml:3: proxy.retry is ignored: Olla does not read it either; `routing.retry` is arriero's setting",
    ]


# ---- variables ------------------------------------------------------------------------------------------------------


def test_a_variable_beats_the_file(reader: Reader) -> None:
    reading = reader("server: {port: 1}", {"OLLA_SERVER_PORT": "2", "OLLA_SERVER_HOST": ""})
    origin = Origin("environment", "OLLA_SERVER_PORT")
    assert reading.find("server", "port") == Said(2, origin, "OLLA_SERVER_PORT (server.port)")
    assert reading.find("server", "host") is None


def test_lists_and_words_of_variables(reader: Reader) -> None:
    env = {
        "OLLA_SERVER_CORS_ENABLED": "1",
        "OLLA_SERVER_CORS_ALLOWED_ORIGINS": "http://a,http://b",
        "OLLA_SERVER_TRUST_PROXY_HEADERS": "TRUE",
        "OLLA_SERVER_MAX_BODY_SIZE": "50MB",
        "OLLA_LOGGING_FORMAT": "json",
        "OLLA_PROXY_RESPONSE_HEADER_TIMEOUT": "3m",
    }
    reading = reader("logging: {format: text}", env)
    assert (reading.problems, reading.warnings) == ([], [])
    assert {where[-1]: said.value for where, said in reading.said.items()} == {
        "enabled": True,
        "allowed_origins": ["http://a", "http://b"],
        "trust_proxy_headers": True,
        "max_body_size": 50 << 20,
        "format": "json",
        "response_header_timeout": 180.0,
    }


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("OLLA_SERVER_PORT", "high", "OLLA_SERVER_PORT (server.port): is not a whole number"),
        (
            "OLLA_PROXY_READ_TIMEOUT",
            "300",
            "OLLA_PROXY_READ_TIMEOUT (proxy.read_timeout): "
            "is not a duration such as 30s, 5m or 1h30m; the unit must be there",
        ),
        (
            "OLLA_PROXY_LOAD_BALANCER",
            "fair",
            "OLLA_PROXY_LOAD_BALANCER (proxy.load_balancer): is not one of least-connections, priority, round-robin",
        ),
        (
            "OLLA_PROXY_STICKY_SESSIONS_ENABLED",
            "maybe",
            "OLLA_PROXY_STICKY_SESSIONS_ENABLED (proxy.sticky_sessions.enabled): is not true or false",
        ),
    ],
)
def test_a_bad_variable_is_named(reader: Reader, name: str, value: str, problem: str) -> None:
    assert reader.problems("", {name: value}) == [problem]


def test_variables_that_do_nothing_are_named(reader: Reader) -> None:
    env = {"OLLA_PROXY_ENGINE": "sherpa", "OLLA_LOG_DIR": "/l", "OLLA_SERVER_PROT": "1", "OLLA_CONFIG_FILE": "x"}
    assert reader("", {**env, "OLLAMA_HOST": "h"}).warnings == [
        "OLLA_PROXY_ENGINE is ignored: arriero carries every request in the same way",
        "OLLA_LOG_DIR is ignored: log lines go to stderr",
        "OLLA_SERVER_PROT is no variable of Olla's and is ignored; the nearest one is OLLA_SERVER_PORT",
    ]
    assert all(
        reader("", {name: "x"}).warnings == [f"{name} is ignored: {why}"] for name, why in OTHER_VARIABLES.items()
    )

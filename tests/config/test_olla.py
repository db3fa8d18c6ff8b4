"""A start from Olla's configuration: rows 13, 29, 30, 43 and 44 of what a drop-in must do, and every key of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.config import Config, ConfigError, Flags, Loaded, OllamaConfig, OpenAIConfig, load
from arriero.config.listing import rows
from arriero.config.olla_keys import KEYS, VARIABLES
from support.config import Place, names

SECRET = "MARKER5ECRET"
OLLA = Flags(olla_config="config.yaml")
ONE = "discovery: {static: {endpoints: [{url: 'http://h:1', name: a, type: ollama}]}}\n"

FULL = """\
server:
  host: 0.0.0.0
  port: 40115
  read_timeout: 20s
  write_timeout: 0s            # says what arriero does
  shutdown_timeout: 30s
  cors:
    enabled: true
    allowed_origins: [http://localhost:3000, "https://*.example.org"]
    allow_credentials: true
  request_limits: {max_body_size: 50MB, max_header_size: 524288}
  rate_limits:
    global_requests_per_minute: 600
    per_ip_requests_per_minute: 0
    burst_size: 20
    trust_proxy_headers: true
    trusted_proxy_cidrs: [10.0.0.0/8]
proxy:
  engine: olla
  load_balancer: priority
  connection_timeout: 10s
  read_timeout: 2m
  response_header_timeout: 180s
  sticky_sessions:
    enabled: true
    idle_ttl_seconds: 900
    max_sessions: 50
    key_sources: [session_header, ip]
discovery:
  type: static
  static:
    endpoints:
      - url: http://10.0.0.5:11434
        name: Studio Mac
        type: ollama
        priority: 100
        health_check_url: /
        check_interval: 5s
        check_timeout: 2s
        model_filter: {exclude: ["*embed*"]}
      - url: http://10.0.0.6:8000
        name: lab-vllm
        type: vllm
        priority: 50
        health_check_url: /health
        headers: {X-Team: lab}
        auth: {type: bearer, token: "${VLLM_KEY}"}
      - url: https://openrouter.ai/api/v1
        name: router
        type: openai-compatible
        preserve_path: true
        check_interval: 2m
        check_timeout: 10s
        auth: {type: bearer, token_file: router.key}
  model_discovery: {enabled: true, interval: 10m}
model_registry:
  type: memory
  enable_unifier: true
  routing_strategy: {type: optimistic, options: {fallback_behavior: all}}
model_aliases:
  my-llama: ["llama3.1:8b", llama-3.1-8b-instruct]
logging: {level: warn, format: text}
"""


def olla(place: Place, text: str, env: Mapping[str, str] | None = None, flags: Flags = OLLA) -> Loaded:
    (place.cwd / "config.yaml").write_text(text)
    return place.load(flags, env)


def fails(place: Place, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    (place.cwd / "config.yaml").write_text(text)
    return place.fails(OLLA, env)


def setting(config: Config, name: str) -> object:
    value: Any = config
    for part in name.split("."):
        value = next(item for item in value if item.name == part) if isinstance(value, tuple) else getattr(value, part)
    return value


def said(config: Config, wanted: Mapping[str, Any]) -> dict[str, object]:
    return {name: setting(config, name) for name in wanted}


# ---- a whole file ---------------------------------------------------------------------------------------------------


def test_a_whole_file(place: Place) -> None:
    (place.cwd / "router.key").write_text(f"{SECRET}\n")
    loaded = olla(place, FULL, {"VLLM_KEY": SECRET})
    wanted: dict[str, object] = {
        "server.host": "0.0.0.0",
        "server.port": 40115,
        "server.shutdown_seconds": 30.0,
        "server.cors_origins": ("http://localhost:3000", "https://*.example.org"),
        "server.cors_credentials": True,
        "server.discover": None,
        "limits.max_body_bytes": 50 << 20,
        "limits.max_header_bytes": 524288,
        "limits.requests_per_minute": 600,
        "limits.requests_per_minute_per_address": None,
        "limits.burst": 20,
        "limits.trusted_proxies": ("10.0.0.0/8",),
        "timeouts.connect": 10.0,
        "timeouts.first_byte": 180.0,
        "timeouts.idle": 120.0,
        "timeouts.total": None,
        "routing.policy": "priority",
        "routing.prefer_loaded": False,
        "routing.unknown_model": "any",
        "routing.sticky.enabled": True,
        "routing.sticky.ttl_seconds": 900.0,
        "routing.sticky.max_sessions": 50,
        "routing.sticky.keys": ("header", "address"),
        "logging.level": "warning",
        "logging.format": "text",
    }
    assert said(loaded.config, wanted) == wanted
    assert {alias: target.models for alias, target in loaded.config.routing.aliases.items()} == {
        "my-llama": ("llama3.1:8b", "llama-3.1-8b-instruct")
    }
    assert names(loaded) == ["Studio-Mac", "lab-vllm", "router"]
    mac, vllm, router = loaded.config.backends
    assert mac == OllamaConfig.model_validate(
        {
            "name": "Studio-Mac",
            "url": "http://10.0.0.5:11434",
            "priority": 100,
            "check_path": "/",
            "check_interval": 5,
            "check_timeout": 2,
            "models_interval": 600,
            "models": {"exclude": ["*embed*"]},
        }
    )
    assert isinstance(vllm, OpenAIConfig) and isinstance(router, OpenAIConfig)
    assert (vllm.url, vllm.profile, vllm.check_path) == ("http://10.0.0.6:8000/v1", "vllm", "/health")
    assert (router.url, router.profile, router.check_interval) == ("https://openrouter.ai/api/v1", "openrouter", 120.0)
    assert {name: value.get_secret_value() for name, value in vllm.headers.items()} == {
        "X-Team": "lab",
        "Authorization": f"Bearer {SECRET}",
    }
    assert router.headers["Authorization"].get_secret_value() == f"Bearer {SECRET}"
    assert loaded.warnings == (
        "config.yaml:4: server.read_timeout is ignored: a slow upload is ended by a limit of arriero's own",
        "config.yaml:19: proxy.engine is ignored: arriero carries every request in the same way",
        "config.yaml:34: discovery.static.endpoints[0].name holds what a backend's name may not; "
        "the backend is called Studio-Mac in headers, logs and `backend/model`",
    )
    assert (loaded.file, loaded.candidates) == (place.cwd / "config.yaml", ())
    assert SECRET not in str([loaded, rows(loaded)])


def test_origins_are_lines_of_ollas_file_or_ollas_defaults(place: Place) -> None:
    loaded = olla(place, "server:\n  port: 1\n" + ONE)
    origins = {row.name: row.origin for row in rows(loaded)}
    assert origins["server.port"] == "config.yaml:2"
    assert origins["server.host"] == "Olla's default"
    assert origins["backends.a.url"] == "config.yaml:3"
    assert origins["timeouts.first_byte"] == "default"


def test_an_empty_file_is_olla_without_one(place: Place) -> None:
    loaded = olla(place, "")
    wanted: dict[str, object] = {
        "server.host": "localhost",
        "server.port": 40114,
        "server.shutdown_seconds": 10.0,
        "server.cors_origins": (),
        "server.cors_credentials": False,
        "limits.max_body_bytes": 100 << 20,
        "limits.max_header_bytes": 1 << 20,
        "limits.requests_per_minute": 1000,
        "limits.requests_per_minute_per_address": 100,
        "limits.burst": 50,
        "limits.trusted_proxies": (),
        "timeouts.connect": 5.0,
        "timeouts.first_byte": 600.0,
        "timeouts.idle": 300.0,
        "routing.policy": "least-connections",
        "routing.prefer_loaded": False,
        "routing.unknown_model": "reject",
        "routing.sticky.enabled": False,
        "routing.sticky.keys": ("header", "prefix", "authorization"),
        "logging.level": "info",
        "logging.format": "auto",
    }
    assert said(loaded.config, wanted) == wanted
    assert loaded.config.backends == (
        OllamaConfig(name="localhost", url="http://localhost:11434", check_interval=5, models_interval=300),
    )
    assert loaded.warnings == (
        "config.yaml: discovery.static.endpoints names no endpoint; as in Olla, http://localhost:11434 is the only one",
    )


# ---- every key that sets something -----------------------------------------------------------------------------------

WRITTEN: dict[str, tuple[str, object]] = {
    "server.host": ("'::'", "::"),
    "server.port": ("1", 1),
    "server.shutdown_timeout": ("0s", 0.0),
    "server.request_limits.max_body_size": ("1KB", 1024),
    "server.request_limits.max_header_size": ("8192", 8192),
    "server.rate_limits.global_requests_per_minute": ("5", 5),
    "server.rate_limits.per_ip_requests_per_minute": ("6", 6),
    "server.rate_limits.burst_size": ("7", 7),
    "dashboard.enabled": ("false", False),
    "dashboard.access_policy.allowed_cidrs": ("[10.0.0.0/8]", ("10.0.0.0/8",)),
    "dashboard.access_policy.allowed_hosts": ("[gpu, localhost]", ("gpu", "localhost")),
    "proxy.load_balancer": ("round-robin", "round-robin"),
    "proxy.connection_timeout": ("1m", 60.0),
    "proxy.read_timeout": ("0s", None),
    "proxy.response_header_timeout": ("30s", 30.0),
    "proxy.sticky_sessions.enabled": ("true", True),
    "proxy.sticky_sessions.idle_ttl_seconds": ("5", 5.0),
    "proxy.sticky_sessions.max_sessions": ("5", 5),
    "proxy.sticky_sessions.key_sources": ("[ip, prefix_hash]", ("address", "prefix")),
    "logging.level": ("error", "error"),
    "logging.format": ("json", "auto"),
}


def nested(name: str, value: str) -> str:
    text = value
    for part in reversed(name.split(".")):
        text = f"{{{part}: {text}}}"
    return f"{text}\n"


@pytest.mark.parametrize("key", [key for key in KEYS if key.setting], ids=lambda key: key.name)
def test_a_key_becomes_a_setting(place: Place, key: Any) -> None:
    text, value = WRITTEN[key.name]
    loaded = olla(place, nested(key.name, text))
    assert setting(loaded.config, key.setting) == value
    assert str(loaded.origin(key.setting)) == "config.yaml:1"


def test_cors_that_is_off_sets_nothing(place: Place) -> None:
    loaded = olla(place, "server: {cors: {allowed_origins: ['http://a'], allow_credentials: true}}")
    assert (loaded.config.server.cors_origins, loaded.config.server.cors_credentials) == ((), False)


def test_cors_without_origins_is_for_every_origin(place: Place) -> None:
    assert olla(place, "server: {cors: {enabled: true}}").config.server.cors_origins == ("*",)


def test_credentials_of_every_origin_are_refused(place: Place) -> None:
    assert fails(place, "server:\n  cors:\n    enabled: true\n    allow_credentials: true\n") == [
        "config.yaml:4: server.cors.allow_credentials: not together with the origin '*': any page could act for its "
        "reader; name the origins in server.cors.allowed_origins"
    ]


def test_proxies_are_trusted_only_when_the_flag_is_on(place: Place) -> None:
    limits = "server: {rate_limits: {trust_proxy_headers: FLAG, trusted_proxy_cidrs: [10.1.0.0/16]}}"
    assert olla(place, limits.replace("FLAG", "false")).config.limits.trusted_proxies == ()
    assert olla(place, limits.replace("FLAG", "true")).config.limits.trusted_proxies == ("10.1.0.0/16",)
    unnamed = olla(place, "server: {rate_limits: {trust_proxy_headers: true}}")
    assert unnamed.config.limits.trusted_proxies == ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


@pytest.mark.parametrize(
    ("strategy", "word"),
    [
        ("{type: strict}", "reject"),
        ("{type: strict, options: {fallback_behavior: all}}", "reject"),
        ("{type: optimistic}", "reject"),
        ("{type: optimistic, options: {fallback_behavior: none}}", "reject"),
        ("{type: optimistic, options: {fallback_behavior: compatible_only}}", "reject"),
        ("{type: optimistic, options: {fallback_behavior: all, discovery_refresh_on_miss: false}}", "any"),
        ("{type: discovery, options: {discovery_refresh_on_miss: true}}", "discover"),
    ],
)
def test_the_strategy(place: Place, strategy: str, word: str) -> None:
    loaded = olla(place, ONE + f"model_registry: {{routing_strategy: {strategy}}}")
    assert (loaded.config.routing.unknown_model, loaded.warnings) == (word, ())


def test_a_discovery_that_shall_not_discover_is_told(place: Place) -> None:
    text = "model_registry: {routing_strategy: {type: discovery, options: {discovery_refresh_on_miss: false}}}"
    loaded = olla(place, ONE + text)
    assert loaded.config.routing.unknown_model == "discover"
    assert loaded.warnings == (
        "config.yaml:2: model_registry.routing_strategy.options.discovery_refresh_on_miss is ignored: "
        "`discovery` reads the lists again on a miss in any case",
    )


# ---- the rows of the checklist ---------------------------------------------------------------------------------------


def test_row_13_credentials_reach_the_backend_alone_and_an_unset_one_is_named(place: Place) -> None:
    text = (
        "discovery:\n  static:\n    endpoints:\n      - url: http://h:1\n        name: a\n        type: ollama\n"
        "        headers: {X-Key: '${KEY}'}\n        auth: {type: api_key, key: '${KEY}'}\n"
    )
    loaded = olla(place, text, {"KEY": SECRET})
    (backend,) = loaded.config.backends
    assert isinstance(backend, OllamaConfig)
    assert {name: value.get_secret_value() for name, value in backend.headers.items()} == {
        "X-Key": SECRET,
        "X-Api-Key": SECRET,
    }
    assert SECRET not in str([loaded, rows(loaded), loaded.config.model_dump()])
    assert fails(place, text) == [
        "config.yaml:7: discovery.static.endpoints[0].headers.X-Key: the variable KEY is not set",
        "config.yaml:8: discovery.static.endpoints[0].auth.key: the variable KEY is not set",
    ]


def test_row_29_aliases_are_lists_of_real_names_in_order(place: Place) -> None:
    loaded = olla(place, ONE + "model_aliases: {Fast: [qwen3:4b, gpt-4o-mini], llama3.1: one, none: []}")
    assert {alias: target.models for alias, target in loaded.config.routing.aliases.items()} == {
        "Fast": ("qwen3:4b", "gpt-4o-mini"),
        "llama3.1": ("one",),
    }
    assert loaded.warnings == ("config.yaml:2: model_aliases.none is ignored: it names no model",)


def test_row_30_model_filters_become_patterns_of_the_backend(place: Place) -> None:
    text = ONE.replace("type: ollama", "type: ollama, model_filter: {include: ['llama*'], exclude: ['*embed*']}")
    (backend,) = olla(place, text).config.backends
    assert (backend.models.include, backend.models.exclude) == (("llama*",), ("*embed*",))


def test_row_43_variables_override_the_file(place: Place) -> None:
    env = {
        "OLLA_SERVER_HOST": "127.0.0.1",
        "OLLA_SERVER_PORT": "8080",
        "OLLA_PROXY_LOAD_BALANCER": "priority",
        "OLLA_LOGGING_LEVEL": "debug",
        "OLLA_LOGGING_FORMAT": "json",
        "OLLA_SERVER_PER_IP_RATE_LIMIT": "0",
    }
    loaded = olla(place, ONE + "server: {port: 1}\nproxy: {load_balancer: round-robin}\n", env)
    wanted: dict[str, object] = {
        "server.host": "127.0.0.1",
        "server.port": 8080,
        "routing.policy": "priority",
        "logging.level": "debug",
        "logging.format": "json",
        "limits.requests_per_minute_per_address": None,
    }
    assert said(loaded.config, wanted) == wanted
    assert str(loaded.origin("server.port")) == "OLLA_SERVER_PORT"
    assert fails(place, ONE, {"OLLA_SERVER_PORT": "http"}) == ["OLLA_SERVER_PORT (server.port): is not a whole number"]


def test_row_43_unknown_keys_are_errors(place: Place) -> None:
    assert fails(place, "server: {prot: 1}\nproxi: {}\n") == [
        "config.yaml:1: server.prot: unknown key, in Olla too; the nearest known one is 'port'",
        "config.yaml:2: proxi: unknown key, in Olla too; the nearest known one is 'proxy'",
    ]


def test_row_43_a_changed_file_is_read_again_with_the_same_flags(place: Place) -> None:
    assert names(olla(place, ONE)) == ["a"]
    assert names(olla(place, ONE.replace("name: a", "name: b"))) == ["b"]
    assert fails(place, "proxy: {load_balancer: 5}") != []
    assert names(olla(place, ONE)) == ["a"]


def test_row_44_the_path_of_an_endpoint_is_kept_where_the_file_says_so(place: Place) -> None:
    text = ONE.replace("http://h:1", "http://h:1/base")
    (dropped,) = olla(place, text).config.backends
    (kept,) = olla(place, text.replace("type:", "preserve_path: true, type:")).config.backends
    assert [getattr(backend, "url", None) for backend in (dropped, kept)] == ["http://h:1", "http://h:1/base"]


# ---- what else is around ---------------------------------------------------------------------------------------------


def test_flags_and_arrieros_own_variables_override(place: Place) -> None:
    env = {"OLLA_SERVER_PORT": "2", "ARRIERO_PORT": "3", "ARRIERO_HOST": "127.0.0.2"}
    loaded = olla(place, ONE, env)
    assert (loaded.config.server.host, loaded.config.server.port) == ("127.0.0.2", 3)
    loaded = olla(place, ONE, env, Flags(olla_config="config.yaml", host="127.0.0.3", port=4, log_level="debug"))
    assert (loaded.config.server.host, loaded.config.server.port) == ("127.0.0.3", 4)
    assert loaded.config.logging.level == "debug"


def test_other_variables_and_files_do_not_count(place: Place) -> None:
    env = {
        "OLLAMA_HOST": "http://h:40114/olla/ollama",
        "PORT": "1",
        "LOG_LEVEL": "debug",
        "HTTP_PROXY": "http://p:1",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": "http://o/v1",
        "GROQ_API_KEY": "k",
        "ARRIERO_CONFIG": "none.yaml",
    }
    place.file("server: {port: 5}")
    assert olla(place, ONE, env).config == olla(place, ONE).config


def test_ollas_variables_do_not_count_without_ollas_file(place: Place) -> None:
    loaded = place.load(env={"OLLA_SERVER_PORT": "1", "OLLA_LOGGING_LEVEL": "loud"})
    assert (loaded.config.server.port, loaded.warnings) == (11434, ())


def test_a_flag_may_add_a_backend(place: Place) -> None:
    assert names(olla(place, ONE, flags=Flags(olla_config="config.yaml", base_url="http://o/v1"))) == ["a", "openai"]


def test_an_endpoint_that_is_arriero_itself_is_an_error(place: Place) -> None:
    assert fails(place, "server: {host: 0.0.0.0}\n" + ONE.replace("http://h:1", "http://localhost:40114")) == [
        "config.yaml:2: the URL of the backend a leads to arriero itself"
    ]


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_what_arriero_cannot_take_is_told_in_ollas_words(place: Place) -> None:
    text = (
        "server:\n  host: http://h\n  rate_limits:\n    burst_size: 0\n    trust_proxy_headers: true\n"
        "    trusted_proxy_cidrs: [lan]\n  cors:\n    enabled: true\n    allowed_origins: [example.org]\n"
    )
    assert sorted(fails(place, text)) == [
        "config.yaml:2: server.host: is not a host name or an address (a scheme, port or path does not belong here)",
        "config.yaml:4: server.rate_limits.burst_size: must be at least 1",
        "config.yaml:6: server.rate_limits.trusted_proxy_cidrs: is not an IP address or network such as 10.0.0.0/8",
        "config.yaml:9: server.cors.allowed_origins: is not an origin such as https://example.com",
    ]


def test_every_problem_at_once(place: Place) -> None:
    text = (
        "server:\n  port: high\nproxy:\n  load_balancer: fair\n  read_timeout: 5\n"
        "discovery:\n  static:\n    endpoints:\n      - {name: a, type: ollama}\n"
        "      - {url: 'http://h:1', name: a, type: ollama}\n  model_discovery: {interval: 0s}\n"
    )
    assert fails(place, text, {"OLLA_PROXY_READ_TIMEOUT": "soon"}) == [
        "config.yaml:2: server.port: is not a whole number",
        "config.yaml:4: proxy.load_balancer: is not one of least-connections, priority, round-robin",
        "config.yaml:5: proxy.read_timeout: is not a duration such as 30s, 5m or 1h30m; the unit must be there",
        "OLLA_PROXY_READ_TIMEOUT (proxy.read_timeout): "
        "is not a duration such as 30s, 5m or 1h30m; the unit must be there",
        "config.yaml:11: discovery.model_discovery.interval: must be greater than 0",
        "config.yaml:10: discovery.static.endpoints[1].name: is given twice, first in line 9; "
        "each endpoint needs a name of its own",
        "config.yaml:9: discovery.static.endpoints[0].url: is missing",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [1", "config.yaml:1:6: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("- a", "config.yaml:1: the top is not a mapping of keys to values"),
        ("server: {port: 1, port: 2}", "config.yaml:1: server.port: is given twice, first in line 1"),
    ],
)
def test_what_is_no_configuration(place: Place, text: str, problem: str) -> None:
    assert fails(place, text) == [problem]


PARTS = [key.name for key in KEYS if "[]" not in key.name and "*" not in key.name]
ENDPOINT_PARTS = [key.name.partition("[].")[2] for key in KEYS if "[]" in key.name and "*" not in key.name]
VALUES = [
    SECRET,
    f"http://u:{SECRET}@h",
    f"*{SECRET}",
    f"[{SECRET}]",
    f"{{{SECRET}: 1}}",
    f"'${{{SECRET}'",
    f"/x/{SECRET} y",
]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PARTS + ENDPOINT_PARTS), st.sampled_from(VALUES)), min_size=1, max_size=4))
def test_no_problem_and_no_warning_repeats_a_value(tmp_path: Path, parts: list[tuple[str, str]]) -> None:
    own = [nested(name, value).strip()[1:-1] for name, value in parts if name in PARTS]
    inner = [nested(name, value).strip()[1:-1] for name, value in parts if name not in PARTS]
    text = "\n".join(own) + f"\ndiscovery: {{static: {{endpoints: [{{{', '.join(inner)}}}]}}}}\n"
    path = tmp_path / "config.yaml"
    path.write_text(text)
    try:
        loaded = load(Flags(olla_config=str(path)), {}, tmp_path, tmp_path)
    except ConfigError as error:
        told = [text for text in error.problems if "_file" not in text]
    else:
        told = list(loaded.warnings)
    assert [text for text in told if SECRET in text] == []


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_no_variable_is_repeated(place: Place, variable: Any) -> None:
    (place.cwd / "config.yaml").write_text(ONE)
    on = {"OLLA_SERVER_CORS_ENABLED": "1", "OLLA_SERVER_TRUST_PROXY_HEADERS": "1"}
    try:
        told = list(place.load(OLLA, {**on, variable.name: f"{SECRET}/"}).warnings)
    except ConfigError as error:
        told = list(error.problems)
    assert told and SECRET not in str(told)


@pytest.mark.parametrize(
    ("balancer", "priorities"),
    [("", [100, 100]), ("least-connections", [100, 100]), ("round-robin", [100, 100]), ("priority", [7, 100])],
)
def test_priorities_count_only_where_they_do_for_olla(place: Place, balancer: str, priorities: list[int]) -> None:
    proxy = f"proxy: {{load_balancer: {balancer}}}\n" if balancer else ""
    endpoints = "[{url: 'http://h:1', name: a, type: ollama, priority: 7}, {url: 'http://h:2', name: b, type: ollama}]"
    (place.cwd / "config.yaml").write_text(f"{proxy}discovery: {{static: {{endpoints: {endpoints}}}}}\n")
    assert [backend.priority for backend in place.load(OLLA).config.backends] == priorities


def test_a_variable_that_the_file_uses_is_nobodys_mistake(place: Place) -> None:
    endpoint = "{url: 'http://h:1', name: a, type: ollama, auth: {type: bearer, token: '${OLLA_TOK}'}}"
    (place.cwd / "config.yaml").write_text(f"discovery: {{static: {{endpoints: [{endpoint}]}}}}\n")
    assert place.load(OLLA, {"OLLA_TOK": "t"}).warnings == ()
    (other,) = place.load(OLLA, {"OLLA_TOK": "t", "OLLA_TOKS": "u"}).warnings
    assert other.startswith("OLLA_TOKS is no variable of Olla's and is ignored")

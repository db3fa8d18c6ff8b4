"""Olla's configuration as a table: each key, and what arriero does with it.

The keys are those of Olla's configuration reference and sample file (2026-08). `[]` stands for each item of a list, `*`
for any name. To honour a key, or to say why it is not honoured, is to change its row; only what needs several keys at
once is code, in `olla` and `olla_endpoints`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from arriero.config.olla_values import (
    Reader,
    anything,
    duration,
    port,
    size,
    text,
    texts,
    truth,
    whole,
    with_zero,
    word,
    words,
)

ENDPOINTS = "discovery.static.endpoints"

NO_LIMIT_BYTES = 1 << 62
"""More than any body has: Olla's 0."""

YEAR_SECONDS = 365 * 86400.0
"""Long enough for "never"."""

DEFAULT_HEADER_BYTES = 1 << 20
"""Olla's default of `max_header_size`, and what 0 means."""

LEAST_HEADER_BYTES = 4096
"""Olla's floor of `max_header_size`."""

PRIVATE_NETWORKS = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""The proxies that Olla trusts when `trust_proxy_headers` is on and nobody names others."""

LOCAL_OLLAMA = "http://localhost:11434"
"""Olla's endpoint when the file names none."""


class Key(NamedTuple):
    """One key. With `setting` its value goes there; without, `does` says what happens to it.

    `default` is the value in arriero's units when the file does not say one, `None` where arriero's own default holds.
    An `ignored` key that is set is named at the start, unless its value is in `agrees`: then arriero does that anyway.
    """

    name: str
    read: Reader
    setting: str = ""
    does: str = ""
    default: Any = None
    ignored: bool = False
    agrees: tuple[Any, ...] = ()


def _ignored(name: str, because: str, read: Reader = anything, agrees: tuple[Any, ...] = ()) -> Key:
    return Key(name, read, does=because, ignored=True, agrees=agrees)


def _header_bytes(value: Any) -> int:
    return max(size(value) or DEFAULT_HEADER_BYTES, LEAST_HEADER_BYTES)


_no_limit = with_zero(None, whole)
_no_timeout = with_zero(None, duration)
_BALANCERS = {name: name for name in ("least-connections", "priority", "round-robin")}
_STRATEGIES = {name: name for name in ("strict", "optimistic", "discovery")}
_FALLBACKS = {name: name for name in ("compatible_only", "all", "none")}
_STICKY_KEYS = {"session_header": "header", "prefix_hash": "prefix", "auth_header": "authorization", "ip": "address"}
_AUTH = {name: name for name in ("bearer", "api_key", "basic")}
_DEAD = "Olla does not read it either"
_GONE = "a model leaves the catalog when its backend no longer lists it"
_INSPECTOR = "arriero writes no conversations to disk"
_EITHER = "Olla reads it and does nothing with it"

KEYS: tuple[Key, ...] = (
    # ---- server ----------------------------------------------------------------------------------------------------
    Key("server.host", text, "server.host", default="localhost"),
    Key("server.port", port, "server.port", default=40114),
    _ignored("server.read_timeout", "a slow upload is ended by a limit of arriero's own"),
    _ignored("server.read_header_timeout", "a slow request head is ended by a limit of arriero's own"),
    _ignored("server.write_timeout", "an answer may take as long as it takes", duration, agrees=(0.0,)),
    _ignored("server.idle_timeout", "idle connections are closed after 75 seconds", duration, agrees=(75.0,)),
    Key("server.shutdown_timeout", duration, "server.shutdown_seconds", default=10.0),
    _ignored("server.request_logging", _DEAD),
    Key("server.cors.enabled", truth, does="with `true`, the origins below go to `server.cors_origins`"),
    Key("server.cors.allowed_origins", texts, does="`server.cors_origins`; every origin where none is named"),
    _ignored("server.cors.allowed_methods", "the methods of the APIs are allowed, as they are for Ollama"),
    _ignored("server.cors.allowed_headers", "the headers that clients of the APIs send are allowed"),
    _ignored("server.cors.exposed_headers", "arriero exposes its own headers and Olla's", texts, agrees=([],)),
    Key("server.cors.allow_credentials", truth, does="`server.cors_credentials`; an error beside the origin `*`"),
    _ignored("server.cors.max_age", "browsers keep the answer for as long as arriero says"),
    Key(
        "server.request_limits.max_body_size",
        with_zero(NO_LIMIT_BYTES, size),
        "limits.max_body_bytes",
        "also as `100MB`; 0 is no limit",
        default=100 << 20,
    ),
    Key(
        "server.request_limits.max_header_size",
        _header_bytes,
        "limits.max_header_bytes",
        f"also as `512KB`; at least {LEAST_HEADER_BYTES}",
        default=DEFAULT_HEADER_BYTES,
    ),
    Key(
        "server.rate_limits.global_requests_per_minute",
        _no_limit,
        "limits.requests_per_minute",
        "0 is no limit",
        default=1000,
    ),
    Key(
        "server.rate_limits.per_ip_requests_per_minute",
        _no_limit,
        "limits.requests_per_minute_per_address",
        "0 is no limit",
        default=100,
    ),
    _ignored("server.rate_limits.health_requests_per_minute", "status pages are not limited, in Olla either"),
    Key("server.rate_limits.burst_size", whole, "limits.burst", default=50),
    _ignored("server.rate_limits.cleanup_interval", "addresses are forgotten without a setting"),
    _ignored("server.rate_limits.per_endpoint", _DEAD),
    Key(
        "server.rate_limits.trust_proxy_headers",
        truth,
        does="with `true`, the networks below go to `limits.trusted_proxies`",
    ),
    Key(
        "server.rate_limits.trusted_proxy_cidrs",
        texts,
        does="`limits.trusted_proxies` where `trust_proxy_headers` is on; "
        "loopback and private networks where none is named",
    ),
    # ---- proxy -----------------------------------------------------------------------------------------------------
    _ignored("proxy.engine", "arriero carries every request in the same way"),
    _ignored("proxy.profile", "answers are streamed or not as the client asks; Olla does not use it either"),
    Key("proxy.load_balancer", word(_BALANCERS), "routing.policy", "`routing.prefer_loaded` is off beside it"),
    Key("proxy.connection_timeout", _no_timeout, "timeouts.connect", "0 is no limit"),
    _ignored("proxy.connection_keep_alive", "connections to backends are kept without a setting"),
    _ignored("proxy.response_timeout", "Olla does not enforce it; `timeouts.total` is arriero's setting"),
    Key("proxy.read_timeout", _no_timeout, "timeouts.idle", "0 is no limit"),
    Key(
        "proxy.response_header_timeout",
        _no_timeout,
        "timeouts.first_byte",
        "0 is no limit; Olla's default of 30s, which ends the loading of a large model, is not taken over",
    ),
    _ignored("proxy.tls_handshake_timeout", "the handshake is part of `timeouts.connect`"),
    _ignored("proxy.stream_buffer_size", "what a backend sends goes on at once, without a buffer"),
    _ignored("proxy.max_retries", f"{_DEAD}; `routing.retry` is arriero's setting"),
    _ignored("proxy.retry_backoff", f"{_DEAD}; `routing.retry` is arriero's setting"),
    _ignored("proxy.retry", f"{_DEAD}; `routing.retry` is arriero's setting"),
    _ignored("proxy.profile_filter.include", _EITHER, texts, agrees=([],)),
    _ignored("proxy.profile_filter.exclude", _EITHER, texts, agrees=([],)),
    Key("proxy.sticky_sessions.enabled", truth, "routing.sticky.enabled"),
    Key(
        "proxy.sticky_sessions.idle_ttl_seconds",
        with_zero(YEAR_SECONDS, whole),
        "routing.sticky.ttl_seconds",
        "0 is a year",
    ),
    Key("proxy.sticky_sessions.max_sessions", whole, "routing.sticky.max_sessions"),
    Key(
        "proxy.sticky_sessions.key_sources",
        words(_STICKY_KEYS),
        "routing.sticky.keys",
        ", ".join(f"`{theirs}` is `{ours}`" for theirs, ours in _STICKY_KEYS.items()),
    ),
    _ignored("proxy.sticky_sessions.prefix_hash_bytes", "the key is the same from the first turn on"),
    # ---- discovery -------------------------------------------------------------------------------------------------
    _ignored("discovery.type", "endpoints are those of the file", word({"static": "static"}), agrees=("static",)),
    _ignored("discovery.refresh_interval", _DEAD),
    _ignored("discovery.health_check", _DEAD),
    Key(f"{ENDPOINTS}[].url", text, does="`backends[].url`, with the path that its type wants; no password in it"),
    Key(f"{ENDPOINTS}[].name", text, does="`backends[].name`; what it may not hold becomes `-`, with a warning"),
    Key(f"{ENDPOINTS}[].type", text, does="`backends[].kind` and `backends[].profile`, see below"),
    Key(
        f"{ENDPOINTS}[].priority",
        whole,
        does="`backends[].priority`; counts only for the balancer `priority`",
        default=100,
    ),
    Key(
        f"{ENDPOINTS}[].health_check_url",
        text,
        does="`backends[].check_path`, joined to the path of the url; ignored where it leads to another server. "
        "Without it, arriero asks for the models",
    ),
    Key(f"{ENDPOINTS}[].model_url", text, does="ignored where it is not what arriero asks of such a backend anyway"),
    Key(f"{ENDPOINTS}[].check_interval", duration, does="`backends[].check_interval`; at least 1s", default=5.0),
    Key(
        f"{ENDPOINTS}[].check_timeout",
        duration,
        does="`backends[].check_timeout`; less than `check_interval`",
        default=2.0,
    ),
    Key(
        f"{ENDPOINTS}[].preserve_path",
        truth,
        does="without it, the path of the url is dropped, as in Olla, with a warning",
        default=False,
    ),
    Key(f"{ENDPOINTS}[].model_filter.include", texts, does="`backends[].models.include`"),
    Key(f"{ENDPOINTS}[].model_filter.exclude", texts, does="`backends[].models.exclude`"),
    Key(f"{ENDPOINTS}[].headers.*", text, does="`backends[].headers`"),
    Key(f"{ENDPOINTS}[].auth.type", word(_AUTH), does="a field of `backends[].headers`, before one of the same name"),
    *(
        Key(f"{ENDPOINTS}[].auth.{name}", text, does=does)
        for name, does in (
            ("token", "of `bearer`: `Authorization: Bearer ..`"),
            ("key", "of `api_key`: the value of `header`"),
            ("header", "of `api_key`: the field, `X-Api-Key` where none is named"),
            ("username", "of `basic`"),
            ("password", "of `basic`: `Authorization: Basic ..`"),
            ("token_file", "a file that holds `token`, from the current folder; read at the start and at each reload"),
            ("key_file", "the same for `key`"),
            ("username_file", "the same for `username`"),
            ("password_file", "the same for `password`"),
        )
    ),
    _ignored(
        "discovery.model_discovery.enabled",
        "arriero reads the model lists in any case: it routes by them",
        truth,
        agrees=(True,),
    ),
    Key("discovery.model_discovery.interval", duration, does="`backends[].models_interval` of each", default=300.0),
    _ignored("discovery.model_discovery.timeout", "the list is read within the timeouts of the backend"),
    _ignored("discovery.model_discovery.concurrent_workers", "every backend is asked on its own"),
    _ignored("discovery.model_discovery.retry_attempts", _EITHER),
    _ignored("discovery.model_discovery.retry_backoff", _EITHER),
    # ---- models ----------------------------------------------------------------------------------------------------
    _ignored("model_registry.type", "the catalog is in memory", word({"memory": "memory"}), agrees=("memory",)),
    _ignored("model_registry.enable_unifier", "listings are merged in any case", truth, agrees=(True,)),
    _ignored("model_registry.unification.enabled", "listings are merged in any case", truth, agrees=(True,)),
    _ignored("model_registry.unification.stale_threshold", _GONE),
    _ignored("model_registry.unification.cleanup_interval", _GONE),
    _ignored("model_registry.unification.cache_ttl", "listings are made anew from the catalog"),
    _ignored("model_registry.unification.custom_rules", "models are called what their backends call them"),
    Key(
        "model_registry.routing_strategy.type",
        word(_STRATEGIES),
        does="`routing.unknown_model`: `strict` is `reject`, `discovery` is `discover`, `optimistic` is as below",
    ),
    Key(
        "model_registry.routing_strategy.options.fallback_behavior",
        word(_FALLBACKS),
        does="with `optimistic`: `all` is `any`, `compatible_only` and `none` are `reject`",
    ),
    _ignored("model_registry.routing_strategy.options.discovery_timeout", "the lists are read within `check_timeout`"),
    Key(
        "model_registry.routing_strategy.options.discovery_refresh_on_miss",
        truth,
        does="`discovery` reads the lists again on a miss in any case; `false` beside it is ignored",
    ),
    _ignored("routing", f"{_DEAD}; the key is `model_registry.routing_strategy`"),
    Key("model_aliases.*", texts, does="`routing.aliases`; a model that is really called so comes first"),
    _ignored(
        "model_aliases_mode",
        "aliases are listed beside the models they stand for",
        word({name: name for name in ("disabled", "append", "hidden")}),
        agrees=("append",),
    ),
    # ---- the rest --------------------------------------------------------------------------------------------------
    _ignored("translators.anthropic.enabled", "client and backend decide what is translated", truth, agrees=(True,)),
    _ignored(
        "translators.anthropic.passthrough_enabled",
        "a request in the backend's own dialect is passed through in any case",
        truth,
        agrees=(True,),
    ),
    _ignored("translators.anthropic.max_message_size", "`limits.max_body_bytes` is for every request"),
    _ignored("translators.anthropic.inspector.enabled", _INSPECTOR, truth, agrees=(False,)),
    _ignored("translators.anthropic.inspector.output_dir", _INSPECTOR),
    _ignored("translators.anthropic.inspector.session_header", _INSPECTOR),
    _ignored("translators.anthropic.stream_async", "streams are always translated piece by piece"),
    Key(
        "logging.level",
        word({"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}),
        "logging.level",
    ),
    Key(
        "logging.format",
        word({"json": "auto", "text": "text"}),
        "logging.format",
        "`json` is `auto`: text on a terminal, as in Olla",
    ),
    _ignored("logging.output", "log lines go to stderr"),
    Key("dashboard.enabled", truth, "server.dashboard.enabled"),
    Key("dashboard.access_policy.allowed_cidrs", texts, "server.dashboard.allowed_networks"),
    Key("dashboard.access_policy.allowed_hosts", texts, "server.dashboard.allowed_hosts"),
    _ignored("dashboard.gate_internal_api", _EITHER),
    _ignored("engineering.show_nerdstats", "`/internal/process` shows them at any time", truth, agrees=(False,)),
)


class Variable(NamedTuple):
    """A variable that overrides a key; `read` where its words mean something else than in the file."""

    name: str
    key: str
    read: Reader | None = None


VARIABLES: tuple[Variable, ...] = (
    Variable("OLLA_SERVER_HOST", "server.host"),
    Variable("OLLA_SERVER_PORT", "server.port"),
    Variable("OLLA_SERVER_READ_TIMEOUT", "server.read_timeout"),
    Variable("OLLA_SERVER_READ_HEADER_TIMEOUT", "server.read_header_timeout"),
    Variable("OLLA_SERVER_WRITE_TIMEOUT", "server.write_timeout"),
    Variable("OLLA_SERVER_MAX_BODY_SIZE", "server.request_limits.max_body_size"),
    Variable("OLLA_SERVER_MAX_HEADER_SIZE", "server.request_limits.max_header_size"),
    Variable("OLLA_SERVER_GLOBAL_RATE_LIMIT", "server.rate_limits.global_requests_per_minute"),
    Variable("OLLA_SERVER_PER_IP_RATE_LIMIT", "server.rate_limits.per_ip_requests_per_minute"),
    Variable("OLLA_SERVER_RATE_BURST_SIZE", "server.rate_limits.burst_size"),
    Variable("OLLA_SERVER_HEALTH_RATE_LIMIT", "server.rate_limits.health_requests_per_minute"),
    Variable("OLLA_SERVER_RATE_CLEANUP_INTERVAL", "server.rate_limits.cleanup_interval"),
    Variable("OLLA_SERVER_TRUST_PROXY_HEADERS", "server.rate_limits.trust_proxy_headers"),
    Variable("OLLA_SERVER_TRUSTED_PROXY_CIDRS", "server.rate_limits.trusted_proxy_cidrs"),
    Variable("OLLA_SERVER_CORS_ENABLED", "server.cors.enabled"),
    Variable("OLLA_SERVER_CORS_ALLOWED_ORIGINS", "server.cors.allowed_origins"),
    Variable("OLLA_SERVER_CORS_ALLOWED_METHODS", "server.cors.allowed_methods"),
    Variable("OLLA_SERVER_CORS_ALLOWED_HEADERS", "server.cors.allowed_headers"),
    Variable("OLLA_SERVER_CORS_EXPOSED_HEADERS", "server.cors.exposed_headers"),
    Variable("OLLA_SERVER_CORS_ALLOW_CREDENTIALS", "server.cors.allow_credentials"),
    Variable("OLLA_SERVER_CORS_MAX_AGE", "server.cors.max_age"),
    Variable("OLLA_PROXY_ENGINE", "proxy.engine"),
    Variable("OLLA_PROXY_PROFILE", "proxy.profile"),
    Variable("OLLA_PROXY_LOAD_BALANCER", "proxy.load_balancer"),
    Variable("OLLA_PROXY_RESPONSE_TIMEOUT", "proxy.response_timeout"),
    Variable("OLLA_PROXY_READ_TIMEOUT", "proxy.read_timeout"),
    Variable("OLLA_PROXY_RESPONSE_HEADER_TIMEOUT", "proxy.response_header_timeout"),
    Variable("OLLA_PROXY_TLS_HANDSHAKE_TIMEOUT", "proxy.tls_handshake_timeout"),
    Variable("OLLA_PROXY_CONNECTION_KEEP_ALIVE", "proxy.connection_keep_alive"),
    Variable("OLLA_PROXY_STICKY_SESSIONS_ENABLED", "proxy.sticky_sessions.enabled"),
    Variable("OLLA_LOGGING_LEVEL", "logging.level"),
    # Unlike the key, the variable holds on a terminal too.
    Variable("OLLA_LOGGING_FORMAT", "logging.format", word({"json": "json", "text": "text"})),
    Variable("OLLA_SHOW_NERD_STATS", "engineering.show_nerdstats"),
    Variable("OLLA_MODEL_REGISTRY_TYPE", "model_registry.type"),
    Variable("OLLA_MODEL_UNIFIER_ENABLED", "model_registry.enable_unifier"),
    Variable("OLLA_TRANSLATORS_ANTHROPIC_ENABLED", "translators.anthropic.enabled"),
    Variable("OLLA_TRANSLATORS_ANTHROPIC_PASSTHROUGH_ENABLED", "translators.anthropic.passthrough_enabled"),
    Variable("OLLA_TRANSLATORS_ANTHROPIC_MAX_MESSAGE_SIZE", "translators.anthropic.max_message_size"),
)

FILE_VARIABLE = "OLLA_CONFIG_FILE"
"""Names the file where `--olla-config` is given an empty one; `sources` reads it."""

OTHER_VARIABLES: Mapping[str, str] = {
    "OLLA_MODEL_UNIFIER_CACHE_TTL": "listings are made anew from the catalog",
    "OLLA_LOG_LEVEL": "it is for Olla's first log lines; `OLLA_LOGGING_LEVEL` sets the level",
    "OLLA_PRETTY_LOGS": "`OLLA_LOGGING_FORMAT` sets the form",
    "OLLA_FILE_OUTPUT": "log lines go to stderr",
    "OLLA_LOG_DIR": "log lines go to stderr",
    "OLLA_LOG_SIZE_MB": "log lines go to stderr",
    "OLLA_LOG_MAX_BACKUPS": "log lines go to stderr",
    "OLLA_LOG_MAX_AGE_DAYS": "log lines go to stderr",
    "OLLA_THEME": "there are no themes",
    "OLLA_ENABLE_PROFILER": "there is no profiler",
    "OLLA_SHOW_VERSION": "`arriero --version` shows the version",
    "OLLA_CONFIG_DIR": "arriero knows models and vendors without files",
}
"""Variables that Olla reads and arriero does not, each with the reason."""


class Type(NamedTuple):
    """What an endpoint's type is here; `base` is the path of the API below the endpoint's root."""

    kind: str
    profile: str | None = None
    base: str = ""


TYPES: Mapping[str, Type] = {
    "ollama": Type("ollama"),
    "openai": Type("openai", None, "/v1"),
    "openai-compatible": Type("openai", None, "/v1"),
    "openai_compatible": Type("openai", None, "/v1"),
    "vllm": Type("openai", "vllm", "/v1"),
    "vllm-mlx": Type("openai", "vllm-mlx", "/v1"),
    "lm-studio": Type("openai", "lmstudio", "/v1"),
    "lmstudio": Type("openai", "lmstudio", "/v1"),
    "lm_studio": Type("openai", "lmstudio", "/v1"),
    "llamacpp": Type("openai", "llama-server", "/v1"),
    "llama-cpp": Type("openai", "llama-server", "/v1"),
    "sglang": Type("openai", "sglang", "/v1"),
    "lemonade": Type("openai", "lemonade", "/api/v1"),
    "litellm": Type("openai", "litellm", "/v1"),
    "lmdeploy": Type("openai", "lmdeploy", "/v1"),
    "docker-model-runner": Type("openai", "dmr", "/engines/v1"),
    "dmr": Type("openai", "dmr", "/engines/v1"),
    "omlx": Type("openai", "omlx", "/v1"),
}
"""An endpoint's type to what it is here; without a profile, the address tells it."""

OLLAMA_PORT = 11434
"""An endpoint of type `auto`, or of an unknown one, is an Ollama server on this port and an OpenAI API on others."""

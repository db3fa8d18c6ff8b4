from typing import get_args

import pytest
from pydantic import ValidationError

from arriero.backends.http.proxy import ProxySettings
from arriero.config import (
    BreakerConfig,
    Clamp,
    Config,
    EngineConfig,
    FilterConfig,
    Knobs,
    LimitsConfig,
    OllamaConfig,
    ProxyConfig,
    QueueConfig,
    RetryConfig,
    RoutingConfig,
    ServerConfig,
    StickyConfig,
    TimeoutsConfig,
)
from arriero.config.schema import ClampKnob


def test_the_defaults() -> None:
    assert Config() == Config(
        server=ServerConfig(host="127.0.0.1", port=11434, workers=1, shutdown_seconds=30, cors_origins=()),
        timeouts=TimeoutsConfig(connect=5, first_byte=600, idle=300, total=None),
        limits=LimitsConfig(
            max_body_bytes=104857600,
            max_header_bytes=32768,
            requests_per_minute=None,
            requests_per_minute_per_address=None,
            burst=50,
            trusted_proxies=(),
        ),
        routing=RoutingConfig(
            policy="least-connections",
            prefer_loaded=True,
            unknown_model="reject",
            retry=RetryConfig(statuses=(429, 500, 502, 503, 504, 529), attempts=3, budget_seconds=600),
            breaker=BreakerConfig(failures=5, open_seconds=30),
            queue=QueueConfig(max_waiting=512, max_wait_seconds=300),
            sticky=StickyConfig(enabled=False, ttl_seconds=600, max_sessions=10000),
        ),
    )


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().server.port = 1  # type: ignore[misc]


def test_a_backend_overrides_timeouts_one_by_one() -> None:
    config = Config.model_validate(
        {
            "timeouts": {"connect": 1, "idle": "2m"},
            "backends": [{"name": "a", "kind": "engine", "timeouts": {"idle": None, "total": 9}}],
        }
    )
    assert config.timeouts_of(config.backends[0]) == TimeoutsConfig(connect=1, first_byte=600, idle=None, total=9)


def test_names_are_unique() -> None:
    with pytest.raises(ValidationError, match="the name a is given twice"):
        Config(backends=(EngineConfig(name="a"), EngineConfig(name="a")))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        (ServerConfig, {"port": 65536}),
        (ServerConfig, {"port": -1}),
        (ServerConfig, {"host": "h:1"}),
        (ServerConfig, {"host": "http://h"}),
        (ServerConfig, {"listen": ["h"]}),
        (ServerConfig, {"cors_origins": ["http://*.*"]}),
        (ServerConfig, {"cors_origins": ["example.com"]}),
        (TimeoutsConfig, {"connect": 0}),
        (TimeoutsConfig, {"connect": "inf"}),
        (LimitsConfig, {"trusted_proxies": ["10.0.0.0/99"]}),
        (RetryConfig, {"statuses": [200]}),
        (Clamp, {"min": 2, "max": 1}),
        (FilterConfig, {"defaults": {"top": 1}}),
        (FilterConfig, {"clamps": {"stop": {"max": 1}}}),
        (FilterConfig, {"think_tags": "yes"}),
        (ProxyConfig, {"all": "socks5://h"}),
    ],
)
def test_values_that_cannot_be(section: type[ServerConfig], value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(value)


@pytest.mark.parametrize(("given", "host"), [("[::1]", "::1"), (" h ", "h"), ("", ""), ("::", "::")])
def test_hosts(given: str, host: str) -> None:
    assert ServerConfig(host=given).host == host


@pytest.mark.parametrize(("given", "kept"), [(True, "true"), (False, "false"), ("auto", "auto")])
def test_think_tags(given: object, kept: str) -> None:
    assert FilterConfig.model_validate({"think_tags": given}).think_tags == kept


def test_knobs_that_are_given() -> None:
    assert Knobs(temperature=0, stop=("a",)).given() == {"temperature": 0.0, "stop": ("a",)}


def test_every_knob_but_stop_can_be_clamped() -> None:
    assert set(get_args(ClampKnob)) == set(Knobs.model_fields) - {"stop"}


def test_proxies_are_the_transports_rules() -> None:
    proxy = ProxyConfig.model_validate(
        {"http": "plain:1", "https": "http://u:p@tls:2", "no_proxy": ["a", "10.0.0.0/8"]}
    )
    assert proxy.settings == ProxySettings(http="plain:1", https="http://u:p@tls:2", no="a,10.0.0.0/8")
    assert ProxyConfig().settings == ProxySettings()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, ProxySettings(all="http://all:1")),
        ("direct", ProxySettings()),
        ("own:2", ProxySettings(all="own:2")),
        ("", ProxySettings(all="http://all:1")),
    ],
)
def test_a_backends_own_proxy_comes_first(own: str | None, expected: ProxySettings) -> None:
    backend = {"name": "a", "kind": "ollama", "url": "http://h", "proxy": own}
    config = Config.model_validate({"proxy": {"all": "http://all:1"}, "backends": [backend]})
    (built,) = config.backends
    assert isinstance(built, OllamaConfig)
    assert config.proxy_of(built) == expected

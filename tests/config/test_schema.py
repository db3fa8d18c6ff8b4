from typing import get_args

import pytest
from pydantic import ValidationError

from arriero.config import (
    BreakerConfig,
    Clamp,
    Config,
    EngineConfig,
    FilterConfig,
    Knobs,
    LimitsConfig,
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


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("http://a", (), "http://plain:1"),
        ("https://a", (), "http://u:p@tls:2"),
        ("https://localhost:8000", (), None),
        ("https://127.9.9.9", (), None),
        ("https://[::1]", (), None),
        ("https://a", ("*",), None),
        ("https://a", ("a",), None),
        ("https://b.a", ("a",), None),
        ("https://b.a", (".a",), None),
        ("https://b.a", ("*.a",), None),
        ("https://ba", ("a",), "http://u:p@tls:2"),
        ("https://a", ("a:443",), None),
        ("https://a", ("a:80",), "http://u:p@tls:2"),
        ("https://10.1.2.3", ("10.0.0.0/8",), None),
        ("https://11.1.2.3", ("10.0.0.0/8",), "http://u:p@tls:2"),
        ("https://[fd00::1]", ("[fd00::1]:443",), None),
        ("https://[fd00::1]", ("[fd00::1]",), None),
        ("https://[fd00::1]", ("fd00::/8",), None),
        ("https://a", ("",), "http://u:p@tls:2"),
    ],
)
def test_proxies(url: str, no_proxy: tuple[str, ...], expected: str | None) -> None:
    proxy = ProxyConfig.model_validate({"http": "plain:1", "https": "http://u:p@tls:2", "no_proxy": no_proxy})
    assert proxy.for_url(url) == expected


@pytest.mark.parametrize(
    ("own", "expected"), [(None, "http://all:1"), ("direct", None), ("own:2", "http://own:2"), ("", "http://all:1")]
)
def test_a_backends_own_proxy_comes_first(own: str | None, expected: str | None) -> None:
    backend = {"name": "a", "kind": "ollama", "url": "http://h", "proxy": own}
    config = Config.model_validate({"proxy": {"all": "http://all:1"}, "backends": [backend]})
    assert config.proxy_of(config.backends[0]) == expected
    assert config.proxy_of(EngineConfig(name="e")) is None

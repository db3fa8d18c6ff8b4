import pytest

from arriero.backends.http.origin import Origin
from arriero.backends.http.proxy import ProxySettings, choose_proxy

P = "http://proxy.lan:3128"
Q = "http://other.lan:8080"


@pytest.mark.parametrize(
    ("url", "settings", "proxy"),
    [
        ("https://api.x.com", ProxySettings(), None),
        ("https://api.x.com", ProxySettings(https=P), P),
        ("https://api.x.com", ProxySettings(http=P), None),
        ("http://api.x.com", ProxySettings(http=P, https=Q), P),
        ("http://api.x.com", ProxySettings(https=P), None),
        ("http://api.x.com", ProxySettings(https=P, all=Q), Q),
        ("https://api.x.com", ProxySettings(https=P, all=Q), P),
        ("https://api.x.com", ProxySettings(https="proxy.lan:3128"), P),
        ("https://api.x.com", ProxySettings(https=""), None),
        ("http://localhost:11434", ProxySettings(all=P), None),
        ("http://gpu.localhost", ProxySettings(all=P), None),
        ("http://127.0.0.5:80", ProxySettings(all=P), None),
        ("http://[::1]", ProxySettings(all=P), None),
        ("http://10.0.0.5", ProxySettings(all=P), P),
        ("unix:///run/x.sock", ProxySettings(all=P), None),
    ],
)
def test_the_settings_choose(url: str, settings: ProxySettings, proxy: str | None) -> None:
    assert choose_proxy(Origin.parse(url), settings) == (Origin.parse(proxy) if proxy else None)


@pytest.mark.parametrize(
    ("no", "url", "direct"),
    [
        ("*", "https://api.x.com", True),
        ("x.com", "https://x.com", True),
        ("x.com", "https://api.x.com", True),
        (".x.com", "https://api.x.com", True),
        (".x.com", "https://x.com", True),
        ("*.x.com", "https://api.x.com", True),
        ("X.com", "https://api.x.com", True),
        ("x.com", "https://notx.com", False),
        ("api.x.com", "https://x.com", False),
        ("a.org, x.com", "https://x.com", True),
        ("a.org x.com", "https://x.com", True),
        ("x.com:443", "https://x.com", True),
        ("x.com:8443", "https://x.com", False),
        ("10.0.0.5", "http://10.0.0.5:11434", True),
        ("10.0.0.0/8", "http://10.9.9.9", True),
        ("10.0.0.0/8", "http://11.0.0.1", False),
        ("10.0.0.0/8", "http://x.com", False),
        ("nonsense/8", "http://10.0.0.1", False),
        ("fd00::/8", "http://[fd00::1]:80", True),
        ("fd00::1", "http://[fd00::1]:80", True),
        ("[fd00::1]:80", "http://[fd00::1]", True),
        ("[fd00::1]:81", "http://[fd00::1]", False),
        (", ,.", "https://x.com", False),
    ],
)
def test_no_proxy_excludes(no: str, url: str, direct: bool) -> None:
    assert (choose_proxy(Origin.parse(url), ProxySettings(all=P, no=no)) is None) is direct


def test_a_socks_proxy_is_refused_in_words() -> None:
    with pytest.raises(ValueError) as refusal:
        choose_proxy(Origin.parse("https://x.com"), ProxySettings(all="socks5://u:pw@h:1080"))
    assert str(refusal.value) == "a proxy of scheme socks5:// is not supported, only http:// and https://"


def test_a_proxy_may_have_credentials_which_the_settings_do_not_show() -> None:
    settings = ProxySettings(https="http://ann:pw@proxy.lan:3128")
    proxy = choose_proxy(Origin.parse("https://x.com"), settings)
    assert proxy is not None and proxy.authorization == b"Basic YW5uOnB3"
    assert "pw" not in repr(settings)

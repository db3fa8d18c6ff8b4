"""Who may ask: allowed hosts and browser origins, exactly as Ollama's clients meet them.

Pure functions over a request's head; both lanes ask here before any route is looked at, so that a 404 can become a 403.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

from msgspec import Struct

from arriero.backends.http.call import Headers

_LOCAL = ("localhost", "127.0.0.1", "0.0.0.0")
BUILT_IN_ORIGINS: tuple[str, ...] = (
    *(f"{scheme}://{host}{port}" for host in _LOCAL for scheme in ("http", "https") for port in ("", ":*")),
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
"""Origins that are always allowed: this machine's pages, and desktop programs. Browser extensions are not."""

_ALLOW_HEADERS = (
    b"Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,"
    b"X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,"
    b"X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    b"X-Stainless-Runtime-Version,X-Stainless-Timeout,"
    # what arriero, Olla and Anthropic read besides: a page whose preflight does not name a field cannot send it
    b"X-Arriero-Backend,X-Arriero-Fallback,X-Arriero-Priority,X-Arriero-Session,X-Olla-Session-ID,X-Request-ID,"
    b"X-Api-Key,Anthropic-Version,Anthropic-Beta,Anthropic-Dangerous-Direct-Browser-Access"
)
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
    (b"access-control-allow-headers", _ALLOW_HEADERS),
    (b"access-control-max-age", b"43200"),
)
EXPOSED = (
    b"X-Arriero-Attempts,X-Arriero-Backend,X-Arriero-Dropped,X-Arriero-Model,X-Arriero-Reason,X-Arriero-Request-Id,"
    b"X-Olla-Backend-Type,X-Olla-Endpoint,X-Olla-Mode,X-Olla-Model,X-Olla-Request-ID,X-Olla-Response-Time,"
    b"X-Olla-Routing-Decision,X-Olla-Routing-Reason,X-Olla-Routing-Strategy,X-Olla-Session-ID,"
    b"X-Olla-Sticky-Key-Source,X-Olla-Sticky-Session,X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset,"
    b"Retry-After"
)
"""Fields of an answer that a page's script may read."""

_PREFLIGHT_VARY: Headers = (
    (b"vary", b"Origin"),
    (b"vary", b"Access-Control-Request-Method"),
    (b"vary", b"Access-Control-Request-Headers"),
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")


class Verdict(Struct, frozen=True):
    """`status` `None`: go on, and add `headers` to the answer. Otherwise the whole answer: this status, no body."""

    status: int | None = None
    headers: Headers = ()


PASS = Verdict()
_FORBIDDEN = Verdict(403)


class Access:
    """The rules of one listening server. `checks_host`: one of its addresses is loopback, where DNS rebinding could
    reach it. `credentials`: pages may send theirs.
    """

    def __init__(
        self,
        origins: Sequence[str],
        *,
        checks_host: bool,
        own_names: Iterable[str] = (),
        credentials: bool = False,
    ) -> None:
        self._any = "*" in origins
        self._origins = re.compile("|".join(_pattern(origin) for origin in (*origins, *BUILT_IN_ORIGINS)).encode())
        self._checks_host = checks_host
        self._own_names = frozenset(name.casefold() for name in own_names)
        self._known: dict[bytes, bool] = {}
        self._with: Headers = ((b"access-control-allow-credentials", b"true"),) if credentials else ()

    def check(self, method: str, headers: Headers, local: bool = True) -> Verdict:
        """What to do with a request of this head. `local`: it came in on a loopback address of this machine."""
        checks_host = self._checks_host and local
        origin = host = None
        for name, value in headers:
            if name == b"origin":
                origin = value
            elif name == b"host":
                if host is not None and host != value:
                    return _FORBIDDEN  # whoever reads the other one would be deceived
                host = value
        if checks_host and not self._host_allowed(host or b""):
            return _FORBIDDEN
        if origin is None:
            if method == "OPTIONS" and checks_host and _is_name(host or b""):
                return Verdict(204)
            return PASS
        if host is not None and origin in (b"http://" + host, b"https://" + host):
            return PASS
        if not self._any and self._origins.fullmatch(origin) is None:
            return _FORBIDDEN
        allowed = (b"access-control-allow-origin", b"*" if self._any else origin)
        if method == "OPTIONS":
            return Verdict(204, (*_PREFLIGHT, allowed, *self._with, *(() if self._any else _PREFLIGHT_VARY)))
        fields = (allowed, (b"access-control-expose-headers", EXPOSED), *self._with)
        return Verdict(None, fields if self._any else (*fields, (b"vary", b"Origin")))

    def _host_allowed(self, host: bytes) -> bool:
        known = self._known.get(host)
        if known is None:
            known = _host_is_local(_without_port(host), self._own_names)
            if len(self._known) < 1024:  # a stranger must not fill the memory with made-up names
                self._known[host] = known
        return known


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def own_names() -> tuple[str, ...]:
    """This machine's host name, and the addresses it answers to."""
    name = socket.gethostname()
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except OSError:
        addresses = set()
    return (name, *sorted(addresses))


def _pattern(origin: str) -> str:
    before, star, after = origin.partition("*")
    return re.escape(before) + (".*" if star else "") + re.escape(after)


def _without_port(host: bytes) -> str:
    text = host.decode("latin-1").strip().casefold()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _is_name(host: bytes) -> bool:
    text = _without_port(host)
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(text)
    return False


def _host_is_local(host: str, own: frozenset[str]) -> bool:
    if host in ("", "localhost") or host in own or host.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified

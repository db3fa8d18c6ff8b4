"""`/internal/ui/`: the dashboard, one page that asks the other pages under `/internal/` every few seconds.

The page is read-only and holds everything it needs. It is shown to addresses of the operator's choice under host names
of the operator's choice, at first this machine alone: a foreign page that leads a browser here by DNS rebinding gets a
403, and so does everybody else, with the name of the setting that lets them in.
"""

import base64
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from arriero.backends.http.call import Headers
from arriero.gateway.lane import Inbound, Lane, reply
from arriero.server.routes import GET_HEAD, Route

PAGE = Path(__file__).parent / "ui" / "index.html"
PATH = "/internal/ui/"

SHOWN_CHARACTERS = 200
"""Of a host name that a stranger sent, so much is repeated."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_SCRIPT, _STYLE = (re.compile(f"<{tag}>(.*?)</{tag}>".encode(), re.DOTALL) for tag in ("script", "style"))
_PLAIN: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
_GUARDED: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Audience(Struct, frozen=True):
    """Who may see the dashboard: clients of these networks, under these host names and any loopback address."""

    enabled: bool = True
    networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    hosts: tuple[str, ...] = ("localhost",)


class Ui:
    """The handler, and its route; none where the dashboard is switched off."""

    def __init__(self, audience: Audience) -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in audience.networks)
        self._hosts = frozenset(host.casefold().rstrip(".") for host in audience.hosts)
        self._page = PAGE.read_bytes()
        self._headers: Headers = (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", policy(self._page)),
            *_GUARDED,
        )
        self.routes: Sequence[Route] = (Route(PATH, GET_HEAD, self.page),) if audience.enabled else ()

    async def page(self, inbound: Inbound, lane: Lane) -> None:
        """The page, or why it is not shown."""
        refused = self._refused(inbound)
        if refused is None:
            reply(lane, 200, self._headers, self._page)
        else:
            reply(lane, 403, (*_PLAIN, *_GUARDED), f"403 {refused}\n".encode())

    def _refused(self, inbound: Inbound) -> str | None:
        for address in _addresses(inbound):
            if not self._has(address):
                return (
                    f"the dashboard is not shown to {_shown(address)}: server.dashboard.allowed_networks lists who may "
                    "see it"
                )
        host = (inbound.get(b"host") or b"").decode("latin-1")
        return None if self._is_named(host) else not_under(host)

    def _has(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in network for network in self._networks)

    def _is_named(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if "@" in host or "/" in host:
            return False
        address = _parsed(name)
        return (address is not None and address.is_loopback) or name.rstrip(".") in self._hosts


def not_under(host: str) -> str:
    """What is told where the page is asked for under a name that it has not."""
    where = f"the dashboard is not shown under the host name '{_shown(host)}'"
    return f"{where}: server.dashboard.allowed_hosts lists its names"


def denied(path: str, headers: Headers) -> tuple[Headers, bytes]:
    """The answer to a page or a host name that may not ask at all: none but the status, as Ollama's clients know it.
    Who looks for the dashboard is a person, and is told what to change.
    """
    if not path.startswith(PATH):
        return (), b""
    host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1")
    return (*_PLAIN, *_GUARDED), f"403 {not_under(host)}\n".encode()


def policy(page: bytes) -> bytes:
    """The Content-Security-Policy of a page: its own script and style, by their hashes, and questions to its server."""
    script, style = (
        b" ".join(b"'sha256-" + base64.b64encode(hashlib.sha256(text).digest()) + b"'" for text in found.findall(page))
        for found in (_SCRIPT, _STYLE)
    )
    return (
        b"default-src 'none'; script-src " + script + b"; style-src " + style + b"; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _addresses(inbound: Inbound) -> list[str]:
    """The client's, and all that proxies say they heard from: one that nobody trusts must not lend its own."""
    forwarded = [value.decode("latin-1") for name, value in inbound.headers if name == b"x-forwarded-for"]
    return [inbound.client or "an unknown address", *(part.strip() for line in forwarded for part in line.split(","))]


def _parsed(text: str) -> _Address | None:
    """An IPv4 address in the form of IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _shown(text: str) -> str:
    return text[:SHOWN_CHARACTERS]

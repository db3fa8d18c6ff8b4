"""Whose request it is: the client's address where proxies of the operator stand in between.

Whatever a stranger writes into `X-Forwarded-For` is believed from nobody else.
"""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

from arriero.backends.http.call import Headers

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_KNOWN = 1024  # peers whose trust is remembered


class Peers:
    """The proxies that are believed, as addresses and networks; a text that is neither raises `ValueError`."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusted = tuple(_network(text) for text in trusted)
        self._known: dict[str, bool] = {}

    def client(self, peer: str | None, headers: Headers) -> str | None:
        """The client's address, without a port. `peer` is that of the connection, `None` where it has none.

        The last address that is not a trusted proxy's; where all are, the first one. Names of fields are in lower case.
        """
        if not self._trusted or peer is None or not self._believed(peer):
            return peer
        forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        if forwarded.strip():
            return self._behind(peer, forwarded)
        # The last one: a proxy that adds its own does so behind what its client sent.
        real = [value for name, value in headers if name == b"x-real-ip"]
        address = _address(real[-1]) if real else None
        return peer if address is None else str(address)

    def _behind(self, peer: str, forwarded: bytes) -> str:
        # From the right: each proxy adds whom it heard at the end, and what stands before it is only that one's word.
        last = peer
        for entry in reversed(forwarded.split(b",")):
            address = _address(entry)
            if address is None:
                break
            last = str(address)
            if not self._has(address):
                break
        return last

    def _believed(self, peer: str) -> bool:
        known = self._known.get(peer)
        if known is None:
            address = _parsed(peer)
            known = address is not None and self._has(address)
            if len(self._known) < _KNOWN:
                self._known[peer] = known
        return known

    def _has(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)


def _network(text: str) -> _Network:
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        return ipaddress.IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _address(entry: bytes) -> _Address | None:
    """One entry as proxies write it: an address, `1.2.3.4:567`, `[::1]`, `[::1]:567`; `None` for anything else."""
    text = entry.decode("latin-1").strip(" \t")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
        if ":" not in text:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(":" + port):
            return None
    # A zone means something on the machine that wrote it, and may hold any text.
    return None if "%" in text else _parsed(text)


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit()


def _parsed(text: str) -> _Address | None:
    """An IPv4 address in the form of IPv6 is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

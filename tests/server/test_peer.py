"""The connection's address and the header fields in, the client's address out."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arriero.server.peer import Peers

PROXY = "10.0.0.1"
TRUSTED = ("10.0.0.0/8", "192.168.1.5", "fd00::/8", "::1")


def xff(*values: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"host", b"gateway"), *((b"x-forwarded-for", value.encode("latin-1")) for value in values))


def test_nobody_is_believed_by_default() -> None:
    spoofed = (*xff("1.1.1.1"), (b"x-real-ip", b"2.2.2.2"))
    assert Peers().client(PROXY, spoofed) == PROXY
    assert Peers().client("::ffff:10.0.0.1", spoofed) == "::ffff:10.0.0.1"
    assert Peers().client(None, spoofed) is None


def test_a_stranger_is_not_believed() -> None:
    peers = Peers(TRUSTED)
    for stranger in ("203.0.113.9", "192.168.1.6", "2001:db8::1", "testclient", ""):
        assert peers.client(stranger, (*xff("1.1.1.1"), (b"x-real-ip", b"2.2.2.2"))) == stranger


def test_a_connection_without_an_address_stays_without() -> None:
    assert Peers(TRUSTED).client(None, xff("1.1.1.1")) is None


@pytest.mark.parametrize(
    "peer", ["10.255.0.1", "192.168.1.5", "fd00::7", "fd12::7%eth0", "::1", "::ffff:10.0.0.1", "::FFFF:192.168.1.5"]
)
def test_who_is_a_trusted_proxy(peer: str) -> None:
    assert Peers(TRUSTED).client(peer, xff("203.0.113.9")) == "203.0.113.9"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        # Who stands before the last stranger is that stranger's word only.
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (["1.1.1.1,203.0.113.9,10.0.0.2,192.168.1.5"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (["1.1.1.1, 203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        # All are trusted: the first one.
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Ports, brackets, IPv4 in the form of IPv6, other spellings.
        (["203.0.113.9:567"], "203.0.113.9"),
        (["203.0.113.9:567, 10.0.0.2:80"], "203.0.113.9"),
        (["[2001:db8::9]:567"], "2001:db8::9"),
        (["[2001:db8::9]"], "2001:db8::9"),
        (["2001:DB8:0::9"], "2001:db8::9"),
        (["2001:db8::9, [::1]:567"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
        ([" \t203.0.113.9 \t"], "203.0.113.9"),
        # What cannot be read ends the walk: the last good one, the proxy itself where there is none.
        (["203.0.113.9, unknown"], PROXY),
        (["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.9, , 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.9,"], PROXY),
        (["203.0.113.9 10.0.0.2"], PROXY),
        (["203.0.113.9:"], PROXY),
        (["203.0.113.9:http"], PROXY),
        (["203.0.113.999"], PROXY),
        (["[203.0.113.9]:80"], PROXY),
        (["[2001:db8::9"], PROXY),
        (["[2001:db8::9]567"], PROXY),
        (["[2001:db8::9]:"], PROXY),
        (["2001:db8::9%eth0"], PROXY),
        (["fe80::1%\r\nx"], PROXY),
        (["\xb2.1.1.1"], PROXY),
        ([","], PROXY),
    ],
)
def test_forwarded_for(forwarded: list[str], client: str) -> None:
    assert Peers(TRUSTED).client(PROXY, xff(*forwarded)) == client


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ((), PROXY),
        (((b"x-real-ip", b"203.0.113.9"),), "203.0.113.9"),
        (((b"x-real-ip", b"[2001:db8::9]:80"),), "2001:db8::9"),
        (((b"x-real-ip", b"1.1.1.1"), (b"x-real-ip", b"203.0.113.9")), "203.0.113.9"),
        (((b"x-real-ip", b"me"),), PROXY),
        (((b"x-forwarded-for", b" "), (b"x-real-ip", b"203.0.113.9")), "203.0.113.9"),
        # Where there is a chain, it alone counts.
        (((b"x-forwarded-for", b"198.51.100.1"), (b"x-real-ip", b"203.0.113.9")), "198.51.100.1"),
        (((b"x-forwarded-for", b"unknown"), (b"x-real-ip", b"203.0.113.9")), PROXY),
    ],
)
def test_real_ip(headers: tuple[tuple[bytes, bytes], ...], client: str) -> None:
    assert Peers(TRUSTED).client(PROXY, headers) == client


def test_networks_as_they_are_written() -> None:
    for text in ("10.0.0.9/8", "::ffff:10.0.0.0/104", "::ffff:0:0/96", "0.0.0.0/0"):
        assert Peers((text,)).client(PROXY, xff("203.0.113.9")) == "203.0.113.9"
    assert Peers(("::/0",)).client(PROXY, xff("203.0.113.9")) == PROXY


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="'proxy' does not appear to be an IPv4 or IPv6 network"):
        Peers(("proxy",))


def test_many_strangers_are_still_strangers() -> None:
    peers = Peers(TRUSTED)
    for number in range(3000):
        stranger = f"172.16.{number // 256}.{number % 256}"
        assert peers.client(stranger, xff("1.1.1.1")) == stranger
    assert peers.client(PROXY, xff("1.1.1.1")) == "1.1.1.1"


ENTRIES = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["10.0.0.2", "::1", "unknown", ""]),
    st.text("0123456789.:[]%,", max_size=9),
)


@given(st.lists(ENTRIES), st.ip_addresses(v=4).map(str))
def test_nothing_that_a_client_writes_hides_it_from_the_proxy(written: list[str], client: str) -> None:
    # The proxy adds whom it heard behind whatever that one sent.
    assume(client != PROXY)
    assert Peers((PROXY,)).client(PROXY, xff(", ".join([*written, client]))) == client


@given(st.lists(ENTRIES))
def test_the_answer_is_an_address_whatever_is_written(written: list[str]) -> None:
    client = Peers(TRUSTED).client(PROXY, xff(",".join(written)))
    assert client is not None
    assert Peers((client,)).client(client, xff("203.0.113.9")) == "203.0.113.9"

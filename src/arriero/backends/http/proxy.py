"""Which proxy stands before an origin: the rules of HTTPS_PROXY and its kin, as a pure function over their values."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from arriero.backends.http.origin import Origin


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The values of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`; who reads the environment fills it in.

    `no` is a list with commas or spaces: a host (matches itself and everything below it, with or without a leading
    dot), a host with a port, an address, a network in CIDR form, or `*`.
    """

    https: str | None = field(default=None, repr=False)
    http: str | None = field(default=None, repr=False)
    all: str | None = field(default=None, repr=False)
    no: str = ""


def choose_proxy(origin: Origin, settings: ProxySettings) -> Origin | None:
    """The proxy towards `origin`, `None` for a direct way. Raises ValueError for a proxy that cannot be used.

    Unix sockets and loopback addresses are never proxied: no proxy could reach them.
    """
    if origin.socket_path is not None or _is_loopback(origin.host):
        return None
    url = (settings.https if origin.secure else settings.http) or settings.all
    if not url or any(_excludes(rule, origin) for rule in settings.no.replace(",", " ").split()):
        return None
    scheme, separator, _ = url.partition("://")
    if not separator:
        url = f"http://{url}"  # `proxy:3128` is customary.
    elif scheme.lower() not in ("http", "https"):
        raise ValueError(f"a proxy of scheme {scheme}:// is not supported, only http:// and https://")
    return Origin.parse(url)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _excludes(rule: str, origin: Origin) -> bool:
    if rule == "*":
        return True
    host = origin.host.partition("%")[0]
    if "/" in rule:
        try:
            return ip_address(host) in ip_network(rule, strict=False)
        except ValueError:
            return False
    name, port = _split_port(rule.lower())
    if port is not None and port != origin.port:
        return False
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(rule: str) -> tuple[str, int | None]:
    if rule.startswith("["):
        name, _, rest = rule[1:].partition("]")
        return name, int(rest[1:]) if rest[1:].isdigit() else None
    name, colon, port = rule.rpartition(":")
    # More than one colon without brackets is an IPv6 address.
    return (name, int(port)) if colon and ":" not in name and port.isdigit() else (rule, None)

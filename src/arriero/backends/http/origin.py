"""Where a backend lives: a base URL, read once, and the TLS settings towards it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlencode, urlsplit

from arriero.backends.http.credentials import basic

_PORTS = {"http": 80, "https": 443}
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class Origin:
    """A parsed base URL. `path` has no trailing slash and is empty for the root; `host` has no brackets.

    `dialed` is one address of `host`, where connections go to that one alone: the `Host` field, the name in TLS and the
    check of the certificate stay those of `host`.
    `query` goes out with every request, escaped, without the question mark.
    `authorization` is the value of an `Authorization` field made of the URL's user and password. It stands in no repr
    and in no message; the transport does not send it by itself.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    socket_path: str | None = None
    authorization: bytes | None = field(default=None, repr=False)
    dialed: str | None = None
    query: str = ""

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Read `http://`, `https://` or `unix:///path/to.sock[:/base]`. Raises ValueError with a sentence for people.

        The sentence never quotes the URL as it was given, which may hold a password.
        """
        text = url.strip()
        if text.startswith("unix://"):
            return cls._parse_unix(text.removeprefix("unix://"))
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            # Not in Python's words: they quote what stands where a port should be, which may be half of a password.
            raise ValueError("the URL cannot be read: its host or port cannot be") from None
        shown = _redacted(parts)
        if parts.scheme not in _PORTS:
            raise ValueError(f"the URL {shown!r} has to begin with http://, https:// or unix://")
        host = unquote(parts.hostname or "")
        if not host:
            raise ValueError("the URL names no host")
        if parts.query or parts.fragment:
            raise ValueError(f"the URL {shown!r} has a query or a fragment; a base URL has none")
        return cls(
            scheme=parts.scheme,
            host=_ascii(host, shown),
            port=port if port is not None else _PORTS[parts.scheme],
            path=quote(parts.path.rstrip("/"), safe=_PATH_SAFE),
            authorization=basic(parts.username, parts.password),
        )

    @classmethod
    def _parse_unix(cls, text: str) -> "Origin":
        socket_path, colon, base = text.partition(":/")
        if not socket_path.startswith("/"):
            raise ValueError("a unix:// URL needs an absolute path: unix:///run/backend.sock")
        path = quote(("/" + base).rstrip("/"), safe=_PATH_SAFE) if colon else ""
        return cls(scheme="unix", host="localhost", port=0, path=path, socket_path=unquote(socket_path))

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def netloc(self) -> str:
        """`host`, with brackets where it is an IPv6 address, and the port where it is not the scheme's own."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port in (0, _PORTS.get(self.scheme)) else f"{host}:{self.port}"

    @property
    def authority(self) -> str:
        """What is dialed as `host:port`, always with the port: the target of a CONNECT."""
        host = self.dialed or self.host
        host = f"[{host.partition('%')[0]}]" if ":" in host else host
        return f"{host}:{self.port}"

    @property
    def host_header(self) -> bytes:
        return self.netloc.encode("ascii")

    @property
    def address(self) -> str:
        """For people: the URL without path and credentials."""
        return f"unix://{self.socket_path}" if self.socket_path is not None else f"{self.scheme}://{self.netloc}"

    @property
    def place(self) -> str:
        """For people: the same, with the address where one is dialed."""
        return self.address if self.dialed is None else f"{self.address} at {self.dialed}"

    def target(self, path: str, asked: bytes = b"") -> str:
        """The request target of `path` (which begins with a slash) under the base. `asked` is a client's own query."""
        if not self.query and not asked:
            return self.path + path
        return self.queried(self.path + path, asked)

    def queried(self, target: str, asked: bytes = b"") -> str:
        """A target with the query of every request, and what a client asked for besides. The own words are stronger."""
        own, others = self.query, asked.decode("latin-1")
        if own and others:
            taken = {_name(pair) for pair in own.split("&")}
            others = "&".join(pair for pair in others.split("&") if _name(pair) not in taken)
        query = "&".join(filter(None, (own, others)))
        return f"{target}{'&' if '?' in target else '?'}{query}" if query else target

    def __str__(self) -> str:
        return self.address + (f":{self.path}" if self.socket_path is not None and self.path else self.path)


def tls_context(*, ca_file: str | None = None, verify: bool = True) -> ssl.SSLContext:
    """A client context. `ca_file` (PEM) replaces the system's authorities. Raises ValueError if it cannot be read.

    Costs milliseconds and a megabyte: one per backend, built at start.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise ValueError(f"ca_file {ca_file!r} holds no usable certificate") from None
    except OSError as error:
        raise ValueError(f"ca_file {ca_file!r} cannot be read: {error.strerror}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def query_of(parameters: Mapping[str, str]) -> str:
    """Parameters as the query of a URL, without its question mark; one with an empty value stays out."""
    return urlencode({name: value for name, value in parameters.items() if value}, safe="", quote_via=quote)


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _ascii(host: str, shown: str) -> str:
    try:
        # Also for plain ASCII: the codec knows the limits of a label, which the name lookup would stumble over.
        ascii_host = host if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"the URL {shown!r} names a host that cannot be") from None
    if any(c <= " " or c in '/\\?#@<>"' or c == "\x7f" for c in ascii_host):
        raise ValueError(f"the URL {shown!r} names a host that cannot be")
    return ascii_host


def _redacted(parts: SplitResult) -> str:
    if "@" in parts.path + parts.query + parts.fragment:
        # A password with a "/", "?" or "#" in it: what was read as host and path are pieces of it.
        return f"{parts.scheme}://..."
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

"""Where a registry and what it points to live: model names and `Location` fields as origins and request targets.

Pure; nothing here opens a connection. What a registry says is not trusted: only http and https, no credentials, no way
from https down to http.
"""

from urllib.parse import quote, urljoin, urlsplit

from msgspec import Struct

from arriero.backends.http.origin import Origin
from arriero.dialects.ollama.names import Name
from arriero.errors import BadRequest, RegistryError

MAX_URL_CHARACTERS = 16384
"""A signed URL of a storage service has about a thousand."""

_SAFE = "/%:@!$&'()*+,;=~-._?[]"


class Place(Struct, frozen=True):
    """A URL, taken apart: the connection it needs, and what stands in the request line."""

    origin: Origin
    target: str

    @property
    def url(self) -> str:
        return f"{self.origin.address}{self.target}"

    @property
    def path(self) -> str:
        """The URL without its query, which may be a signature: for people."""
        return f"{self.origin.address}{self.target.partition('?')[0]}"

    def join(self, reference: str) -> "Place":
        """Where `reference`, a URL or a part of one, points from here. Raises RegistryError where nobody should go."""
        if len(reference) > MAX_URL_CHARACTERS:
            raise RegistryError(f"{self.origin.address} sends its clients to an address that is too long")
        try:
            place = read_url(urljoin(self.url, reference))
        except ValueError:
            raise RegistryError(f"{self.origin.address} sends its clients to an address that cannot be read") from None
        if self.origin.secure and not place.origin.secure:
            raise RegistryError(
                f"{self.origin.address} sends its clients to {place.origin.address}, from https down to http"
            )
        return place

    def same_host(self, other: "Place") -> bool:
        """Whether both are on one host; the port may be another one."""
        return self.origin.host == other.origin.host


def read_url(url: str) -> Place:
    """Raises ValueError, which quotes nothing. A user and a password in it are left out, a fragment too."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("the URL has to begin with http:// or https://")
    origin = Origin.parse(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    target = quote(parts.path or "/", safe=_SAFE)
    return Place(origin, f"{target}?{quote(parts.query, safe=_SAFE)}" if parts.query else target)


def repository(name: Name, *, insecure: bool) -> Place:
    """The root of what a registry knows of a model, `/v2/<namespace>/<model>/`: plain http where it is insecure."""
    try:
        origin = Origin.parse(f"{'http' if insecure else 'https'}://{name.host}")
    except ValueError:
        raise BadRequest("invalid model name") from None
    return Place(origin, f"/v2/{name.namespace}/{name.model}/")

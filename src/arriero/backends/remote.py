"""The kinds `openai` and `ollama`: a model server somewhere else, reached over HTTP."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import msgspec
import structlog
from msgspec import Struct

from arriero.backends.base import Want
from arriero.backends.http.call import Call, Headers, Rendered, Timeouts
from arriero.backends.http.discreet import worth_hiding
from arriero.backends.http.origin import Origin, tls_context
from arriero.backends.http.pool import Pool
from arriero.backends.http.proxy import ProxySettings, choose_proxy
from arriero.canonical.catalog import LoadedModel, ModelCard, ModelDetail
from arriero.canonical.requests import EmbedRequest
from arriero.dialects import backend_errors
from arriero.dialects.ollama import catalog as ollama_catalog
from arriero.dialects.openai import catalog as openai_catalog
from arriero.dialects.profiles import Profile
from arriero.errors import BackendError

log = structlog.get_logger("arriero.backends")


class RemoteSettings(Struct, frozen=True, kw_only=True):
    """How to reach a server. `api_key` never appears in a message or a log; `headers` go out with every request.

    `address` is the one of the URL's host that is dialed; `None` dials whichever answers.
    """

    name: str
    url: str
    profile: Profile
    api_key: str | None = None
    headers: Mapping[str, str] = {}
    timeouts: Timeouts = Timeouts()
    verify: bool = True
    ca_file: str | None = None
    proxy: ProxySettings = ProxySettings()
    openai_api: bool = True
    user_agent: str = "arriero"
    check_path: str | None = None
    address: str | None = None

    def __repr__(self) -> str:
        return f"RemoteSettings(name={self.name!r})"  # the rest holds keys


class FixedPlace:
    """A place that is always there: the server loads and unloads on its own."""

    __slots__ = ("model", "pool")

    def __init__(self, pool: Pool, model: str) -> None:
        self.pool = pool
        self.model = model

    def release(self, keep_alive: float | None) -> None:
        """Nothing is held."""

    async def fit(self, request: EmbedRequest) -> EmbedRequest:
        """Only the server can count its tokens."""
        return request

    async def diagnose(self) -> BackendError | None:
        """The socket knows all there is to know."""
        return None


class Remote:
    """What both kinds share: a pool, the headers of every request, and small calls of the gateway's own."""

    kind = "remote"
    library = False
    has_memory = False
    curated = False
    silent = False
    check_path = "/"
    broken: Mapping[str, str] = MappingProxyType({})

    def __init__(self, settings: RemoteSettings) -> None:
        """Raises ValueError for a URL, a proxy or a CA file that cannot be used."""
        origin = replace(Origin.parse(settings.url), dialed=settings.address)
        tls = tls_context(ca_file=settings.ca_file, verify=settings.verify) if origin.secure else None
        self.name = settings.name
        self.where = str(origin) if origin.dialed is None else f"{origin} at {origin.dialed}"
        self.profile = settings.profile
        self.roots: Mapping[str, str] = {}
        self.error_type = settings.profile.error_type
        # Where it is a vendor's own host it is not of the house, whatever its kind.
        self.forwards_client = settings.profile.forwards_client_address and not settings.profile.has_host(origin.host)
        self.pool = Pool(
            origin,
            timeouts=settings.timeouts,
            tls=tls,
            proxy=_proxy(origin, settings.proxy),
            label=settings.name,
            secrets=_secrets(settings, origin),
        )
        self.headers = _fixed_headers(settings, origin)
        self.rendered = Rendered.of(self.headers)
        self.private = frozenset(name.lower().encode() for name in (settings.profile.auth_header, *settings.headers))
        self._check_path = settings.check_path

    def at_hand(self, want: Want) -> FixedPlace:
        """The server itself."""
        return FixedPlace(self.pool, want.model)

    async def reach(self, want: Want) -> FixedPlace:
        """The server itself; never waits."""
        return FixedPlace(self.pool, want.model)

    async def load(self, model: str, keep_alive: float | None) -> None:
        """Nothing to do: the server loads by itself when it is asked."""

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """Nothing is known of the server's memory."""
        return ()

    async def close(self) -> None:
        """Close the connections that are idle."""
        self.pool.close()

    async def ask(self, method: str, path: str, body: bytes = b"", *, root: str | None = None) -> bytes:
        """A small call of the gateway's own; the body of a good answer. `root` replaces the base URL's path.

        Raises `BackendError`.
        """
        target = self.pool.origin.target(path) if root is None else root + path
        call = Call(method, target, self.headers, body)
        head, answer = await self.pool.fetch(call)
        if head.status >= 300:
            error = backend_errors.read_error(head.status, answer, self.error_type)
            error.retry_after = head.retry_after_s
            raise error
        return answer

    async def check(self) -> None:
        """The operator's path for health checks, or the kind's own."""
        if self._check_path is None:
            await self.ask("GET", self.check_path)
        else:
            await self.ask("GET", self._check_path, root="")


class OpenAI(Remote):
    """Any API that speaks the OpenAI wire; what it does differently is its profile."""

    kind = "openai"

    def __init__(self, settings: RemoteSettings) -> None:
        super().__init__(settings)
        self.roots = {"openai": ""}
        self.check_path = settings.profile.models_path

    async def list_models(self) -> tuple[ModelCard, ...]:
        """The models of the API's own list, with what it and the vendor's page of details tell of them."""
        cards = openai_catalog.read_models(await self.ask("GET", self.profile.models_path), self.profile)
        if self.profile.details_path is None:
            return cards
        try:
            page = await self.ask("GET", self.profile.details_path, root=self.pool.origin.path.removesuffix("/v1"))
            return openai_catalog.with_details(cards, page, self.profile)
        except BackendError as error:
            # An older server, or one behind a proxy that lets only /v1 through: the list alone is true as well.
            log.debug("backend has no page of details", backend=self.name, error=error.message)
            return cards

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        """All there is to know is on the card."""
        return ModelDetail(card=card)


class Ollama(Remote):
    """An Ollama server, or anything that answers like one."""

    kind = "ollama"
    library = True
    has_memory = True

    def __init__(self, settings: RemoteSettings) -> None:
        super().__init__(settings)
        self.roots = {"ollama": "", "openai": "/v1"} if settings.openai_api else {"ollama": ""}

    async def list_models(self) -> tuple[ModelCard, ...]:
        """`/api/tags`."""
        return ollama_catalog.read_tags(await self.ask("GET", "/api/tags"))

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """`/api/ps`."""
        return ollama_catalog.read_ps(await self.ask("GET", "/api/ps"))

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        """`/api/show`."""
        body = msgspec.json.encode({"model": card.id, "verbose": verbose})
        return ollama_catalog.read_show(await self.ask("POST", "/api/show", body), card.id)

    async def load(self, model: str, keep_alive: float | None) -> None:
        """A request without a prompt; only where the client's own could not be relayed."""
        seconds = None if keep_alive is None else -1 if keep_alive == float("inf") else keep_alive
        await self.ask("POST", "/api/generate", msgspec.json.encode({"model": model, "keep_alive": seconds}))


def _proxy(origin: Origin, settings: ProxySettings) -> Origin | None:
    """The proxy, if any. Raises ValueError for one that would look the name up again, instead of the address told."""
    proxy = choose_proxy(origin, settings)
    if proxy is None or origin.dialed is None:
        return proxy
    if choose_proxy(replace(origin, host=origin.dialed), settings) is None:
        return None  # the rules let its address go around the proxy, though not its name
    if not origin.secure:
        raise ValueError("discover: dns goes to each address by itself, which a proxy cannot; set proxy: direct")
    return proxy


def _fixed_headers(settings: RemoteSettings, origin: Origin) -> Headers:
    fields = {
        # A compressed stream would sit in somebody's buffer; identity keeps every event moving.
        "accept-encoding": "identity",
        "accept": "*/*",
        "content-type": "application/json",
        "user-agent": settings.user_agent,
        **{name.lower(): value for name, value in settings.profile.headers.items()},
    }
    if settings.api_key:
        fields[settings.profile.auth_header] = settings.profile.auth_prefix + settings.api_key
    elif origin.authorization is not None:
        fields["authorization"] = origin.authorization.decode("ascii")
    fields.update((name.lower(), value) for name, value in settings.headers.items())
    try:
        return tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items())
    except UnicodeEncodeError:
        # Not in Python's words: they quote the value.
        raise ValueError("the API key or a header field holds a character that HTTP has no place for") from None


def _secrets(settings: RemoteSettings, origin: Origin) -> tuple[bytes, ...]:
    """What the backend is told and nobody else may hear."""
    basic = None if origin.authorization is None else origin.authorization.decode("ascii").removeprefix("Basic ")
    return worth_hiding([settings.api_key, basic, *settings.headers.values()])

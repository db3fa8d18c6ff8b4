"""The kinds `openai` and `ollama`: a model server somewhere else, reached over HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from operator import is_not
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
import structlog
from msgspec import Struct

from arriero.backends.base import Want
from arriero.backends.http.astray import astray, is_plain
from arriero.backends.http.call import Call, Headers, Rendered, Timeouts
from arriero.backends.http.discreet import worth_hiding
from arriero.backends.http.origin import Origin, query_of, tls_context
from arriero.backends.http.pool import Pool
from arriero.backends.http.proxy import ProxySettings, choose_proxy
from arriero.canonical.catalog import LoadedModel, ModelCard, ModelDetail
from arriero.canonical.requests import Request
from arriero.dialects import backend_errors
from arriero.dialects.ollama import catalog as ollama_catalog
from arriero.dialects.openai import catalog as openai_catalog
from arriero.dialects.quirks import Profile
from arriero.errors import BackendBroken, BackendError, BackendRefused, BackendUnconfigured

log = structlog.get_logger("arriero.backends")

MAX_PAGES = 100
"""Pages of one list of models that are read."""


class RemoteSettings(Struct, frozen=True, kw_only=True):
    """How to reach a server. `api_key` never appears in a message or a log; `headers` and `query` go out with every
    request, and are stronger than the profile's. `models_named`: the operator has named models of the server's.

    `address` is the one of the URL's host that is dialed; `None` dials whichever answers.
    """

    name: str
    url: str
    profile: Profile
    api_key: str | None = None
    headers: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    models_named: bool = False
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

    async def fit(self, request: Request) -> Request:
        """Only the server knows what it takes."""
        return request

    async def diagnose(self) -> BackendError | None:
        """The socket knows all there is to know."""
        return None


Read = TypeVar("Read")

_ABSENT = frozenset({404, 405})
"""What servers answer to a path that is not there."""


class Unread:
    """Answers that may come again as they were: reading a list of thousands holds everybody up, and hardly one check in
    a hundred brings another one.
    """

    def __init__(self) -> None:
        self._read: dict[str, tuple[bytes, object]] = {}

    @property
    def places(self) -> int:
        """How many are remembered."""
        return len(self._read)

    def of(self, place: str, body: bytes, read: Callable[[bytes], Read]) -> Read:
        """What `read` makes of the body, the same object as last time where the same body has come from this place."""
        digest = blake2b(body, digest_size=16).digest()
        known = self._read.get(place)
        if known is None or known[0] != digest:
            if len(self._read) >= MAX_PAGES:
                self._read.clear()  # the places of a list's pages may have other names each time
            known = self._read[place] = (digest, read(body))
        return known[1]  # type: ignore[return-value]  # each place has one way of being read


class Remote:
    """What both kinds share: a pool, the headers of every request, and small calls of the gateway's own."""

    kind = "remote"
    library = False
    has_memory = False
    curated = False
    silent = False
    broken: Mapping[str, str] = MappingProxyType({})

    def __init__(self, settings: RemoteSettings) -> None:
        """Raises ValueError for a URL, a proxy or a CA file that cannot be used."""
        origin = replace(
            Origin.parse(settings.url),
            dialed=settings.address,
            query=query_of({**settings.profile.query, **settings.query}),
        )
        tls = tls_context(ca_file=settings.ca_file, verify=settings.verify) if origin.secure else None
        self.name = settings.name
        self.where = str(origin) if origin.dialed is None else f"{origin} at {origin.dialed}"
        self.profile = settings.profile
        self.roots: Mapping[str, str] = {}
        self.error_type = settings.profile.error_type
        # Where it is a vendor's own host it is not of the house, whatever its kind.
        self.at_vendor = settings.profile.has_host(origin.host)
        self.forwards_client = settings.profile.forwards_client_address and not self.at_vendor
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
        self._unread = Unread()

    def at_hand(self, want: Want) -> FixedPlace:
        """The server itself."""
        return FixedPlace(self.pool, want.model)

    async def reach(self, want: Want) -> FixedPlace:
        """The server itself; never waits."""
        return FixedPlace(self.pool, want.model)

    async def courier(self) -> Pool:
        """The server itself."""
        return self.pool

    async def load(self, want: Want, keep_alive: float | None) -> None:
        """Nothing to do: the server loads by itself when it is asked."""

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """Nothing is known of the server's memory."""
        return ()

    async def close(self) -> None:
        """Close the connections that are idle."""
        self.pool.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        root: str | None = None,
        query: Mapping[str, str] = MappingProxyType({}),
        headers: Headers | None = None,
        unread: bool = False,
    ) -> bytes:
        """A small call of the gateway's own; the body of a good answer. `root` replaces the base URL's path, `headers`
        those of every request. `unread`: that there is an answer is all that counts, be it a web page.

        Raises `BackendError`.
        """
        origin = self.pool.origin
        target = origin.queried((origin.path if root is None else root) + path, urlencode(query).encode())
        call = Call(method, target, self.headers if headers is None else headers, body)
        head, answer = await self.pool.fetch(call)
        if (head.status >= 300 or not unread) and (words := astray(head, answer)) is not None:
            raise BackendBroken(words)
        if head.status >= 300:
            error = backend_errors.read_error(head.status, answer if is_plain(head) else b"", self.profile)
            error.retry_after = head.retry_after_s
            raise error
        return answer

    async def check(self) -> None:
        """The operator's path for health checks, or the kind's own."""
        if self._check_path is None:
            await self.check_itself()
        else:
            await self.ask("GET", self._check_path, root="", unread=True)

    async def check_itself(self) -> None:
        """Ask as little as shows that it is well."""
        await self.ask("GET", "/", unread=True)


class OpenAI(Remote):
    """Any API that speaks the OpenAI wire; what it does differently is its profile."""

    kind = "openai"

    def __init__(self, settings: RemoteSettings) -> None:
        super().__init__(settings)
        self.roots = {"openai": ""}
        self._models_named = settings.models_named
        self._cards: tuple[ModelCard, ...] = ()
        self._endless = self._listless = False
        self._list_headers = _fixed_headers(settings, self.pool.origin, settings.profile.models_auth)

    async def check_itself(self) -> None:
        """The list's beginning, or what else shows whether the key is taken; nothing where there is no such path."""
        if self.profile.models_path is not None:
            await self._page(self.profile.models_path, {})
        elif self.profile.check_path is not None:
            await self.ask("GET", self.profile.check_path, unread=True)

    async def list_models(self) -> tuple[ModelCard, ...]:
        """The models of the API's own list, with what it and the vendor's page of details tell of them.

        None where the vendor has no list, or the operator has named models and there is none: those are all then.
        """
        if self.profile.models_path is None:
            if not self._models_named:
                raise BackendUnconfigured(
                    f"{self.profile.title or self.profile.name} has no list of its models: none is offered until they"
                    f" are named in extra_models of the backend {self.name}"
                )
            await self.check()
            return ()
        cards = await self._pages(self.profile.models_path)
        if self.profile.details_path is None:
            return cards
        try:
            page = await self.ask("GET", self.profile.details_path, root=self.pool.origin.path.removesuffix("/v1"))
            return openai_catalog.with_details(cards, page, self.profile)
        except BackendError as error:
            # An older server, or one behind a proxy that lets only /v1 through: the list alone is true as well.
            log.debug("backend has no page of details", backend=self.name, error=error.message)
            return cards

    async def _pages(self, path: str) -> tuple[ModelCard, ...]:
        """The whole list. One without end is read as far as it brings something new."""
        cards: dict[str, ModelCard] = {}
        asked: Mapping[str, str] = {}
        entries = 0
        for _ in range(MAX_PAGES):
            read = partial(openai_catalog.read_page, profile=self.profile, before=entries)
            body = await self._page(path, asked)
            if body is None:
                return ()
            try:
                page = self._unread.of(f"{entries} {urlencode(asked)}", body, read)
            except BackendError as error:
                error.message = self.pool.hide(error.message)  # it may be the vendor's, told with 200
                raise
            if page.next is None and not cards:
                return page.cards
            entries, known = entries + page.entries, len(cards)
            for card in page.cards:
                cards.setdefault(card.id, card)
            if page.next is None:
                return self._whole(cards)
            if len(cards) == known or len(cards) >= openai_catalog.MAX_MODELS:
                break
            asked = page.next
        if not self._endless:  # once: every check finds it again
            log.warning("a model list has no end; what came is kept", backend=self.name, models=len(cards))
        self._endless = True
        return self._whole(cards)

    def _whole(self, found: Mapping[str, ModelCard]) -> tuple[ModelCard, ...]:
        """All pages as one; the same object as last time where every card is."""
        cards = tuple(found.values())[: openai_catalog.MAX_MODELS]
        if len(cards) != len(self._cards) or any(map(is_not, cards, self._cards)):
            self._cards = cards
        return self._cards

    async def _page(self, path: str, asked: Mapping[str, str]) -> bytes | None:
        """`None` where there is no list, and the operator has named models."""
        profile = self.profile
        query = {**profile.models_query, **asked}
        root = "" if profile.models_at_host else None
        try:
            return await self.ask("GET", path, root=root, query=query, headers=self._list_headers)
        except BackendError as error:
            if error.status not in _ABSENT or asked:
                raise
            place = (self.pool.origin.path if root is None else root) + path
            if not self._models_named:
                raise _absent(
                    f"the list of models is not there (HTTP {error.status} at {place}): look at its url,"
                    " or name its models with -m or in extra_models",
                    error,
                ) from None
            if not self._listless:  # once: every check finds it again
                log.warning("backend has no list of models; those that are named are offered", backend=self.name)
            self._listless = True
            return None

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
        if self.at_vendor:
            # Ollama's cloud: it has no memory to look into, and nobody pulls or deletes models there.
            self.library = self.has_memory = False

    async def list_models(self) -> tuple[ModelCard, ...]:
        """`/api/tags`."""
        try:
            body = await self.ask("GET", "/api/tags")
        except BackendError as error:
            if error.status not in _ABSENT:
                raise
            raise _absent(
                f"the list of models is not there (HTTP {error.status} at /api/tags): look at its url;"
                " who speaks OpenAI's API is of kind openai",
                error,
            ) from None
        return self._unread.of("/api/tags", body, ollama_catalog.read_tags)

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """`/api/ps`."""
        return ollama_catalog.read_ps(await self.ask("GET", "/api/ps"))

    async def show(self, card: ModelCard, verbose: bool) -> ModelDetail:
        """`/api/show`."""
        body = msgspec.json.encode({"model": card.id, "verbose": verbose})
        return ollama_catalog.read_show(await self.ask("POST", "/api/show", body), card.id)

    async def load(self, want: Want, keep_alive: float | None) -> None:
        """A request without a prompt; only where the client's own could not be relayed."""
        seconds = None if keep_alive is None else -1 if keep_alive == float("inf") else keep_alive
        await self.ask("POST", "/api/generate", msgspec.json.encode({"model": want.model, "keep_alive": seconds}))


def _absent(message: str, error: BackendError) -> BackendRefused:
    """What the backend's own words, often no more than `Not Found`, tell nobody."""
    return BackendRefused(message, status=error.status, type=error.type)


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


def _fixed_headers(settings: RemoteSettings, origin: Origin, auth: tuple[str, str] | None = None) -> Headers:
    """The fields of every request; `auth` is the field for the key and what stands before it, else the profile's."""
    name, prefix = auth or (settings.profile.auth_header, settings.profile.auth_prefix)
    fields = {
        # A compressed stream would sit in somebody's buffer; identity keeps every event moving.
        "accept-encoding": "identity",
        "accept": "*/*",
        "content-type": "application/json",
        "user-agent": settings.user_agent,
        **{name.lower(): value for name, value in settings.profile.headers.items()},
    }
    if settings.api_key:
        fields[name] = prefix + settings.api_key
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
    # A version is no secret, and who is told of a wrong one has to read it.
    query = [value for name, value in settings.query.items() if "version" not in name.lower()]
    return worth_hiding([settings.api_key, basic, *settings.headers.values(), *query])

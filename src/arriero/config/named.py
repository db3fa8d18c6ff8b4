"""Backends that variables and flags name, and what these change in the file's; what was understood of each provider.

Which providers there are, and what their variables are called, is the table in `providers`.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from arriero.config import providers, vendors
from arriero.config.draft import Draft
from arriero.config.environment import DEFAULT, Found, Origin, Variables
from arriero.config.flags import Flags
from arriero.config.problems import Location
from arriero.config.providers import AZURE, BEDROCK, OLLAMA, OPENAI, OPENROUTER, PROVIDERS, Provider
from arriero.config.strategies import STRATEGY_VARIABLE, Routing
from arriero.config.values import parse_list, parse_seconds_within, parse_truth, parse_whole_within

PROXY = Origin("default", "default")
"""The origin of what holds because ollama-proxy does so unasked: a default as well, and told apart from arriero's."""

_IN_FLIGHT = partial(parse_whole_within, least=1, most=1000)
_TIMEOUT = partial(parse_seconds_within, least=1, most=3600)
_INTERVAL = partial(parse_seconds_within, least=10)

UNROUTED = Routing(said=False, ranked=False)
_API_OF_OLLAMA = re.compile(r"(/v1|/api)/*\s*$")
_REGION = re.compile(r"[a-z0-9-]{2,40}")
_UNDATED = ("preview", "latest", "v1")
"""Versions of Azure's v1 API; any other is the date of a version of the older one."""


class Understood(NamedTuple):
    """What was understood of one provider. `off` is why it has no backend, `None` where it has one; `origin` is what
    decided that. `refused`: it was switched off by name. `unnamed`: nobody has said anything of it."""

    provider: Provider
    off: str | None
    origin: Origin = DEFAULT
    refused: bool = False
    unnamed: bool = False


def take(
    draft: Draft, flags: Flags, variables: Variables, *, by_file: bool, routing: Routing = UNROUTED
) -> tuple[Understood, ...]:
    """Put every provider that flags or variables name into the draft. `by_file`: the file names the backends, so that
    variables change its entries and add none, but for a URL of the API of OpenAI."""
    return _Taking(draft, flags, variables, by_file, routing).all()


class _Taking:
    def __init__(self, draft: Draft, flags: Flags, variables: Variables, by_file: bool, routing: Routing) -> None:
        self._draft = draft
        self._flags = flags
        self._variables = variables
        self._by_file = by_file
        self._routing = routing
        self._flag_key = Found("--api-key", flags.api_key, Origin("flag", "--api-key")) if flags.api_key else None
        self._flag_url = Found("--base-url", flags.base_url, Origin("flag", "--base-url")) if flags.base_url else None
        self._flagged = self._named_by_flags()

    def all(self) -> tuple[Understood, ...]:
        """Every provider in the order of the table."""
        understood = tuple(self._one(provider) for provider in PROVIDERS)
        if self._flagged is None:
            named = any(row.provider is OPENAI and row.off is None for row in understood)
            for flag, value in (("--models", self._flags.models), ("--capabilities", self._flags.capabilities)):
                if value and not named:
                    self._draft.problems.append(
                        f"{flag}: needs a backend of the OpenAI API: give --base-url or --api-key as well"
                    )
        return understood

    def _named_by_flags(self) -> Provider | None:
        """Whose key and URL the flags are: one program's `--api-key` is OpenRouter's, another's that of its URL."""
        if self._flag_url is not None:
            return OPENAI
        if self._flag_key is None:
            return None
        if self._flag_key.value.strip().startswith(providers.OPENROUTER_KEYS):
            _, url = self._key_and_url(OPENAI)
            return OPENAI if url is not None and vendors.guess_name(url.value) == OPENROUTER.profile else OPENROUTER
        return OPENAI

    def _one(self, provider: Provider) -> Understood:
        flagged = provider is self._flagged
        enabled, origin = self._enabled(provider)
        existing = self._existing(provider)
        if existing is not None:
            if enabled is False and not flagged:
                self._draft.leave_out(existing[0])
                return Understood(provider, f"{origin.name} is false", origin, refused=True)
            self._change(provider, *existing, flagged)
            return Understood(provider, None, self._draft.origin(("backends", existing[0], "name")))
        key, url = self._key_and_url(provider)
        if flagged:
            key, url = self._flag_key or key, self._flag_url or url
        elif (off := self._why_off(provider, key, url, enabled, origin)) is not None:
            return off
        named_by = key or url
        self._add(provider, key, url, origin)
        return Understood(provider, None, named_by.origin if named_by is not None else origin)

    # ---- whether ---------------------------------------------------------------------------------------------------

    def _existing(self, provider: Provider) -> tuple[int, dict[str, Any]] | None:
        for position, entry in enumerate(self._draft.backends()):
            if isinstance(entry, dict) and entry.get("name") == provider.name:
                return position, entry
        return None

    def _enabled(self, provider: Provider) -> tuple[bool | None, Origin]:
        found = self._variables.find(*provider.names("ENABLED"))
        if found is None:
            return None, DEFAULT
        enabled = self._draft.read(found, parse_truth)
        return enabled, DEFAULT if enabled is None else found.origin

    def _key_and_url(self, provider: Provider) -> tuple[Found | None, Found | None]:
        find = self._variables.find
        if provider is not OPENAI:
            return find(*provider.keys), find(*provider.urls)
        short_keys, short_urls = providers.OPENAI_SHORT
        key, url = find(*provider.keys, *short_keys), find(*provider.urls, *short_urls)
        alone = find(*provider.keys, *provider.urls) is None and not (key and url)
        return (None, None) if alone else (key, url)

    def _why_off(
        self, provider: Provider, key: Found | None, url: Found | None, enabled: bool | None, origin: Origin
    ) -> Understood | None:
        """Why a provider that no flag and no file names is off; `None` where it is on."""
        if enabled is False:
            return Understood(provider, f"{origin.name} is false", origin, refused=True)
        if self._by_file and not (provider is OPENAI and url is not None):
            unnamed = key is None and url is None and not enabled
            return Understood(provider, "the file names the backends, and none has this name", unnamed=unnamed)
        if provider is OLLAMA:
            if enabled or url is not None:
                return None
            return Understood(provider, f"neither OLLAMA_ENABLED=true nor {provider.urls[0]} is set", unnamed=True)
        if key is None and not (provider.url_alone and url is not None):
            unsigned = self._variables.find(*providers.BEDROCK_CREDENTIALS) if provider is BEDROCK else None
            reason = f"{provider.keys[0]} is not set"
            if unsigned is not None:
                self._draft.warnings.append(
                    f"{unsigned.origin} is not used: arriero signs no requests; make a Bedrock API key and put it into "
                    f"{provider.keys[0]}"
                )
            elif enabled:
                self._draft.warnings.append(f"{origin} is true, but {reason}: {provider.name} is left out")
            return Understood(provider, reason, unnamed=unsigned is None and not enabled and url is None)
        if provider is AZURE and url is None:
            reason = f"{provider.urls[0]} is not set"
            named_by = key.origin if key is not None else origin
            self._draft.warnings.append(
                f"{named_by} is set, but {provider.urls[0]} (https://NAME.openai.azure.com) is not: azure is left out"
            )
            return Understood(provider, reason)
        return None

    # ---- a backend of its own --------------------------------------------------------------------------------------

    def _add(self, provider: Provider, key: Found | None, url: Found | None, enabled: Origin) -> None:
        entry: dict[str, Any] = {"name": provider.name, "kind": provider.kind}
        where: Location = ("backends", len(self._draft.backends()))
        self._draft.add(entry, {})
        if provider.profile is not None or (provider is OPENAI and url is None):
            entry["profile"] = provider.profile or "openai"
        if key is not None:
            self._draft.put(where, entry, "api_key", key.value, key.origin)
        if provider is OLLAMA and url is None:
            self._draft.put(where, entry, "url", providers.OLLAMA_URL, enabled)
        elif provider is BEDROCK and url is None:
            self._set_region(where, entry)
        if url is not None:
            self._draft.put(where, entry, "url", self._url(provider, entry, url), url.origin)
        if provider is AZURE:
            self._set_azure(where, entry)
        if self._routing.ranked and not self._by_file:
            self._draft.put(where, entry, "priority", providers.priority_of(provider.rank), PROXY)
        self._set_priority(provider, where, entry)
        self._set_limits(provider, where, entry)
        if (found := self._variables.find("MAX_CONCURRENT_REQUESTS")) is not None and "max_concurrency" not in entry:
            self._put(where, entry, ("max_concurrency",), found, _IN_FLIGHT)
        if (found := self._variables.find("HEALTH_CHECK_INTERVAL")) is not None:
            self._put(where, entry, ("check_interval",), found, _INTERVAL)
        if provider is OPENAI:
            self._set_models(where, entry, self._variables)
        elif provider is self._flagged:
            self._set_models(where, entry, None)
        if provider.models:
            self._set_own_models(provider, where, entry)

    def _url(self, provider: Provider, entry: Mapping[str, Any], found: Found) -> str:
        """A URL as the backend needs it, of one that a client of the vendor's own API is given."""
        if entry.get("kind") == "ollama":
            return _API_OF_OLLAMA.sub("", found.value)
        profile = entry.get("profile")
        return vendors.completed(found.value, profile if isinstance(profile, str) else provider.profile)

    def _set_region(self, where: Location, entry: dict[str, Any]) -> None:
        found = self._variables.find(*providers.BEDROCK_REGIONS)
        if found is None:
            return
        if not _REGION.fullmatch(found.value):
            self._draft.problems.append(f"{found.origin}: is not the name of a region such as us-east-1")
        elif (url := vendors.in_region("bedrock", found.value)) is not None:
            self._draft.put(where, entry, "url", url, found.origin)

    def _set_azure(self, where: Location, entry: dict[str, Any]) -> None:
        """Azure has two APIs: with a date for a version, or without one. Each has its path below the resource."""
        version = self._variables.find(*providers.AZURE_VERSIONS)
        url = str(entry.get("url", "")).strip().rstrip("/")
        dated = version is not None and version.value.lower() not in _UNDATED
        if url.endswith("/v1") and dated:
            # The URL is the plainer word of the two, and clients of OpenAI set the version for other programs as well.
            told = version.origin if version else AZURE.name
            self._draft.warnings.append(
                f"{told} is not used: an address that ends in /v1 is that of the API without versions"
            )
            version, dated = None, False
        if dated:
            entry["profile"] = "azure-deployments"
        if version is not None:
            self._draft.put(where, entry, "query", {"api-version": version.value}, version.origin)
        if _has_no_path_at_azure(url):
            root = url.removesuffix("/openai")
            entry["url"] = f"{root}/openai" if dated else f"{root}/openai/v1"

    def _set_own_models(self, provider: Provider, where: Location, entry: dict[str, Any]) -> None:
        """The models of a vendor that lists none."""
        if (found := self._variables.find(*provider.models)) is None:
            if "extra_models" not in entry:
                self._draft.warnings.append(
                    f"{provider.name} has no list of its models: none is offered until {provider.models[0]} names them"
                )
            return
        self._put(where, entry, ("extra_models",), found, parse_list)

    # ---- numbers ---------------------------------------------------------------------------------------------------

    def _set_priority(self, provider: Provider, where: Location, entry: dict[str, Any]) -> None:
        found = self._variables.find(*provider.names("PRIORITY"))
        if found is None:
            return
        if self._routing.spread is not None:
            self._draft.warnings.append(f"{found.origin} has no effect with {STRATEGY_VARIABLE}={self._routing.spread}")
            return
        try:
            value = providers.priority_of(parse_whole_within(found.value, 0))
        except ValueError as error:
            self._draft.problems.append(f"{found.origin}: {error}; 1 is the most preferred")
            return
        self._draft.put(where, entry, "priority", value, found.origin)

    def _set_limits(self, provider: Provider, where: Location, entry: dict[str, Any]) -> None:
        if (found := self._variables.find(*provider.names("TIMEOUT"))) is not None:
            timeouts = entry.setdefault("timeouts", {})
            if isinstance(timeouts, dict):
                self._put((*where, "timeouts"), timeouts, ("first_byte", "idle"), found, _TIMEOUT)
        if (found := self._variables.find(*provider.names("MAX_CONCURRENT_REQUESTS"))) is not None:
            self._put(where, entry, ("max_concurrency",), found, _IN_FLIGHT)

    def _put(
        self, where: Location, holder: dict[str, Any], keys: tuple[str, ...], found: Found, parse: Callable[[str], Any]
    ) -> None:
        if (value := self._draft.read(found, parse)) is not None:
            for key in keys:
                self._draft.put(where, holder, key, value, found.origin)

    # ---- the file's ------------------------------------------------------------------------------------------------

    def _change(self, provider: Provider, position: int, entry: dict[str, Any], flagged: bool) -> None:
        """What flags and variables change in an entry of the file. Its key stays unless a flag has another one."""
        where: Location = ("backends", position)
        url = self._variables.find(*provider.urls)
        if flagged:
            url = self._flag_url or url
            if self._flag_key is not None:
                self._draft.put(where, entry, "api_key", self._flag_key.value, self._flag_key.origin)
            self._set_models(where, entry, None)
        if url is not None and entry.get("kind") in ("openai", "ollama"):
            self._draft.put(where, entry, "url", self._url(provider, entry, url), url.origin)
            if "api_key" not in entry and (key := self._variables.find(*provider.keys)) is not None:
                self._draft.put(where, entry, "api_key", key.value, key.origin)
        self._set_priority(provider, where, entry)
        self._set_limits(provider, where, entry)

    # ---- models and capabilities -----------------------------------------------------------------------------------

    def _set_models(self, where: Location, entry: dict[str, Any], variables: Variables | None) -> None:
        """Extra models and capabilities of the backend that the flags are about: from them, else from variables."""
        if listed := self._texts("--models", self._flags.models, variables, providers.EXTRA_MODELS):
            self._draft.put(where, entry, "extra_models", listed[0], listed[1])
        if listed := self._texts("--capabilities", self._flags.capabilities, variables, providers.CAPABILITIES):
            # oai2ollama's rule: every model can complete, and these come on top.
            words = ["completion", *(word for word in listed[0] if word != "completion")]
            models = entry.setdefault("models", {})
            if isinstance(models, dict):
                self._draft.put((*where, "models"), models, "capabilities", {"*": words}, listed[1])

    def _texts(
        self, flag: str, given: list[str] | None, variables: Variables | None, names: tuple[str, ...]
    ) -> tuple[list[str], Origin] | None:
        found = variables.find(*names) if variables is not None and not given else None
        if found is not None and (better := providers.DEPRECATED.get(found.name.upper())):
            self._draft.warnings.append(f"{found.origin} is deprecated: use {better}")
        texts, origin = ([found.value], found.origin) if found else (given or [], Origin("flag", flag))
        try:
            items = [item for text in texts for item in parse_list(text)]
        except ValueError as error:
            self._draft.problems.append(f"{origin}: {error}")
            return None
        return (list(dict.fromkeys(items)), origin) if items else None


def _has_no_path_at_azure(url: str) -> bool:
    """Whether a URL is that of a resource at Azure's own host, and no more."""
    try:
        path = urlsplit(url).path.rstrip("/")
    except ValueError:
        return False
    return path in ("", "/openai") and vendors.is_host_of("azure", url)


def add_keys(draft: Draft, variables: Variables) -> None:
    """A vendor's backend without a key takes the vendor's variable, provided that it has the vendor's own address."""
    keys = {provider.profile or provider.name: provider.keys for provider in PROVIDERS if provider.kind == "openai"}
    for position, entry in draft.entries("openai"):
        url, profile = entry.get("url"), entry.get("profile")
        if profile is None and isinstance(url, str):
            profile = vendors.guess_name(url)
        if "api_key" in entry or not isinstance(profile, str) or profile not in keys:
            continue
        own = vendors.base_url(profile)
        at_vendor = url is None or (isinstance(url, str) and url.strip().rstrip("/") == own)
        if at_vendor and (found := variables.find(*keys[profile])) is not None:
            draft.put(("backends", position), entry, "api_key", found.value, found.origin)

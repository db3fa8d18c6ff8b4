"""The configuration as values: one frozen model for each section of the file, with the defaults.

Only shapes, limits and derived answers live here; where a value comes from is the business of `sources`.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from arriero.backends.http.proxy import ProxySettings
from arriero.canonical.catalog import Capability
from arriero.config.backends import BackendConfig, OllamaConfig, OpenAIConfig, Price, Proxy, Section, TimeoutOverride
from arriero.config.values import (
    LEVEL_SCHEMA,
    TEXTS_SCHEMA,
    Address,
    Listen,
    OneOrMany,
    Port,
    Seconds,
    SecondsOrZero,
    Texts,
    parse_listen,
    read_level,
)


def _check_origin(value: str) -> str:
    if value.count("*") > 1:
        raise ValueError("may hold one * at most")
    if "*" not in value and "://" not in value:
        raise ValueError("is not an origin such as https://example.com")
    return value


def _check_host(value: str) -> str:
    value = value.strip().removeprefix("[").removesuffix("]")
    if "/" in value or value.count(":") == 1:
        raise ValueError("is not a host name or an address (a scheme, port or path does not belong here)")
    return value


def _discover(value: object) -> object:
    return True if value == "local" else value


def _check_network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("is not an IP address or network such as 10.0.0.0/8") from None
    return value


class DashboardConfig(Section):
    """The page at `/internal/ui/`, and who may see it."""

    enabled: bool = True
    """Whether the dashboard is there."""
    allowed_networks: Annotated[tuple[Annotated[str, AfterValidator(_check_network)], ...], OneOrMany] = (
        "127.0.0.0/8",
        "::1/128",
    )
    """Addresses and networks of those who may see the dashboard."""
    allowed_hosts: Annotated[tuple[Annotated[str, AfterValidator(_check_host)], ...], OneOrMany] = ("localhost",)
    """Host names under which the dashboard is shown, beside every loopback address."""


class ServerConfig(Section):
    """Where arriero listens and how it stops."""

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    """Address or name to listen on; empty is every interface."""
    port: Port = 11434
    """TCP port; 0 lets the system choose."""
    listen: tuple[Listen, ...] = ()
    """Several addresses as `host:port`; when there are any, `host` and `port` do not count."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that share the port."""
    shutdown_seconds: SecondsOrZero = 30.0
    """Seconds that open requests get to end when arriero stops."""
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_check_origin)], ...], OneOrMany] = ()
    """Browser origins that may call, beside those that Ollama always allows; one `*` each."""
    cors_credentials: bool = False
    """Whether pages of those origins may send credentials; not together with the origin `*`."""
    discover: Annotated[
        bool | None,
        BeforeValidator(_discover),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"const": "local"}, {"type": "null"}]}),
    ] = None
    """Whether local servers on their usual ports are looked for, again and again; `null`: if no file names backends."""
    watch: bool = True
    """Whether a change of the configuration file is taken up at once; a SIGHUP does so in any case."""
    dashboard: DashboardConfig = DashboardConfig()
    """The page at `/internal/ui/`."""
    environment: Literal["development", "staging", "production"] = "development"
    """What this installation is for; `/health` says it, and nothing else depends on it."""

    @model_validator(mode="after")
    def _credentials_of_somebody(self) -> "ServerConfig":
        if self.cors_credentials and "*" in self.cors_origins:
            raise ValueError("cors_credentials: any page could act for its reader; name the origins instead of '*'")
        return self

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to listen, at least one."""
        return tuple(parse_listen(text) for text in self.listen) or (Address(self.host, self.port),)


class TimeoutsConfig(Section):
    """Seconds; `null` is no limit. A backend may override each."""

    connect: Seconds | None = 5.0
    """Until the TCP (and TLS) connection stands."""
    first_byte: Seconds | None = 600.0
    """From the end of the request to the head of the answer."""
    idle: Seconds | None = 300.0
    """Between two reads of an answer."""
    total: Seconds | None = None
    """From the start of the attempt to its end."""

    def overridden(self, override: TimeoutOverride) -> "TimeoutsConfig":
        """These with what the override sets; `null` set there counts."""
        return self.model_copy(update={name: getattr(override, name) for name in override.model_fields_set})


class LimitsConfig(Section):
    """What a client may ask of arriero."""

    max_body_bytes: Annotated[int, Field(ge=1)] = 104857600
    """Bytes of a request body; more is answered 413."""
    max_header_bytes: Annotated[int, Field(ge=1024)] = 32768
    """Bytes of a request head; more is answered 431."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests a minute over all clients; `null` is no limit."""
    requests_per_minute_per_address: Annotated[int, Field(ge=1)] | None = None
    """Requests a minute from one address; `null` is no limit."""
    burst: Annotated[int, Field(ge=1)] = 50
    """Requests that may come at once before the limits per minute count."""
    trusted_proxies: tuple[Annotated[str, AfterValidator(_check_network)], ...] = ()
    """Addresses and networks whose `X-Forwarded-For` is believed."""


class ModelsConfig(Section):
    """Which models clients see, and what is known of them. Patterns match the names that clients see."""

    include: Texts = ()
    """Patterns; when there are any, only models that match one are shown."""
    exclude: Texts = ()
    """Patterns of models that are hidden; stronger than `include`."""
    filter_file: Path | None = None
    """A file of patterns, one a line, `!` before one that excludes."""
    capabilities: dict[str, tuple[Capability, ...]] = Field(default={})
    """Pattern to the whole list of capabilities, for models of which the backend tells none; the first match counts."""
    context_length: dict[str, Annotated[int, Field(ge=1)]] = Field(default={})
    """Pattern to the context length in tokens, for models of which the backend tells none; the first match counts."""
    price: dict[str, Price] = Field(default={})
    """Pattern to `{input, output}`, US dollars for a million tokens, for models of which the backend tells none."""
    listing: Literal["tagged", "verbatim"] = "tagged"
    """Whether Ollama listings add `:latest` to an id without a tag, or show ids as they are."""


class RetryConfig(Section):
    """When another backend is tried."""

    statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] = (429, 500, 502, 503, 504, 529)
    """HTTP statuses of a backend after which another one is tried."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """Tries of one request in all."""
    budget_seconds: Seconds | None = 600.0
    """Seconds after which no new try begins."""
    where: Literal["elsewhere", "same"] = "elsewhere"
    """Who is tried next: another backend, or the same one again; the last attempt is another's, if there is one."""


class BreakerConfig(Section):
    """When a failing backend is left alone."""

    failures: Annotated[int, Field(ge=1)] = 5
    """Failures in a row that open the breaker."""
    open_seconds: Seconds = 30.0
    """Seconds until one request may try the backend again."""


class QueueConfig(Section):
    """Where requests wait when every backend is full."""

    max_waiting: Annotated[int, Field(ge=0)] = 512
    """Requests that wait at most; more are answered 503."""
    max_wait_seconds: Seconds | None = 300.0
    """Seconds that a request waits at most."""


class StickyConfig(Section):
    """Whether a conversation stays on its backend."""

    enabled: bool = False
    """Whether it does."""
    ttl_seconds: Seconds = 600.0
    """Seconds after which an idle session is forgotten."""
    max_sessions: Annotated[int, Field(ge=1)] = 10000
    """Sessions that are remembered at most."""
    keys: tuple[Literal["header", "prefix", "authorization", "address"], ...] = ("header", "prefix", "authorization")
    """What names a session, in order: a header, the beginning of the conversation, the client's key or address."""


class Knobs(Section):
    """Values for the knobs of sampling; `null` is not set. The names are the same for clients of every API."""

    max_tokens: int | None = None
    """Length limit of an answer in tokens (`num_predict`, `max_completion_tokens`)."""
    temperature: float | None = None
    """How far the model strays from the likeliest token."""
    top_p: float | None = None
    """Share of the probability that is drawn from."""
    top_k: int | None = None
    """Number of tokens that are drawn from."""
    min_p: float | None = None
    """Least probability, as a share of the likeliest token's."""
    typical_p: float | None = None
    """Locally typical sampling."""
    seed: int | None = None
    """Seed of the random numbers."""
    stop: Texts | None = None
    """Texts that end an answer."""
    presence_penalty: float | None = None
    """Penalty for tokens that are there already."""
    frequency_penalty: float | None = None
    """Penalty for tokens by how often they are there."""
    repeat_penalty: float | None = None
    """Divisor for repeated tokens."""
    repeat_last_n: int | None = None
    """Tokens that the repeat penalty looks back on."""
    num_keep: int | None = None
    """Tokens of the prompt that stay when the context is shifted."""

    def given(self) -> dict[str, int | float | str | tuple[str, ...]]:
        """The knobs that have a value."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


TextsByName = dict[str, Texts]
Policy = Literal["priority", "round-robin", "least-connections", "weighted", "fastest", "cheapest", "capability"]


class AliasConfig(Section):
    """A name that stands for other models, with knobs of its own."""

    models: Annotated[Texts, Field(min_length=1)]
    """The models it stands for; the first that can serve is taken."""
    defaults: Knobs = Knobs()
    """Knobs that are set where the client set none."""
    set: Knobs = Knobs()
    """Knobs that are set whatever the client said."""


def _alias(value: object) -> object:
    return {"models": value} if isinstance(value, str | list | tuple) else value


class _OrTexts:
    """In the JSON Schema: one or several texts do as well."""

    @staticmethod
    def __get_pydantic_json_schema__(schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [TEXTS_SCHEMA, handler(schema)]}


Alias = Annotated[AliasConfig, BeforeValidator(_alias), _OrTexts]


class RoutingConfig(Section):
    """Which backend gets a request."""

    policy: Policy = "least-connections"
    """How one of several backends with the model is chosen."""
    prefer_loaded: bool = True
    """Whether a backend that has the model in memory comes first."""
    unknown_model: Literal["reject", "any", "discover"] = "reject"
    """What happens to a model that no backend lists: 404, any backend, or the lists are read again first."""
    aliases: dict[str, Alias] = Field(default={})
    """A name to the models it stands for, and perhaps knobs (`{models: [..], set: {..}}`); the first able is taken."""
    fallback: TextsByName = Field(default={})
    """A model to those that answer in its place when no backend can serve it."""
    retry: RetryConfig = RetryConfig()
    """When another backend is tried."""
    breaker: BreakerConfig = BreakerConfig()
    """When a failing backend is left alone."""
    queue: QueueConfig = QueueConfig()
    """Where requests wait."""
    sticky: StickyConfig = StickyConfig()
    """Whether a conversation stays on its backend."""


ClampKnob = Literal[
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "num_keep",
]


class Clamp(Section):
    """The limits of one knob; a value outside is moved to the nearer limit."""

    min: float | None = None
    """The least value."""
    max: float | None = None
    """The greatest value."""

    @model_validator(mode="after")
    def _in_order(self) -> "Clamp":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        return self


def _think_tags(value: object) -> object:
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value


class FilterConfig(Section):
    """What is changed in the requests and answers of some models. The names of knobs are those of `Knobs`."""

    models: Texts = ("*",)
    """Patterns of the models that the filter is for, as the client names them or as the backend does."""
    defaults: Knobs = Knobs()
    """Knobs that are set where the client set none."""
    clamps: dict[ClampKnob, Clamp] = Field(default={})
    """Knobs that are kept between `min` and `max`; one that has no value stays without."""
    strip: Texts = ()
    """Knobs, and top-level fields of the client's API, that are taken out of the request."""
    set: Knobs = Knobs()
    """Knobs that are set whatever the client said."""
    think_tags: Annotated[
        Literal["auto", "true", "false"],
        BeforeValidator(_think_tags),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"const": "auto"}]}),
    ] = "auto"
    """Whether `<think>` tags in an answer become thinking: `auto` does so where the backend sends no thinking."""


class LoggingConfig(Section):
    """What is written to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        BeforeValidator(read_level),
        WithJsonSchema(LEVEL_SCHEMA),
    ] = "info"
    """The least weight of a line that is written."""
    format: Literal["auto", "text", "json"] = "auto"
    """One JSON object a line, or text; `auto` is text on a terminal and JSON elsewhere."""
    exchanges: bool = True
    """Whether each request gets a line, at level `info`: backend, model, status, tokens, times."""
    prompts: bool = False
    """Whether that line holds the request's body too; without it no log has any of a prompt."""


class ProxyConfig(Section):
    """Proxies towards backends, as `HTTP_PROXY` and its like name them."""

    http: Proxy = None
    """Proxy URL for backends with http://."""
    https: Proxy = None
    """Proxy URL for backends with https://."""
    all: Proxy = None
    """Proxy URL where the one above is not set."""
    no_proxy: Texts = ()
    """Hosts that are reached directly: names, `.suffixes`, addresses, networks, each with or without a port, or `*`."""

    @property
    def settings(self) -> ProxySettings:
        """The rules for a backend that names no proxy of its own. Holds the credentials."""
        values = {
            name: secret.get_secret_value() for name in ("http", "https", "all") if (secret := getattr(self, name))
        }
        return ProxySettings(**values, no=",".join(self.no_proxy))


class Config(Section):
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    """Where arriero listens and how it stops."""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    """Seconds towards backends."""
    limits: LimitsConfig = LimitsConfig()
    """What a client may ask."""
    backends: tuple[BackendConfig, ...] = ()
    """The places that run models, in order."""
    models: ModelsConfig = ModelsConfig()
    """Which models clients see."""
    routing: RoutingConfig = RoutingConfig()
    """Which backend gets a request."""
    filters: tuple[FilterConfig, ...] = ()
    """What is changed in requests and answers; every filter that matches is used, in order."""
    proxy: ProxyConfig = ProxyConfig()
    """Proxies towards backends."""
    logging: LoggingConfig = LoggingConfig()
    """What is written to stderr."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Config":
        names = [backend.name for backend in self.backends]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"backends: the name {', '.join(twice)} is given twice")
        return self

    def timeouts_of(self, backend: BackendConfig) -> TimeoutsConfig:
        """The timeouts of one backend: its own over the common ones."""
        return self.timeouts.overridden(backend.timeouts)

    def proxy_of(self, backend: OllamaConfig | OpenAIConfig) -> ProxySettings:
        """The proxies towards one backend: its own one over the common rules; `direct` is none at all."""
        if backend.proxy is None:
            return self.proxy.settings
        value = backend.proxy.get_secret_value()
        return ProxySettings() if value == "direct" else ProxySettings(all=value)

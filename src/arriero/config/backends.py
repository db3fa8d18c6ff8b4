"""The backends' settings, one model for each `kind`. Only values: who speaks to them lives in `arriero.backends`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from arriero.canonical.catalog import Capability
from arriero.config import vendors
from arriero.config.values import (
    KeepAlive,
    Name,
    Seconds,
    SecondsOrZero,
    Texts,
    Url,
    none_if_empty,
    none_if_zero,
)

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _check_proxy(value: SecretStr | None) -> SecretStr | None:
    scheme, mark, _ = value.get_secret_value().partition("://") if value else ("", "", "")
    if mark and scheme.lower() not in ("http", "https"):
        raise ValueError("is not the URL of an HTTP proxy")
    return value


def _check_field(value: SecretStr) -> SecretStr:
    if _CONTROL.search(value.get_secret_value()):
        raise ValueError("holds a line break or another control character")
    try:
        value.get_secret_value().encode("latin-1")
    except UnicodeEncodeError:  # not in Python's words: they quote the value
        raise ValueError("holds a character that HTTP has no place for") from None
    return value


def _check_field_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("is not the name of a header field")
    return value


def _check_no_query(value: Any) -> Any:
    if isinstance(value, str) and "?" in value.partition("://")[2]:
        raise ValueError(
            "must not hold a query: what stands behind the ? is the backend's setting query, such as"
            " query: {api-version: preview}; Azure's version may also stand in AZURE_API_VERSION"
        )
    return value


FieldName = Annotated[str, AfterValidator(_check_field_name)]
FieldValue = Annotated[SecretStr, AfterValidator(_check_field)]
OptionalSecret = Annotated[FieldValue | None, BeforeValidator(none_if_empty)]
Proxy = Annotated[OptionalSecret, AfterValidator(_check_proxy)]
Automatic = Annotated[
    Annotated[int, Field(ge=1)] | None,
    BeforeValidator(none_if_zero),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}),
]


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _openai_schema(schema: dict[str, Any]) -> None:
    """The profile may know the URL."""
    schema["required"] = [name for name in schema["required"] if name != "url"]
    schema["properties"]["profile"] = {"type": "string", "enum": vendors.names(), "title": "Profile"}


class TimeoutOverride(Section):
    """A backend's own timeouts in seconds; what is not set here is taken from `timeouts`. `null` is no limit."""

    connect: Seconds | None = None
    """Until the TCP (and TLS) connection stands."""
    first_byte: Seconds | None = None
    """From the end of the request to the head of the answer."""
    idle: Seconds | None = None
    """Between two reads of an answer."""
    total: Seconds | None = None
    """From the start of the attempt to its end."""


class TlsConfig(Section):
    """How a backend's certificate is checked."""

    verify: bool = True
    """Whether the certificate is checked at all."""
    ca_file: Path | None = None
    """A PEM file of the authorities to trust instead of the system's."""


class Price(Section):
    """What tokens cost, in US dollars for a million of them."""

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Of the prompt."""
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Of the answer."""


class BackendModels(Section):
    """Which of a backend's models are shown, and what is known of them. Patterns match the backend's own ids."""

    include: Texts = ()
    """Patterns; when there are any, only models that match one are shown."""
    exclude: Texts = ()
    """Patterns of models that are hidden; stronger than `include`."""
    capabilities: dict[str, tuple[Capability, ...]] = Field(default={})
    """Pattern to the whole list of capabilities, for models of which the backend tells none; the first match counts."""
    context_length: dict[str, Annotated[int, Field(ge=1)]] = Field(default={})
    """Pattern to the context length in tokens, for models of which the backend tells none; the first match counts."""
    price: dict[str, Price] = Field(default={})
    """Pattern to `{input, output}`, US dollars for a million tokens, for models of which the backend tells none."""


class _AnyBackend(Section):
    name: Name
    """The name in headers, logs and `backend/model`; unique."""
    priority: Annotated[int, Field(ge=0)] = 100
    """Higher is preferred: one of a lower priority gets a request only where no higher one can take it."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Share of the requests where the policy is `weighted`; strength where it is `least-connections`."""
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    """Requests in flight at most; `null` is no limit."""
    models: BackendModels = BackendModels()
    """Which of its models are shown."""
    timeouts: TimeoutOverride = TimeoutOverride()
    """Seconds; each overrides the value of the same name in the section `timeouts`."""


class _RemoteBackend(_AnyBackend):
    api_key: OptionalSecret = None
    """Sent as the vendor wants it, `Authorization: Bearer` where nothing else is known."""
    headers: dict[FieldName, FieldValue] = Field(default={})
    """Further header fields of every request; their values are treated as secrets."""
    tls: TlsConfig = TlsConfig()
    """How its certificate is checked."""
    proxy: Proxy = None
    """URL of the proxy to this backend; `direct` goes around every proxy; `null` follows the section `proxy`."""
    discover: Literal["dns"] | None = None
    """`dns`: the host name has several addresses, and each becomes a backend of its own; looked up again and again."""
    check_path: Annotated[str, Field(pattern=r"^/[^?#]*$")] | None = None
    """Path of the health check, from the root of its host; `null` asks for the models."""
    models_interval: Seconds | None = None
    """Seconds between two readings of the model list; `null` reads it at each health check."""


class OllamaConfig(_RemoteBackend):
    """An Ollama server."""

    kind: Literal["ollama"] = "ollama"
    """Always `ollama`."""
    url: Url
    """Its address without `/api`, such as `http://10.0.0.5:11434`."""
    check_interval: SecondsOrZero = 5.0
    """Seconds between two health checks; 0 makes none."""
    check_timeout: Seconds = 2.0
    """Seconds until a health check has failed."""
    openai_api: bool = True
    """Whether requests of OpenAI clients go to its own `/v1`."""


class OpenAIConfig(_RemoteBackend):
    """A server of the OpenAI API: a vendor's, or a local one (vLLM, llama-server, LM Studio)."""

    model_config = ConfigDict(json_schema_extra=_openai_schema)

    kind: Literal["openai"] = "openai"
    """Always `openai`."""
    url: Annotated[Url, BeforeValidator(_check_no_query)]
    """Its address with `/v1`; may be missing where the profile knows it."""
    profile: str = "generic"
    """The vendor's profile; may be missing: it is then guessed from the URL."""
    check_interval: SecondsOrZero = 30.0
    """Seconds between two health checks; 0 makes none."""
    check_timeout: Seconds = 10.0
    """Seconds until a health check has failed."""
    extra_models: Texts = ()
    """Model ids that are listed although the server does not list them."""
    query: dict[str, str] = Field(default={})
    """Query parameters of every request, such as Azure's `api-version`; they are stronger than the profile's."""

    @model_validator(mode="before")
    @classmethod
    def _url_and_profile_complete_each_other(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        url, profile = data.get("url"), data.get("profile")
        if isinstance(profile, str) and not vendors.is_known(profile):
            nearest = vendors.nearest(profile)
            raise ValueError("profile is not known" + (f"; did you mean {nearest}?" if nearest else ""))
        if url is None and isinstance(profile, str) and (known := vendors.base_url(profile)):
            return {**data, "url": known}
        if profile is None and isinstance(url, str):
            return {**data, "profile": vendors.guess_name(url)}
        return data


class EngineConfig(_AnyBackend):
    """The embedded engine: llama.cpp on this machine."""

    kind: Literal["engine"] = "engine"
    """Always `engine`."""
    models_dir: Path = Path("~/.arriero/models")
    """The model store, in Ollama's layout. `*.gguf` files that lie in it are models as well."""
    read_only: bool = False
    """Whether the store is only read: nothing is created, pulled, copied or deleted there."""
    prune: bool = True
    """Whether files of the store that no model uses any more are removed."""
    demo_model: bool = True
    """Whether the built-in demo model is offered."""
    keep_alive: KeepAlive = 300.0
    """How long a model stays loaded after use, in seconds or as `5m`; 0 unloads at once, negative is for ever."""
    num_parallel: Annotated[int, Field(ge=1)] = 1
    """Requests that one model answers at the same time."""
    max_loaded: Automatic = None
    """Models in memory at most; 0 or `null` decides by memory."""
    context_length: Automatic = None
    """Context length in tokens of a model that is loaded without `num_ctx`; 0 or `null` decides by memory."""
    max_queue: Annotated[int, Field(ge=0)] = 512
    """Requests that wait for a model at most; more are answered 503."""
    threads: Automatic = None
    """Threads of a model; 0 or `null` takes the number of cores."""
    load_timeout: KeepAlive = 300.0
    """How long a model may take to load, in seconds or as `5m`; 0 or negative is without end."""


class ScriptedConfig(_AnyBackend):
    """A backend that plays recorded answers, for trials and tests."""

    kind: Literal["scripted"] = "scripted"
    """Always `scripted`."""
    script: Path | None = None
    """The file or folder of recordings; `null` answers with a built-in text."""


BackendConfig: TypeAlias = Annotated[
    OllamaConfig | OpenAIConfig | EngineConfig | ScriptedConfig, Field(discriminator="kind")
]
"""One entry of `backends`."""

from pathlib import Path

import pytest

from arriero.config import Flags, OllamaConfig, OpenAIConfig
from arriero.config.environment import Origin
from arriero.config.named import Understood
from arriero.config.providers import PROVIDERS, Provider
from support.config import Place, key_of, names, openai_of

# ---- the backend openai ---------------------------------------------------------------------------------------------

URL, OTHER = "http://h:1/v1", "http://other/v1"

NAMED: list[tuple[Flags, dict[str, str], str | None, str | None, str | None]] = [
    # flags, environment -> URL, key, profile; None is no such backend
    (Flags(), {}, None, None, None),
    (Flags(), {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1", "k", "openai"),
    (Flags(), {"OPENAI_BASE_URL": URL}, URL, None, "generic"),
    (Flags(), {"OPENAI_BASE_URL": URL + "/", "OPENAI_API_KEY": "k"}, URL, "k", "generic"),
    (Flags(), {"openai_base_url": URL, "Openai_Api_Key": "k"}, URL, "k", "generic"),
    (Flags(), {"BASE_URL": URL, "API_KEY": "k"}, URL, "k", "generic"),
    (Flags(), {"BASE_URL": URL, "OPENAI_API_KEY": "k"}, URL, "k", "generic"),
    (Flags(), {"OPENAI_BASE_URL": URL, "BASE_URL": OTHER, "OPENAI_API_KEY": "k", "API_KEY": "x"}, URL, "k", "generic"),
    (Flags(), {"API_KEY": "k"}, None, None, None),
    (Flags(), {"BASE_URL": URL}, None, None, None),
    (Flags(base_url=URL), {}, URL, None, "generic"),
    (Flags(base_url=URL), {"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k"}, URL, "k", "generic"),
    (Flags(api_key="f"), {"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k"}, OTHER, "f", "generic"),
    (Flags(api_key="f"), {}, "https://api.openai.com/v1", "f", "openai"),
    (Flags(base_url="https://openrouter.ai/api/v1"), {}, "https://openrouter.ai/api/v1", None, "openrouter"),
]


@pytest.mark.parametrize(("flags", "env", "url", "key", "profile"), NAMED)
def test_the_backend_openai(
    place: Place, flags: Flags, env: dict[str, str], url: str | None, key: str | None, profile: str | None
) -> None:
    loaded = place.load(flags, env)
    if url is None:
        assert names(loaded) == ["local"]
        return
    assert names(loaded) == ["openai", "local"]
    backend = openai_of(loaded)
    assert (backend.url, key_of(backend), backend.profile) == (url, key, profile)


@pytest.mark.parametrize(
    ("flags", "env", "models", "capabilities"),
    [
        (Flags(), {}, (), None),
        (Flags(models=["a", "b,c", '["d"]']), {}, ("a", "b", "c", "d"), None),
        (Flags(), {"MODELS": '["a","b"]'}, ("a", "b"), None),
        (Flags(), {"models": "a,b"}, ("a", "b"), None),
        (Flags(models=["x"]), {"MODELS": "a"}, ("x",), None),
        (Flags(capabilities=["tools,vision"]), {}, (), ("completion", "tools", "vision")),
        (Flags(capabilities=["tools", "completion"]), {}, (), ("completion", "tools")),
        (Flags(), {"CAPABILITIES": '["thinking"]'}, (), ("completion", "thinking")),
    ],
)
def test_models_and_capabilities(
    place: Place, flags: Flags, env: dict[str, str], models: tuple[str, ...], capabilities: tuple[str, ...] | None
) -> None:
    backend = openai_of(place.load(flags, {"OPENAI_BASE_URL": URL, **env}))
    assert backend.extra_models == models
    given = {name: tuple(item.value for item in words) for name, words in backend.models.capabilities.items()}
    assert given == ({} if capabilities is None else {"*": capabilities})


def test_the_old_name_of_capabilities_is_a_warning(place: Place) -> None:
    loaded = place.load(env={"OPENAI_BASE_URL": URL, "CAPACITIES": '["tools"]'})
    assert loaded.warnings == ("CAPACITIES is deprecated: use CAPABILITIES",)
    assert "*" in openai_of(loaded).models.capabilities


def test_models_of_nobody(place: Place) -> None:
    assert place.load(env={"MODELS": "a", "CAPABILITIES": "tools"}).warnings == ()
    assert place.fails(Flags(models=["a"], capabilities=["tools"])) == [
        "--models: needs a backend of the OpenAI API: give --base-url or --api-key as well",
        "--capabilities: needs a backend of the OpenAI API: give --base-url or --api-key as well",
    ]


def test_wrong_capabilities(place: Place) -> None:
    (problem,) = place.fails(Flags(base_url=URL, capabilities=["tool"]))
    assert problem.startswith("--capabilities: is not one of completion, tools,")
    assert problem.endswith("; did you mean tools?")
    assert place.fails(env={"OPENAI_BASE_URL": URL, "MODELS": "[a"}) == ["MODELS: is not a JSON list"]


# ---- vendors --------------------------------------------------------------------------------------------------------


def test_a_backend_for_each_vendor_with_a_key(place: Place) -> None:
    loaded = place.load(
        env={"OPENROUTER_API_KEY": "a", "GROQ_API_KEY": "b", "GOOGLE_API_KEY": "c", "OPENAI_API_KEY": "d"}
    )
    assert {name: key_of(backend) for name, backend in zip(names(loaded), loaded.config.backends, strict=True)} == {
        "openai": "d",
        "openrouter": "a",
        "groq": "b",
        "google": "c",
        "local": None,
    }


def test_a_vendor_at_another_address(place: Place) -> None:
    loaded = place.load(env={"OPENROUTER_API_KEY": "a", "OPENROUTER_BASE_URL": "http://h/v1"})
    assert isinstance(loaded.config.backends[0], OpenAIConfig)
    assert (loaded.config.backends[0].url, loaded.config.backends[0].profile) == ("http://h/v1", "openrouter")
    assert names(place.load(env={"OPENROUTER_BASE_URL": "http://h/v1"})) == ["local"]


def test_what_clients_of_ollama_set_names_no_backend(place: Place) -> None:
    assert names(place.load(env={"OLLAMA_API_KEY": "k"})) == ["local"]


def test_what_flags_and_variables_change_in_the_files_openai(place: Place) -> None:
    place.file(f"backends: [{{name: openai, kind: openai, url: '{URL}', api_key: f}}]")
    plain = openai_of(place.load(env={"OPENAI_API_KEY": "k", "MODELS": "m", "MAX_CONCURRENT_REQUESTS": "5"}))
    assert (plain.url, key_of(plain), plain.extra_models, plain.max_concurrency) == (URL, "f", (), None)
    elsewhere = openai_of(place.load(env={"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k"}))
    assert (elsewhere.url, key_of(elsewhere)) == (OTHER, "f")
    changed = openai_of(place.load(Flags(base_url=OTHER, api_key="k", models=["m"])))
    assert (changed.url, key_of(changed), changed.extra_models) == (OTHER, "k", ("m",))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("profile: openrouter", "k"),
        ("url: 'https://openrouter.ai/api/v1'", "k"),
        ("profile: openrouter, url: 'https://openrouter.ai/api/v1/'", "k"),
        ("profile: openrouter, url: 'http://elsewhere/v1'", None),
        ("profile: openrouter, api_key: own", "own"),
        ("profile: openrouter, api_key: null", None),
        ("url: 'http://h/v1'", None),
    ],
)
def test_a_vendors_entry_takes_the_vendors_key(place: Place, entry: str, key: str | None) -> None:
    place.file(f"backends: [{{name: r, kind: openai, {entry}}}]")
    assert key_of(place.load(env={"OPENROUTER_API_KEY": "k"}).config.backends[0]) == key


# ---- variables over the file ----------------------------------------------------------------------------------------


def test_variables_change_the_files_entry_of_a_providers_name(place: Place) -> None:
    place.file("backends: [{name: openrouter, kind: openai, profile: openrouter, priority: 5, timeouts: {idle: 7}}]")
    env = {
        "OPENROUTER_BASE_URL": "http://h/v1",
        "OPENROUTER_API_KEY": "k",
        "OPENROUTER_TIMEOUT": "60",
        "OPENROUTER_PRIORITY": "3",
        "OPENROUTER_MAX_CONCURRENT_REQUESTS": "9",
        "MAX_CONCURRENT_REQUESTS": "1",
        "HEALTH_CHECK_INTERVAL": "77",
    }
    loaded = place.load(env=env)
    (backend,) = loaded.config.backends
    assert isinstance(backend, OpenAIConfig)
    assert (backend.url, key_of(backend), backend.priority, backend.max_concurrency, backend.check_interval) == (
        "http://h/v1",
        "k",
        97,
        9,
        30.0,
    )
    assert (backend.timeouts.first_byte, backend.timeouts.idle) == (60, 60)
    assert loaded.origin("backends.openrouter.timeouts.idle") == Origin("environment", "OPENROUTER_TIMEOUT")


def test_a_file_without_such_an_entry_is_left_as_it_is(place: Place) -> None:
    place.file("backends: [{name: a, kind: openai, profile: openrouter}]")
    loaded = place.load(env={"OPENROUTER_TIMEOUT": "60", "OPENROUTER_ENABLED": "false", "OPENROUTER_PRIORITY": "1"})
    assert names(loaded) == ["a"]
    assert (loaded.config.backends[0].timeouts.idle, loaded.config.backends[0].priority) == (None, 100)


def test_a_files_entry_is_switched_off(place: Place) -> None:
    place.file(
        "backends:\n  - {name: openrouter, kind: openai, profile: openrouter}\n  - {name: b, kind: ollama, url: http://b}"
    )
    loaded = place.load(env={"OPENROUTER_ENABLED": "false"})
    assert names(loaded) == ["b"]
    assert str(loaded.origin("backends.b.url")) == "arriero.yaml:3"


def test_ollas_file_is_not_changed_by_variables_of_providers(place: Place) -> None:
    (place.cwd / "olla.yaml").write_text("discovery: {static: {endpoints: [{name: a, type: ollama, url: 'http://a'}]}}")
    env = {"OPENROUTER_API_KEY": "k", "ROUTING_STRATEGY": "none", "OPENAI_TIMEOUT": "x", "OLLAMA_ENABLED": "true"}
    loaded = place.load(Flags(olla_config="olla.yaml", base_url=URL), env)
    assert (openai_of(loaded).url, openai_of(loaded).timeouts.idle) == (URL, None)
    assert names(loaded) == ["a", "openai"]
    assert (loaded.providers, loaded.warnings) == ((), ())


# ---- whose the flag's key is ----------------------------------------------------------------------------------------


def test_a_key_of_openrouter_is_openrouters(place: Place) -> None:
    loaded = place.load(Flags(api_key="sk-or-v1-x", models=["m"]), {"OPENROUTER_API_KEY": "k", "OPENAI_API_KEY": "o"})
    keys = {backend.name: key_of(backend) for backend in loaded.config.backends}
    assert keys == {"openrouter": "sk-or-v1-x", "openai": "o", "local": None}
    assert isinstance(loaded.config.backends[0], OpenAIConfig)
    assert loaded.config.backends[0].extra_models == ("m",)


def test_a_key_of_openrouter_for_a_url_is_that_urls(place: Place) -> None:
    assert key_of(openai_of(place.load(Flags(api_key="sk-or-x", base_url=URL)))) == "sk-or-x"
    env = {"OPENAI_BASE_URL": "https://openrouter.ai/api/v1"}
    loaded = place.load(Flags(api_key="sk-or-x"), env)
    assert (names(loaded), key_of(openai_of(loaded))) == (["openai", "local"], "sk-or-x")


def test_a_key_of_openrouter_changes_the_files_entry(place: Place) -> None:
    place.file("backends: [{name: openrouter, kind: openai, profile: openrouter, api_key: f}]")
    loaded = place.load(Flags(api_key="sk-or-x"))
    assert (names(loaded), key_of(loaded.config.backends[0])) == (["openrouter"], "sk-or-x")


def test_a_flag_is_stronger_than_a_variable_that_switches_off(place: Place) -> None:
    assert key_of(openai_of(place.load(Flags(api_key="k"), {"OPENAI_ENABLED": "false"}))) == "k"


# ---- what was understood --------------------------------------------------------------------------------------------


def understood(place: Place, env: dict[str, str]) -> dict[str, Understood]:
    return {row.provider.name: row for row in place.load(env=env).providers}


def provider(name: str) -> Provider:
    (found,) = (row for row in PROVIDERS if row.name == name)
    return found


def test_why_each_provider_is_on_or_off(place: Place) -> None:
    place.dotenv("OPENAI_ENABLED=no\n")
    found = understood(place, {"OPENROUTER_API_KEY": "k", "OPENAI_API_KEY": "k", "AZURE_API_KEY": "k"})
    assert list(found) == [row.name for row in PROVIDERS]
    assert found["openrouter"] == Understood(provider("openrouter"), None, Origin("environment", "OPENROUTER_API_KEY"))
    refused = Origin(".env", "OPENAI_ENABLED")
    assert found["openai"] == Understood(provider("openai"), "OPENAI_ENABLED is false", refused, refused=True)
    assert found["google"] == Understood(provider("google"), "GOOGLE_API_KEY is not set", unnamed=True)
    assert found["azure"] == Understood(provider("azure"), "AZURE_BASE_URL is not set")
    assert found["ollama"].off == "neither OLLAMA_ENABLED=true nor OLLAMA_BASE_URL is set"
    assert found["aws_bedrock"].off == "AWS_BEARER_TOKEN_BEDROCK is not set"


def test_a_file_that_names_others_is_the_reason(place: Place) -> None:
    place.file("backends:\n  - {name: google, kind: openai, profile: google}")
    found = understood(place, {"OPENROUTER_API_KEY": "k"})
    assert found["openrouter"].off == "the file names the backends, and none has this name"
    assert found["google"] == Understood(provider("google"), None, Origin("file", "arriero.yaml:2"))


def test_ollama_at_arrieros_own_address_is_left_out(place: Place) -> None:
    loaded = place.load(env={"OLLAMA_ENABLED": "true"})
    assert names(loaded) == ["local"]
    assert loaded.warnings == (
        "OLLAMA_ENABLED leads to arriero itself: the backend ollama is left out; "
        "give arriero another PORT, or Ollama another address",
    )
    (ollama,) = (row for row in loaded.providers if row.provider.name == "ollama")
    assert ollama.off == "its URL leads to arriero itself"


def test_an_ollama_that_is_switched_off_is_not_looked_for(place: Place) -> None:
    found = {server.name for server in place.load(Flags(port=1)).candidates}
    left = {server.name for server in place.load(Flags(port=1), {"OLLAMA_ENABLED": "false"}).candidates}
    assert found - left == {"ollama"}


# ---- the policy, and who comes first --------------------------------------------------------------------------------

TWO = {"OPENROUTER_API_KEY": "k", "OPENAI_API_KEY": "k", "GROQ_API_KEY": "k"}


def priorities(place: Place, env: dict[str, str]) -> dict[str, int]:
    return {backend.name: backend.priority for backend in place.load(env=env).config.backends}


def test_providers_have_their_ranks_where_the_policy_asks_for_them(place: Place) -> None:
    assert priorities(place, TWO) == {"openrouter": 99, "openai": 98, "groq": 90, "local": 100}
    assert priorities(place, TWO | {"ROUTING_STRATEGY": "manual"}) == priorities(place, TWO)
    even = {"openrouter": 100, "openai": 100, "groq": 100, "local": 100}
    assert priorities(place, TWO | {"ROUTING_STRATEGY": "round_robin"}) == even
    place.file("server: {port: 1}")
    assert priorities(place, TWO) == even
    place.file("routing: {policy: priority}")
    assert priorities(place, TWO) == {"openrouter": 99, "openai": 98, "groq": 90, "local": 100}


def test_two_at_azure(place: Place) -> None:
    env = {"AZURE_API_KEY": "k", "AZURE_DEPLOYMENTS": "a"}
    azure = "https://r.openai.azure.com"
    old = {"AZURE_API_VERSION": "2024-10-21"}
    cases: list[tuple[dict[str, str], str, str, dict[str, str]]] = [
        ({"AZURE_BASE_URL": azure}, f"{azure}/openai/v1", "azure", {}),
        ({"AZURE_BASE_URL": f"{azure}/openai/"}, f"{azure}/openai/v1", "azure", {}),
        ({"AZURE_BASE_URL": f"{azure}/openai/v1/"}, f"{azure}/openai/v1", "azure", {}),
        (
            {"AZURE_BASE_URL": azure, "AZURE_API_VERSION": "preview"},
            f"{azure}/openai/v1",
            "azure",
            {"api-version": "preview"},
        ),
        ({"AZURE_BASE_URL": azure, **old}, f"{azure}/openai", "azure-deployments", {"api-version": "2024-10-21"}),
        ({"AZURE_BASE_URL": "http://h:1/x", **old}, "http://h:1/x", "azure-deployments", {"api-version": "2024-10-21"}),
    ]
    for given, url, profile, query in cases:
        backend = place.load(env=env | given).config.backends[0]
        assert isinstance(backend, OpenAIConfig)
        assert (backend.url, backend.profile, backend.query) == (url, profile, query)


def test_a_dated_version_at_azures_v1_api_is_not_used(place: Place) -> None:
    env = {
        "AZURE_API_KEY": "k",
        "AZURE_DEPLOYMENTS": "a",
        "AZURE_BASE_URL": "https://r.openai.azure.com/openai/v1",
        "OPENAI_API_VERSION": "2024-10-21",
    }
    loaded = place.load(env=env)
    assert loaded.warnings == (
        "OPENAI_API_VERSION is not used: an address that ends in /v1 is that of the API without versions",
    )
    assert isinstance(loaded.config.backends[0], OpenAIConfig)
    assert loaded.config.backends[0].query == {}


def test_an_ollama_server_with_a_key(place: Place) -> None:
    loaded = place.load(env={"OLLAMA_BASE_URL": "https://ollama.com/v1/", "OLLAMA_API_KEY": "k"})
    backend = loaded.config.backends[0]
    assert isinstance(backend, OllamaConfig)
    assert (backend.url, key_of(backend)) == ("https://ollama.com", "k")


def test_the_documented_sample_of_ollama_proxy_starts(place: Place) -> None:
    """Its `.env` for several providers, with a key in each place."""
    place.dotenv((Path(__file__).parent / "ollama_proxy.env").read_text())
    loaded = place.load()
    assert names(loaded) == ["openrouter", "openai", "anthropic", "google", "azure", "local"]
    assert [getattr(backend, "url", None) for backend in loaded.config.backends[:5]] == [
        "https://openrouter.ai/api/v1",
        "https://api.openai.com/v1",
        "https://api.anthropic.com/v1",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "https://your-resource.openai.azure.com/openai/v1",
    ]
    assert {backend.timeouts.first_byte for backend in loaded.config.backends[:5]} == {300}
    assert (loaded.config.server.host, loaded.config.server.environment) == ("0.0.0.0", "production")
    assert loaded.warnings == (
        "azure has no list of its models: none is offered until AZURE_DEPLOYMENTS names them",
        ".env: AWS_BEDROCK_ACCESS_KEY is not used: arriero signs no requests; make a Bedrock API key and put it into "
        "AWS_BEARER_TOKEN_BEDROCK",
        ".env: OLLAMA_BASE_URL leads to arriero itself: the backend ollama is left out; "
        "give arriero another PORT, or Ollama another address",
    )

"""Each variable of ollama-proxy under its own name, and what it says here; the last tests see that none is missing."""

from typing import Any

import pytest

from arriero.config import Flags, Loaded, OllamaConfig, OpenAIConfig
from arriero.config.environment import every_name
from support.config import Place, key_of, names

NAMED: dict[str, dict[str, str]] = {
    # what names the backend, so that the variable has one to change
    "openrouter": {"OPENROUTER_API_KEY": "k"},
    "openai": {"OPENAI_API_KEY": "k"},
    "anthropic": {"ANTHROPIC_API_KEY": "k"},
    "google": {"GOOGLE_API_KEY": "k"},
    "azure": {"AZURE_API_KEY": "k", "AZURE_BASE_URL": "http://h/v1", "AZURE_DEPLOYMENTS": "d"},
    "aws_bedrock": {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_BEDROCK_MODELS": "m"},
    "ollama": {"OLLAMA_ENABLED": "true", "OLLAMA_BASE_URL": "http://h:1"},
}


def backend(loaded: Loaded, name: str) -> Any:
    """The backend of a name."""
    (found,) = [item for item in loaded.config.backends if item.name == name]
    return found


def spoken(name: str, value: str, place: Place, env: dict[str, str] | None = None) -> Loaded:
    """What is loaded with a variable in the environment; in `.env`, and in small letters, it is the same."""
    loaded = place.load(env={**(env or {}), name: value})
    place.dotenv(f'export {name}="{value}" # as in a shell\n')
    assert place.load(env=env).config == loaded.config
    place.dotenv(f"{name.lower()}='{value}'\r\n")
    assert place.load(env=env).config == loaded.config
    place.dotenv("")
    return loaded


def key(place: Place, variable: str, name: str) -> None:
    more = {item: text for item, text in NAMED[name].items() if not item.endswith(("_KEY", "_TOKEN_BEDROCK"))}
    loaded = spoken(variable, "s3cret", place, more)
    assert key_of(backend(loaded, name)) == "s3cret"
    assert str(loaded.origin(f"backends.{name}.api_key")) == variable


def url(place: Place, variable: str, name: str, *pairs: tuple[str, str]) -> None:
    for given, expected in (("http://h:9/x", "http://h:9/x"), *pairs):
        env = {item: text for item, text in NAMED[name].items() if item != variable}
        assert backend(spoken(variable, given, place, env), name).url == expected
    assert place.fails(env={**NAMED[name], variable: "no url"}) == [
        f"{variable}: is not a URL that starts with http:// or https://"
    ]


def enabled(place: Place, variable: str, name: str, key_variable: str) -> None:
    assert name in names(spoken(variable, "true", place, NAMED[name]))
    assert name not in names(spoken(variable, "false", place, NAMED[name]))
    loaded = spoken(variable, "true", place)
    assert (names(loaded), loaded.warnings) == (
        ["local"],
        (f"{variable} is true, but {key_variable} is not set: {name} is left out",),
    )
    assert place.fails(env={**NAMED[name], variable: "maybe"}) == [f"{variable}: is not true or false"]


def timeout(place: Place, variable: str, name: str) -> None:
    loaded = spoken(variable, "60", place, NAMED[name])
    times = loaded.config.timeouts_of(backend(loaded, name))
    assert (times.first_byte, times.idle) == (60, 60)
    plain = place.load(env=NAMED[name])
    assert plain.config.timeouts_of(backend(plain, name)) == plain.config.timeouts
    for wrong in ("0", "3601", "soon"):
        assert place.fails(env={**NAMED[name], variable: wrong}) == [
            f"{variable}: is not a number of seconds from 1 to 3600"
        ]


def priority(place: Place, variable: str, name: str, rank: int) -> None:
    assert backend(place.load(env=NAMED[name]), name).priority == 100 - rank
    assert backend(spoken(variable, "20", place, NAMED[name]), name).priority == 80
    assert backend(spoken(variable, "5000", place, NAMED[name]), name).priority == 0
    loaded = place.load(env={**NAMED[name], variable: "20", "ROUTING_STRATEGY": "round_robin"})
    assert backend(loaded, name).priority == 100
    assert loaded.warnings == (f"{variable} has no effect with ROUTING_STRATEGY=round_robin",)
    assert place.fails(env={**NAMED[name], variable: "first"}) == [
        f"{variable}: is not a whole number of at least 0; 1 is the most preferred"
    ]


def concurrency(place: Place, variable: str, name: str) -> None:
    env = {**NAMED[name], "MAX_CONCURRENT_REQUESTS": "7"}
    assert backend(spoken(variable, "3", place, env), name).max_concurrency == 3
    assert backend(place.load(env=env), name).max_concurrency == 7
    for wrong in ("0", "1001", "2.5"):
        assert place.fails(env={**NAMED[name], variable: wrong}) == [
            f"{variable}: is not a whole number from 1 to 1000"
        ]


# ---- OpenRouter, and what there is one of ---------------------------------------------------------------------------


def test_openrouter_api_key(place: Place) -> None:
    key(place, "OPENROUTER_API_KEY", "openrouter")
    loaded = place.load(env={"OPENROUTER_API_KEY": "k"})
    assert (names(loaded), loaded.config.server.port) == (["openrouter", "local"], 11434)
    assert backend(loaded, "openrouter").profile == "openrouter"


def test_host(place: Place) -> None:
    for host in ("0.0.0.0", "::1", "localhost"):
        assert spoken("HOST", host, place).config.server.host == host


def test_port(place: Place) -> None:
    assert spoken("PORT", "8080", place).config.server.port == 8080
    assert place.fails(env={"PORT": "70000"}) == ["PORT: must be at most 65535"]


@pytest.mark.parametrize(("word", "level"), [("DEBUG", "debug"), ("Warn", "warning"), ("fatal", "critical")])
def test_log_level(place: Place, word: str, level: str) -> None:
    assert spoken("LOG_LEVEL", word, place).config.logging.level == level
    place.file(f"logging: {{level: {word}}}")
    assert place.load().config.logging.level == level


def test_models_filter_path(place: Place) -> None:
    (place.cwd / "mine.txt").write_text("a\n")
    loaded = spoken("MODELS_FILTER_PATH", "mine.txt", place)
    assert loaded.config.models.filter_file == place.cwd / "mine.txt"
    (place.cwd / "models-filter.txt").write_text("b\n")
    found = place.load()
    assert found.config.models.filter_file == place.cwd / "models-filter.txt"
    assert str(found.origin("models.filter_file")) == "./models-filter.txt"
    assert place.load(Flags(models_filter="")).config.models.filter_file is None
    assert place.load(Flags(models_filter=""), {"MODELS_FILTER_PATH": "mine.txt"}).config.models.filter_file is None
    assert place.load(Flags(models_filter="mine.txt")).config.models.filter_file == place.cwd / "mine.txt"
    place.file("server: {port: 1}")
    assert place.load().config.models.filter_file is None


def test_models_filter(place: Place) -> None:
    (place.cwd / "mine.txt").write_text("a\n")
    assert spoken("MODELS_FILTER", "mine.txt", place).config.models.filter_file == place.cwd / "mine.txt"
    both = place.load(env={"MODELS_FILTER": "other.txt", "MODELS_FILTER_PATH": "mine.txt"})
    assert both.config.models.filter_file == place.cwd / "mine.txt"


def test_openrouter_base_url(place: Place) -> None:
    own = "https://openrouter.ai/api/v1"
    assert backend(place.load(env=NAMED["openrouter"]), "openrouter").url == own
    url(place, "OPENROUTER_BASE_URL", "openrouter", (own, own), ("https://openrouter.ai", own))


def test_openrouter_timeout(place: Place) -> None:
    timeout(place, "OPENROUTER_TIMEOUT", "openrouter")


def test_max_concurrent_requests(place: Place) -> None:
    env = {**NAMED["openrouter"], **NAMED["openai"]}
    loaded = spoken("MAX_CONCURRENT_REQUESTS", "1000", place, env)
    limits = {item.name: item.max_concurrency for item in loaded.config.backends}
    assert limits == {"openrouter": 1000, "openai": 1000, "local": None}
    assert place.load(env={"MAX_CONCURRENT_REQUESTS": "0"}).warnings == ()
    for wrong in ("0", "1001", "many"):
        assert place.fails(env={**NAMED["openrouter"], "MAX_CONCURRENT_REQUESTS": wrong}) == [
            "MAX_CONCURRENT_REQUESTS: is not a whole number from 1 to 1000"
        ]


def test_debug(place: Place) -> None:
    assert place.load(env={"DEBUG": "true", "LOG_LEVEL": "INFO"}).config.logging.level == "debug"
    place.file("logging: {level: error}")
    assert spoken("DEBUG", "true", place).config.logging.level == "debug"
    assert spoken("DEBUG", "false", place).config.logging.level == "error"


def test_reload(place: Place) -> None:
    place.file("server: {watch: false}")
    assert spoken("RELOAD", "true", place).config.server.watch is True
    assert spoken("RELOAD", "false", place).config.server.watch is False
    place.file("{}")
    assert spoken("RELOAD", "false", place).config.server.watch is True


def test_environment(place: Place) -> None:
    for word, expected in (("production", "production"), ("LIVE", "production"), ("Testing", "staging"), ("qa", None)):
        assert spoken("ENVIRONMENT", word, place).config.server.environment == (expected or "development")
    assert place.load().config.server.environment == "development"


STRATEGIES = [
    ("round_robin", "round-robin"),
    ("ROUND-ROBIN", "round-robin"),
    ("least_loaded", "least-connections"),
    ("fastest_response", "fastest"),
    ("cost_optimized", "cheapest"),
    ("Capability_Based", "capability"),
    ("manual", "priority"),
]


@pytest.mark.parametrize(("word", "policy"), STRATEGIES)
def test_routing_strategy(place: Place, word: str, policy: str) -> None:
    place.file("routing: {policy: weighted}")
    loaded = spoken("ROUTING_STRATEGY", word, place)
    assert (loaded.config.routing.policy, str(loaded.origin("routing.policy"))) == (policy, "ROUTING_STRATEGY")


def test_routing_strategy_is_capability_where_nothing_is_said(place: Place) -> None:
    loaded = place.load(env=NAMED["openrouter"])
    assert (loaded.config.routing.policy, str(loaded.origin("routing.policy"))) == (
        "capability",
        "default",
    )
    assert place.load().config.routing.policy == "least-connections"
    place.file("server: {port: 1}")
    assert place.load(env=NAMED["openrouter"]).config.routing.policy == "least-connections"


def test_routing_strategy_of_an_unknown_word(place: Place) -> None:
    assert place.fails(env={"ROUTING_STRATEGY": "best"}) == [
        "ROUTING_STRATEGY: is not one of round_robin, least_loaded, fastest_response, cost_optimized, "
        "capability_based, manual"
    ]


@pytest.mark.parametrize(
    ("word", "attempts", "where"),
    [
        ("none", 1, "elsewhere"),
        ("next_available", 3, "elsewhere"),
        ("RETRY-SAME", 3, "same"),
        ("best_alternative", 3, "elsewhere"),
    ],
)
def test_fallback_strategy(place: Place, word: str, attempts: int, where: str) -> None:
    retry = spoken("FALLBACK_STRATEGY", word, place).config.routing.retry
    assert (retry.attempts, retry.where) == (attempts, where)
    assert place.fails(env={"FALLBACK_STRATEGY": "all"}) == [
        "FALLBACK_STRATEGY: is not one of none, next_available, retry_same, best_alternative"
    ]


def test_enable_load_balancing(place: Place) -> None:
    env = {"ROUTING_STRATEGY": "round_robin", **NAMED["openai"]}
    loaded = spoken("ENABLE_LOAD_BALANCING", "false", place, env)
    assert (loaded.config.routing.policy, backend(loaded, "openai").priority) == ("priority", 98)
    assert loaded.warnings == ("ROUTING_STRATEGY has no effect with ENABLE_LOAD_BALANCING=false",)
    assert spoken("ENABLE_LOAD_BALANCING", "true", place, env).config.routing.policy == "round-robin"
    assert place.fails(env={"ENABLE_LOAD_BALANCING": "2"}) == ["ENABLE_LOAD_BALANCING: is not true or false"]


def test_health_check_interval(place: Place) -> None:
    env = {**NAMED["openrouter"], **NAMED["ollama"]}
    loaded = spoken("HEALTH_CHECK_INTERVAL", "60", place, env)
    assert [backend(loaded, name).check_interval for name in ("openrouter", "ollama")] == [60, 60]
    assert place.fails(env={**NAMED["openrouter"], "HEALTH_CHECK_INTERVAL": "9"}) == [
        "HEALTH_CHECK_INTERVAL: is not a number of seconds of at least 10"
    ]


def test_log_format(place: Place) -> None:
    assert spoken("LOG_FORMAT", "JSON", place).config.logging.format == "json"
    assert spoken("LOG_FORMAT", "console", place).config.logging.format == "text"


def test_routing_rules_path(place: Place) -> None:
    loaded = spoken("ROUTING_RULES_PATH", "routing-rules.json", place)
    assert loaded.warnings == (
        "ROUTING_RULES_PATH has no effect: ollama-proxy never read that file; see routing.aliases",
    )


def test_max_queue_size(place: Place) -> None:
    assert spoken("MAX_QUEUE_SIZE", "1000", place).config.routing.queue.max_waiting == 1000
    assert place.fails(env={"MAX_QUEUE_SIZE": "-1"}) == ["MAX_QUEUE_SIZE: must be at least 0"]


def test_enable_prioritization(place: Place) -> None:
    for word in ("true", "false", "whatever"):
        assert spoken("ENABLE_PRIORITIZATION", word, place).config == place.load().config


# ---- per provider ---------------------------------------------------------------------------------------------------


def test_openrouter_enabled(place: Place) -> None:
    enabled(place, "OPENROUTER_ENABLED", "openrouter", "OPENROUTER_API_KEY")


def test_openrouter_priority(place: Place) -> None:
    priority(place, "OPENROUTER_PRIORITY", "openrouter", 1)


def test_openai_enabled(place: Place) -> None:
    enabled(place, "OPENAI_ENABLED", "openai", "OPENAI_API_KEY")


def test_openai_api_key(place: Place) -> None:
    key(place, "OPENAI_API_KEY", "openai")


def test_openai_base_url(place: Place) -> None:
    own = "https://api.openai.com/v1"
    assert backend(place.load(env=NAMED["openai"]), "openai").url == own
    url(place, "OPENAI_BASE_URL", "openai", (own, own), ("https://api.openai.com/", own))


def test_openai_timeout(place: Place) -> None:
    timeout(place, "OPENAI_TIMEOUT", "openai")


def test_openai_priority(place: Place) -> None:
    priority(place, "OPENAI_PRIORITY", "openai", 2)


def test_openai_max_concurrent_requests(place: Place) -> None:
    concurrency(place, "OPENAI_MAX_CONCURRENT_REQUESTS", "openai")


def test_anthropic_enabled(place: Place) -> None:
    enabled(place, "ANTHROPIC_ENABLED", "anthropic", "ANTHROPIC_API_KEY")


def test_anthropic_api_key(place: Place) -> None:
    key(place, "ANTHROPIC_API_KEY", "anthropic")


def test_anthropic_base_url(place: Place) -> None:
    own = "https://api.anthropic.com/v1"
    assert backend(place.load(env=NAMED["anthropic"]), "anthropic").url == own
    url(place, "ANTHROPIC_BASE_URL", "anthropic", ("https://api.anthropic.com", own), (own, own))


def test_anthropic_timeout(place: Place) -> None:
    timeout(place, "ANTHROPIC_TIMEOUT", "anthropic")


def test_anthropic_priority(place: Place) -> None:
    priority(place, "ANTHROPIC_PRIORITY", "anthropic", 3)


def test_anthropic_max_concurrent_requests(place: Place) -> None:
    concurrency(place, "ANTHROPIC_MAX_CONCURRENT_REQUESTS", "anthropic")


def test_google_enabled(place: Place) -> None:
    enabled(place, "GOOGLE_ENABLED", "google", "GOOGLE_API_KEY")


def test_google_api_key(place: Place) -> None:
    key(place, "GOOGLE_API_KEY", "google")
    key(place, "GEMINI_API_KEY", "google")


def test_google_base_url(place: Place) -> None:
    own = "https://generativelanguage.googleapis.com/v1beta/openai"
    assert backend(place.load(env=NAMED["google"]), "google").url == own
    url(place, "GOOGLE_BASE_URL", "google", ("https://generativelanguage.googleapis.com/v1beta", own), (own, own))


def test_google_timeout(place: Place) -> None:
    timeout(place, "GOOGLE_TIMEOUT", "google")


def test_google_priority(place: Place) -> None:
    priority(place, "GOOGLE_PRIORITY", "google", 4)


def test_google_max_concurrent_requests(place: Place) -> None:
    concurrency(place, "GOOGLE_MAX_CONCURRENT_REQUESTS", "google")


def test_azure_enabled(place: Place) -> None:
    enabled(place, "AZURE_ENABLED", "azure", "AZURE_API_KEY")


def test_azure_api_key(place: Place) -> None:
    key(place, "AZURE_API_KEY", "azure")
    key(place, "AZURE_OPENAI_API_KEY", "azure")


def test_azure_base_url(place: Place) -> None:
    url(place, "AZURE_BASE_URL", "azure", ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"))
    loaded = place.load(env={"AZURE_API_KEY": "k"})
    assert (names(loaded), loaded.warnings) == (
        ["local"],
        ("AZURE_API_KEY is set, but AZURE_BASE_URL (https://NAME.openai.azure.com) is not: azure is left out",),
    )


def test_a_version_in_azures_url_has_another_place(place: Place) -> None:
    for path in ("", "/openai/v1"):
        env = NAMED["azure"] | {"AZURE_BASE_URL": f"https://r.openai.azure.com{path}?api-version=s3cret"}
        (problem,) = place.fails(env=env)
        assert problem.startswith("AZURE_BASE_URL: must not hold a query: what stands behind the ?")
        assert "AZURE_API_VERSION" in problem and "s3cret" not in problem


def test_azure_timeout(place: Place) -> None:
    timeout(place, "AZURE_TIMEOUT", "azure")


def test_azure_priority(place: Place) -> None:
    priority(place, "AZURE_PRIORITY", "azure", 5)


def test_azure_api_version(place: Place) -> None:
    loaded = spoken("AZURE_API_VERSION", "2024-10-21", place, NAMED["azure"] | {"AZURE_BASE_URL": "http://h/openai"})
    azure = backend(loaded, "azure")
    assert (azure.query, azure.profile) == ({"api-version": "2024-10-21"}, "azure-deployments")


def test_azure_deployments(place: Place) -> None:
    env = {**NAMED["azure"]}
    del env["AZURE_DEPLOYMENTS"]
    assert backend(spoken("AZURE_DEPLOYMENTS", "a, b", place, env), "azure").extra_models == ("a", "b")
    assert place.load(env=env).warnings == (
        "azure has no list of its models: none is offered until AZURE_DEPLOYMENTS names them",
    )
    assert place.fails(env={**env, "AZURE_DEPLOYMENTS": "[a"}) == ["AZURE_DEPLOYMENTS: is not a JSON list"]


def test_aws_bedrock_enabled(place: Place) -> None:
    enabled(place, "AWS_BEDROCK_ENABLED", "aws_bedrock", "AWS_BEARER_TOKEN_BEDROCK")


def test_aws_bedrock_api_key(place: Place) -> None:
    key(place, "AWS_BEDROCK_API_KEY", "aws_bedrock")
    key(place, "AWS_BEARER_TOKEN_BEDROCK", "aws_bedrock")


def signed(place: Place, name: str) -> None:
    loaded = spoken(name, "s3cret", place, {"AWS_BEDROCK_ENABLED": "true"})
    assert names(loaded) == ["local"]
    assert loaded.warnings == (
        f"{name} is not used: arriero signs no requests; make a Bedrock API key and put it into "
        "AWS_BEARER_TOKEN_BEDROCK",
    )
    assert place.load(env={name: "s3cret", **NAMED["aws_bedrock"]}).warnings == ()
    assert place.load(env={name: "s3cret", "AWS_BEDROCK_ENABLED": "false"}).warnings == ()


def test_aws_bedrock_access_key(place: Place) -> None:
    signed(place, "AWS_BEDROCK_ACCESS_KEY")


def test_aws_bedrock_secret_key(place: Place) -> None:
    signed(place, "AWS_BEDROCK_SECRET_KEY")


def test_aws_bedrock_session_token(place: Place) -> None:
    signed(place, "AWS_BEDROCK_SESSION_TOKEN")


def test_aws_bedrock_region(place: Place) -> None:
    env = NAMED["aws_bedrock"]
    assert (
        backend(place.load(env=env), "aws_bedrock").url == "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1"
    )
    loaded = spoken("AWS_BEDROCK_REGION", "eu-west-1", place, env)
    assert backend(loaded, "aws_bedrock").url == "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1"
    assert place.fails(env={**env, "AWS_BEDROCK_REGION": "x.example.com/"}) == [
        "AWS_BEDROCK_REGION: is not the name of a region such as us-east-1"
    ]


def test_aws_bedrock_models(place: Place) -> None:
    env = {"AWS_BEARER_TOKEN_BEDROCK": "k"}
    assert backend(spoken("AWS_BEDROCK_MODELS", "a,b", place, env), "aws_bedrock").extra_models == ("a", "b")
    assert place.load(env=env).warnings == (
        "aws_bedrock has no list of its models: none is offered until AWS_BEDROCK_MODELS names them",
    )


def test_aws_bedrock_timeout(place: Place) -> None:
    timeout(place, "AWS_BEDROCK_TIMEOUT", "aws_bedrock")


def test_aws_bedrock_priority(place: Place) -> None:
    priority(place, "AWS_BEDROCK_PRIORITY", "aws_bedrock", 6)


def test_ollama_enabled(place: Place) -> None:
    env = {"PORT": "1"}
    loaded = spoken("OLLAMA_ENABLED", "true", place, env)
    ollama = backend(loaded, "ollama")
    assert isinstance(ollama, OllamaConfig)
    assert (ollama.url, key_of(ollama)) == ("http://localhost:11434", None)
    assert names(place.load(env=env)) == ["local"]
    assert names(spoken("OLLAMA_ENABLED", "false", place, {"OLLAMA_BASE_URL": "http://h:1"})) == ["local"]


def test_ollama_api_key(place: Place) -> None:
    key(place, "OLLAMA_API_KEY", "ollama")
    assert names(place.load(env={"OLLAMA_API_KEY": "k"})) == ["local"]


def test_ollama_base_url(place: Place) -> None:
    for given in ("http://h:9", "http://h:9/", "http://h:9/v1", "http://h:9/api/"):
        assert backend(spoken("OLLAMA_BASE_URL", given, place), "ollama").url == "http://h:9"


def test_ollama_timeout(place: Place) -> None:
    timeout(place, "OLLAMA_TIMEOUT", "ollama")


def test_ollama_priority(place: Place) -> None:
    priority(place, "OLLAMA_PRIORITY", "ollama", 7)


# ---- all of them ----------------------------------------------------------------------------------------------------

DOCUMENTED = [
    "OPENROUTER_API_KEY",
    "HOST",
    "PORT",
    "LOG_LEVEL",
    "MODELS_FILTER_PATH",
    "OPENROUTER_BASE_URL",
    "OPENROUTER_TIMEOUT",
    "MAX_CONCURRENT_REQUESTS",
    "DEBUG",
    "RELOAD",
    "ENVIRONMENT",
    "ROUTING_STRATEGY",
    "FALLBACK_STRATEGY",
    "ENABLE_LOAD_BALANCING",
    "HEALTH_CHECK_INTERVAL",
]
PER_PROVIDER = [
    f"{provider}_{setting}"
    for provider in ("OPENROUTER", "OPENAI", "ANTHROPIC", "GOOGLE", "AZURE", "OLLAMA")
    for setting in ("ENABLED", "API_KEY", "BASE_URL", "TIMEOUT", "PRIORITY")
]
OF_BEDROCK = [
    f"AWS_BEDROCK_{setting}"
    for setting in ("ENABLED", "ACCESS_KEY", "SECRET_KEY", "REGION", "SESSION_TOKEN", "TIMEOUT", "PRIORITY")
]
IN_SAMPLES = [
    "LOG_FORMAT",
    "ROUTING_RULES_PATH",
    "MODELS_FILTER",
    "OPENAI_MAX_CONCURRENT_REQUESTS",
    "ANTHROPIC_MAX_CONCURRENT_REQUESTS",
    "GOOGLE_MAX_CONCURRENT_REQUESTS",
    "MAX_QUEUE_SIZE",
    "ENABLE_PRIORITIZATION",
]
ALL = [*DOCUMENTED, *PER_PROVIDER, *OF_BEDROCK, *IN_SAMPLES]


def test_every_variable_is_known() -> None:
    assert [name for name in ALL if name not in every_name()] == []


def test_every_variable_has_its_test() -> None:
    assert [name for name in ALL if not callable(globals().get(f"test_{name.lower()}"))] == []


def test_a_provider_without_variables_is_nobody(place: Place) -> None:
    loaded = place.load(env={"ANTHROPIC_TIMEOUT": "x", "OPENROUTER_PRIORITY": "y", "HEALTH_CHECK_INTERVAL": "z"})
    assert (names(loaded), loaded.warnings) == (["local"], ())
    assert not any(isinstance(item, OpenAIConfig) for item in loaded.config.backends)

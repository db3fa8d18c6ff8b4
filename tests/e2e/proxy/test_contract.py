"""What ollama-proxy promises, as tables, and for each entry the tests that have to be there.

A test is named after its entry: by its function, or by the word in its brackets. Here nothing is tested but that they
are there; what they assert, they say themselves. The tests are collected as pytest does, so that a parameter that goes
missing with a row of the program's own tables is missed here.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
WHERE = (
    "tests/config/test_environment.py",
    "tests/config/test_providers_variables.py",
    "tests/config/test_sources.py",
    "tests/config/test_strategies.py",
    "tests/config/test_values.py",
    "tests/dialects/openai/test_catalog.py",
    "tests/e2e/proxy",
    "tests/e2e/vendors",
    "tests/laws/test_vendors.py",
    "tests/test_cli.py",
)

# ---- the contract --------------------------------------------------------------------------------------------------

VARIABLES = """
    OPENROUTER_API_KEY HOST PORT LOG_LEVEL MODELS_FILTER_PATH OPENROUTER_BASE_URL OPENROUTER_TIMEOUT
    MAX_CONCURRENT_REQUESTS DEBUG RELOAD ENVIRONMENT ROUTING_STRATEGY FALLBACK_STRATEGY ENABLE_LOAD_BALANCING
    HEALTH_CHECK_INTERVAL

    OPENROUTER_ENABLED OPENROUTER_PRIORITY
    OPENAI_ENABLED OPENAI_API_KEY OPENAI_BASE_URL OPENAI_TIMEOUT OPENAI_PRIORITY
    ANTHROPIC_ENABLED ANTHROPIC_API_KEY ANTHROPIC_BASE_URL ANTHROPIC_TIMEOUT ANTHROPIC_PRIORITY
    GOOGLE_ENABLED GOOGLE_API_KEY GOOGLE_BASE_URL GOOGLE_TIMEOUT GOOGLE_PRIORITY
    AZURE_ENABLED AZURE_API_KEY AZURE_BASE_URL AZURE_TIMEOUT AZURE_PRIORITY
    OLLAMA_ENABLED OLLAMA_API_KEY OLLAMA_BASE_URL OLLAMA_TIMEOUT OLLAMA_PRIORITY
    AWS_BEDROCK_ENABLED AWS_BEDROCK_ACCESS_KEY AWS_BEDROCK_SECRET_KEY AWS_BEDROCK_REGION AWS_BEDROCK_SESSION_TOKEN
    AWS_BEDROCK_TIMEOUT AWS_BEDROCK_PRIORITY

    LOG_FORMAT ROUTING_RULES_PATH MODELS_FILTER MAX_QUEUE_SIZE ENABLE_PRIORITIZATION
    OPENAI_MAX_CONCURRENT_REQUESTS ANTHROPIC_MAX_CONCURRENT_REQUESTS GOOGLE_MAX_CONCURRENT_REQUESTS
"""
"""Documented ones, those of each provider, and those that only the code or the samples have."""

FLAGS = "--host --port --reload --api-key --models-filter --log-level --dry-run"
LEVELS_OF_THE_FLAG = "DEBUG INFO WARNING ERROR CRITICAL"

SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "test_log_levels": {
        "debug": "debug dbg d",
        "info": "info information i",
        "warning": "warning warn w",
        "error": "error err e",
        "critical": "critical crit fatal c f",
    },
    "test_environments": {
        "development": "development dev local",
        "staging": "staging stage test testing",
        "production": "production prod live",
    },
}
"""Test -> meaning -> how it may be written. Any other environment is `development`."""

STRATEGIES = "round_robin least_loaded fastest_response cost_optimized capability_based manual"
NEEDS = ("tools", "images", "thinking", "context length", "embeddings")
FALLBACKS = "none next_available retry_same best_alternative"

ENDPOINTS = (
    "GET /",
    "HEAD /",
    "GET /api/version",
    "GET /health",
    "GET /health/detailed",
    "GET /health/providers",
    "GET /health/providers/{provider}",
    "GET /health/metrics",
    "GET /metrics",
    "GET /api/tags",
    "GET /api/tags/{provider}",
    "POST /api/show",
    "POST /api/chat",
    "POST /api/generate",
    "POST /api/embed",
    "POST /api/embeddings",
    "GET /api/ps",
    "GET /api/providers",
    "GET /api/providers/{provider}/stats",
    "POST /api/create",
    "POST /api/copy",
    "DELETE /api/delete",
    "POST /api/pull",
    "POST /api/push",
    "POST /api/blobs/{digest}",
    "HEAD /api/blobs/{digest}",
)
STANDS_FOR: Mapping[str, str] = {"{provider}": "openrouter", "{digest}": "sha256:" + "0" * 64}
PROVIDERS = "openrouter openai anthropic google azure aws_bedrock ollama cohere huggingface"


def under(prefix: str, fields: str) -> str:
    """The fields of an object, which itself stands behind the prefix."""
    return ", ".join(f"{prefix}.{field}" for field in fields.split(", "))


BREAKER = under("circuit_breaker", "state, failure_count, success_count, request_count, last_failure_time")
DETAILS = under("details", "format, family, families, parameter_size, quantization_level")
ENTRY = under("models", f"name, modified_at, size, digest, {DETAILS}")
STATISTICS = "total_duration, load_duration, prompt_eval_count, prompt_eval_duration, eval_count, eval_duration"
METRICS = "total_requests, total_errors, error_rate, active_providers, uptime"

FIELDS: Mapping[str, str] = {
    "GET /api/version": "version",
    "GET /health": "status, uptime_seconds, model_count, filtered_model_count, request_count, error_count, error_rate, "
    f"last_model_refresh, environment, timestamp, version, uptime, providers, metrics, {under('metrics', METRICS)}",
    "GET /health/detailed": "status, timestamp, version, uptime, providers, metrics",
    "GET /health/metrics": METRICS,
    "GET /health/providers/openrouter": f"healthy, status, {BREAKER}",
    "GET /metrics": "metrics, statistics, timestamp",
    "GET /api/tags": f"{ENTRY}, models.model",
    "GET /api/tags/openrouter": f"{ENTRY}, models.provider",
    "POST /api/show": f"license, modelfile, parameters, template, details.parent_model, {DETAILS}, model_info",
    "POST /api/chat": f"model, created_at, message.role, message.content, done, {STATISTICS}",
    "POST /api/generate": f"model, created_at, response, done, {STATISTICS}",
    "POST /api/embed": "embeddings",  # Ollama's own; there `embedding`
    "POST /api/embeddings": "embedding",
    "GET /api/ps": "models, created_at",
    "GET /api/providers": under(
        "providers",
        "type, enabled, healthy, priority, request_count, error_count, error_rate, avg_response_time_ms, "
        f"current_load, avg_response_time, last_used, {BREAKER}",
    )
    + ", routing_strategy, fallback_strategy, load_balancing_enabled",
    "GET /api/providers/openrouter/stats": "provider_type, enabled, healthy, priority, request_count, "
    "successful_requests, failed_requests, error_rate, avg_response_time_ms, min_response_time_ms, "
    "max_response_time_ms, circuit_breaker_state, last_health_check, models_available, error_count, capabilities",
}
"""What is not among them: `tensors` of `/api/show`, which stand there only where they are known, and `context` of
`/api/generate`, which Ollama itself no longer has to send."""

ERRORS = """
    validation_error model_not_found model_forbidden openrouter_error network_error internal_error configuration_error
"""

FILTER = (
    "one rule per line",
    "trimmed",
    "blank lines",
    "comments",
    "no trailing comments",
    "! excludes",
    "* is a pattern",
    "? is a pattern",
    "[] alone is a name",
    "exact",
    "exact in its letter case",
    "excludes beat includes",
    "excludes alone allow the rest",
    "no rules allow all",
    "UTF-8",
    "a missing file allows all",
    "an unreadable file allows all and is told",
)
NAMES = (
    "id",
    "id:latest",
    "tail",
    "tail:latest",
    "unique prefix",
    "alias",
    "provider/id",
    "id:free",
    "tail:free",
    "the name that ollama-proxy made of id:free",
    "the documented google/gemini-pro:latest",
    "ambiguous tail",
    "unknown",
)

VENDORS: Mapping[str, str] = {
    "OpenRouter": "openrouter",
    "OpenAI": "openai",
    "Google": "google",
    "Azure": "azure",
    "Azure, deployments and api-version": "azure-deployments",
    "AWS Bedrock": "bedrock",
    "Groq": "groq",
    "Mistral": "mistral",
    "DeepSeek": "deepseek",
    "xAI": "xai",
    "Together": "together",
    "Perplexity": "perplexity",
    "Cohere": "cohere",
    "Fireworks": "fireworks",
    "Cerebras": "cerebras",
    "Anthropic, by the API like OpenAI's": "anthropic",
    "Hugging Face": "huggingface",
    "Ollama's cloud": "ollama-cloud",
}
OF_A_VENDOR = (
    # what its documentation shows is read
    "test_a_whole_answer",
    "test_a_stream",
    "test_a_refusal",
    "test_too_many_requests",
    # the clients, the program, and what the vendor got
    "test_a_stream_for_ollamas_client",
    "test_an_answer_for_openais_client",
    "test_a_refusal_for_ollamas_client",
    "test_its_models_are_listed",
)
OTHERWISE = {"test_an_answer_for_openais_client[ollama-cloud]": "test_an_answer_of_ollamas_cloud_for_openais_client"}

OPENROUTER: Mapping[str, str] = {
    "a paged list": "test_pages_are_followed",
    "context and capabilities from the list": "test_show_tells_what_openrouter_tells",
    "prices from the list": "test_openrouters_prices_are_of_a_million_tokens",
    "an error after 200": "test_openrouter_fails_after_200",
    ": OPENROUTER PROCESSING": "test_openrouters_comments_say_nothing",
    "HTTP-Referer and X-Title": "test_openrouter_learns_the_application_and_the_operators_word_is_stronger",
    "provider, models, transforms": "test_openrouters_own_fields_travel_from_an_ollama_client",
    "embeddings": "test_openrouters_embeddings",
    "Retry-After": "test_too_many_requests_say_when_to_come_again",
    ":nitro and the like": "test_name[id:nitro, which no list has]",
}

BESIDES: Mapping[str, str] = {
    "flags before the environment before .env before the file": "test_precedence",
    "an unknown variable in .env stops nothing": "test_a_start_with_the_old_files",
    "where each setting of a provider came from, and no key": "test_check_tells_what_was_understood_of_each_provider",
    "503 with `detail` where no provider is well": "test_no_provider_is_well",
    "a word that is no provider": "test_an_unknown_word_is_400",
    "a provider that is not configured": "test_a_provider_that_is_not_configured_is_404",
    "X-Provider": "test_x_provider_is_a_preference_and_no_pin",
    "what the listings show": "test_listed_names",
    "digests that stay": "test_digests_are_distinct_and_the_same_after_a_restart",
    "text for Prometheus": "test_scrapers_get_text",
    "chat in a stream": "test_post_api_chat_streamed",
    "generation in a stream": "test_post_api_generate_streamed",
    "`model` and `name` of /api/show": "test_post_api_show_with_both_fields",
    "both clients are told the same of a name": "test_name_to_both_clients",
}

# ---- the tests that are there --------------------------------------------------------------------------------------


class Found(NamedTuple):
    """A test: its function, and what stands in its brackets."""

    function: str
    word: str

    @property
    def whole(self) -> str:
        return f"{self.function}[{self.word}]" if self.word else self.function


@pytest.fixture(scope="module")
def tests() -> frozenset[Found]:
    """Every test of these files, as pytest names it."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *WHERE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = re.findall(r"^tests/\S+\.py::(\w+)(?:\[(.*)\])?$", done.stdout, re.MULTILINE)
    return frozenset(Found(function, word) for function, word in ids)


def missing(tests: Iterable[Found], *wanted: str) -> list[str]:
    """Those that are not there, as functions or with their word."""
    there = {name for test in tests for name in (test.function, test.whole)}
    return [one for one in wanted if one not in there]


def slug(text: str) -> str:
    """The name of a test after a method and a path, a flag or a variable."""
    return "test_" + "_".join(re.findall(r"[a-z0-9]+", text.lower()))


def test_every_variable(tests: frozenset[Found]) -> None:
    assert missing(tests, *map(slug, VARIABLES.split())) == []


def test_every_flag(tests: frozenset[Found]) -> None:
    assert missing(tests, *(slug(f"flag {flag}") for flag in FLAGS.split())) == []
    assert missing(tests, *(f"test_flag_log_level[{level}]" for level in LEVELS_OF_THE_FLAG.split())) == []
    assert missing(tests, "test_flag_models_filter_of_nothing_switches_it_off") == []


def test_every_spelling(tests: frozenset[Found]) -> None:
    for function, meanings in SPELLINGS.items():
        wanted = [f"{function}[{one}-{word}]" for one, words in meanings.items() for word in words.split()]
        assert missing(tests, *wanted) == []
    assert missing(tests, "test_any_other_environment_is_development") == []


def test_every_strategy_and_fallback(tests: frozenset[Found]) -> None:
    assert missing(tests, *(f"test_strategy_{word}" for word in STRATEGIES.split())) == []
    assert missing(tests, *(f"test_strategy_capability_based_looks_at[{need}]" for need in NEEDS)) == []
    assert missing(tests, *(f"test_fallback_{word}" for word in FALLBACKS.split())) == []
    assert missing(tests, *(f"test_the_spellings_of_a_strategy[{word}]" for word in STRATEGIES.split())) == []
    assert missing(tests, *(f"test_the_spellings_of_a_fallback[{word}]" for word in FALLBACKS.split())) == []


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint(tests: frozenset[Found], endpoint: str) -> None:
    asked = re.sub(r"\{\w+\}", lambda word: STANDS_FOR[word[0]], endpoint)
    name = slug(endpoint if len(endpoint.split("/")[1]) else f"{endpoint}root")
    assert [test for test in tests if test.function == name or f"{test.word} ".startswith(f"{asked} ")]


@pytest.mark.parametrize("page", FIELDS)
def test_every_field(tests: frozenset[Found], page: str) -> None:
    assert missing(tests, *(f"test_field[{page} {field}]" for field in FIELDS[page].split(", "))) == []


def test_every_error_type(tests: frozenset[Found]) -> None:
    assert missing(tests, *(f"test_{word}" for word in ERRORS.split())) == []


def test_every_word_for_a_provider(tests: frozenset[Found]) -> None:
    assert missing(tests, *(f"test_a_word_for_a_provider[{word}]" for word in PROVIDERS.split())) == []


def test_every_rule_of_the_filter(tests: frozenset[Found]) -> None:
    there = {test.word for test in tests if test.function in ("test_filter", "test_filter_that_cannot_be_read")}
    assert [rule for rule in FILTER if rule not in there] == []


def test_every_rule_of_names(tests: frozenset[Found]) -> None:
    there = {test.word for test in tests if test.function in ("test_name", "test_no_name")}
    assert [rule for rule in NAMES if rule not in there] == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor(tests: frozenset[Found], vendor: str) -> None:
    wanted = [f"{function}[{VENDORS[vendor]}]" for function in OF_A_VENDOR]
    assert missing(tests, *(OTHERWISE.get(one, one) for one in wanted)) == []


def test_everything_of_openrouter(tests: frozenset[Found]) -> None:
    assert missing(tests, *OPENROUTER.values()) == []


def test_what_stands_in_no_table(tests: frozenset[Found]) -> None:
    assert missing(tests, *BESIDES.values()) == []


def test_what_is_not_there_is_missed(tests: frozenset[Found]) -> None:
    assert missing(tests, "test_port", "test_nothing", "test_flag_log_level[TRACE]") == [
        "test_nothing",
        "test_flag_log_level[TRACE]",
    ]

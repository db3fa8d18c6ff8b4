"""The pages for people who come from another program are true: what they name is there, what they type works, and what
they show comes.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from arriero import compose
from arriero.banner import render_start
from arriero.cli import app
from arriero.config import Address, Config
from arriero.config.environment import every_name
from arriero.config.olla_keys import OTHER_VARIABLES, VARIABLES
from arriero.config.strategies import FALLBACKS, STRATEGIES
from arriero.gateway.providers import TYPES
from support.hosts import Host
from support.pages import ROOT, Reader, Step, blocks, fits, page, steps
from support.proxied import MODELS, entry

PROXY, OLLA, OAI = "coming-from-ollama-proxy.md", "coming-from-olla.md", "coming-from-oai2ollama.md"
PAGES = (PROXY, OLLA, OAI)

# ---- what has to stand in them --------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """The words of a text."""
    return re.findall(r"\S+", text)


VARIABLES_OF_PROXY = [
    *words("""
        OPENROUTER_API_KEY HOST PORT LOG_LEVEL MODELS_FILTER_PATH OPENROUTER_BASE_URL OPENROUTER_TIMEOUT
        MAX_CONCURRENT_REQUESTS DEBUG RELOAD ENVIRONMENT ROUTING_STRATEGY FALLBACK_STRATEGY ENABLE_LOAD_BALANCING
        HEALTH_CHECK_INTERVAL LOG_FORMAT ROUTING_RULES_PATH MODELS_FILTER MAX_QUEUE_SIZE ENABLE_PRIORITIZATION
        OPENAI_MAX_CONCURRENT_REQUESTS ANTHROPIC_MAX_CONCURRENT_REQUESTS GOOGLE_MAX_CONCURRENT_REQUESTS
        AWS_BEDROCK_ENABLED AWS_BEDROCK_ACCESS_KEY AWS_BEDROCK_SECRET_KEY AWS_BEDROCK_REGION
        AWS_BEDROCK_SESSION_TOKEN AWS_BEDROCK_TIMEOUT AWS_BEDROCK_PRIORITY
    """),
    *(
        f"{provider}_{setting}"
        for provider in ("OPENROUTER", "OPENAI", "ANTHROPIC", "GOOGLE", "AZURE", "OLLAMA")
        for setting in ("ENABLED", "API_KEY", "BASE_URL", "TIMEOUT", "PRIORITY")
    ),
]
FLAGS_OF_PROXY = words("--host --port --reload --api-key --models-filter --log-level --dry-run")
COMMANDS_OF_PROXY = words("""
    ollama-proxy ollama-proxy-server ollama-proxy-dev ollama-proxy-daemon ollama-proxy-admin ollama-proxy-health
    ollama-proxy-config ollama-proxy-benchmark ollama-proxy-test ollama-proxy-lint ollama-proxy-format ollama-proxy-cli
""")
ENDPOINTS_OF_PROXY = words("""
    / /api/version /api/tags /api/tags/{provider} /api/show /api/chat /api/generate /api/embed /api/embeddings /api/ps
    /health /health/detailed /health/providers /health/providers/{provider} /health/metrics /metrics /api/providers
    /api/providers/{provider}/stats /api/create /api/copy /api/delete /api/pull /api/push /api/blobs/{digest}
""")
STRATEGIES_OF_PROXY = words("round_robin least_loaded fastest_response cost_optimized capability_based manual")
FALLBACKS_OF_PROXY = words("none next_available retry_same best_alternative")
PROVIDERS_OF_PROXY = words("openrouter openai anthropic google azure aws_bedrock ollama cohere huggingface")
ERRORS_OF_PROXY = words("""
    validation_error model_not_found model_forbidden openrouter_error network_error internal_error configuration_error
""")
OF_OAI = [
    *words("""
        OPENAI_API_KEY OPENAI_BASE_URL API_KEY BASE_URL HOST CAPABILITIES MODELS CAPACITIES
        --api-key --base-url --capabilities -c --models -m --host --port
        tools insert vision embedding thinking completion
        /api/tags /api/show /v1/models /v1/chat/completions /api/version
        oai2ollama oai2ollama:app start()
    """),
    "python -m oai2ollama",
]
OF_OLLA = [
    *words("""
        olla http://host:40114/olla/ollama /olla/openai/ /olla/proxy/ /version
        /internal/health /internal/status /internal/metrics /internal/ui/
    """),
    "olla --config FILE",
    "OLLA_CONFIG_FILE=FILE olla",
    "olla --config FILE --validate-config",
    "olla --version",
    "olla --profile",
]
NEEDED = [
    *((PROXY, word) for word in VARIABLES_OF_PROXY),
    *((PROXY, word) for word in FLAGS_OF_PROXY),
    *((PROXY, word) for word in COMMANDS_OF_PROXY),
    *((PROXY, word) for word in ENDPOINTS_OF_PROXY),
    *((PROXY, word) for word in (*STRATEGIES_OF_PROXY, *FALLBACKS_OF_PROXY)),
    *((PROXY, word) for word in (*PROVIDERS_OF_PROXY, *ERRORS_OF_PROXY, "X-Provider")),
    *((OAI, word) for word in OF_OAI),
    *((OLLA, word) for word in OF_OLLA),
]


def prose(name: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"```\w+\n.*?```", "", page(name), flags=re.DOTALL)


def codes(name: str) -> list[str]:
    """The words in code in its prose."""
    return re.findall(r"`([^`]+)`", prose(name))


@pytest.mark.parametrize(("name", "word"), NEEDED, ids=[f"{name}: {word}" for name, word in NEEDED])
def test_the_page_has_the_word(name: str, word: str) -> None:
    found = [code for code in codes(name) if code == word or code.split(" ")[0] == word or code.startswith(f"{word}:")]
    assert found, f"{word} does not stand in {name}"


def test_the_words_are_those_of_the_program() -> None:
    assert [row.word for row in STRATEGIES] == STRATEGIES_OF_PROXY
    assert [row.word for row in FALLBACKS] == FALLBACKS_OF_PROXY
    assert list(TYPES) == PROVIDERS_OF_PROXY


# ---- what stands in them is there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_variable_is_known(name: str) -> None:
    known = {*every_name(), *(row.name for row in VARIABLES), *OTHER_VARIABLES, "OLLA_CONFIG_FILE"}
    code = " ".join((*codes(name), *(block.text for block in blocks(page(name)) if block.language != "python")))
    named = set(re.findall(r"(?<![\w.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![\w*])", code))
    named |= set(re.findall(r"\b([A-Z]+)=", code))
    assert len(named) >= 2
    assert named - known == set()


def flags_of(name: str) -> dict[str, set[str]]:
    """The flags that the page types, by the command of arriero."""
    code = [*codes(name), *(line for block in blocks(page(name)) for line in block.text.splitlines())]
    found: dict[str, set[str]] = {}
    for line in code:
        for command, rest in re.findall(r"\barriero (serve|check|ask|scripted)\b([^|&;]*)", line):
            typed = [word for word in shlex.split(rest) if re.fullmatch(r"--?[a-z][a-z-]*", word)]
            found.setdefault(command, set()).update(typed)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_every_flag_is_one(name: str) -> None:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {
        word: {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
        for word, command in commands.items()
    }
    typed = flags_of(name)
    assert {"serve", "check"} <= set(typed) and any(typed.values())
    assert {command: flags - known[command] for command, flags in typed.items()} == {word: set() for word in typed}
    alone = {code for code in codes(name) if re.fullmatch(r"--?[a-z][a-z-]*", code)}
    assert alone - known["serve"] - {"--detailed", "--provider", "--validate", "--test", "--show", "--format"} == set()


@pytest.mark.parametrize("name", PAGES)
def test_every_path_is_served(name: str) -> None:
    served = [route.path for route in compose.build(Config()).table.routes]
    paths = {code for code in codes(name) if re.fullmatch(r"/[\w{}./-]*", code)} - {"/olla/vllm/"} | {"/olla/vllm/x"}
    paths |= set(re.findall(r"http://(?:localhost|127\.0\.0\.1):\d+(/[\w./-]*)", page(name)))
    missing = {
        path
        for path in paths
        if not any(path == route or (route.endswith("*") and path.startswith(route[:-1])) for route in served)
    }
    assert len(paths) >= 5
    assert missing - {"/opt/arriero/bin/arriero"} == set()


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_is_one(name: str) -> None:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    settings = {
        code for code in codes(name) if re.fullmatch(r"(models|routing|limits|logging|timeouts)\.[a-z_.]+", code)
    }
    assert {setting for setting in settings if f"`{setting}`" not in reference} == set()


def test_every_anchor_is_a_heading() -> None:
    for name in PAGES:
        for target, anchor in re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\)", page(name)):
            headings = re.findall(r"^#+ (.*)$", page(target), re.MULTILINE)
            known = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in known, (name, target, anchor)


def test_the_start_for_everybody_is_as_the_page_has_it() -> None:
    first, second = render_start([Address("0.0.0.0", 11434)], [], color=False).splitlines()[:2]
    text = " ".join(prose(PROXY).split())
    assert f"`{first.partition('11434 ')[2]}`" in text
    assert second.partition(". ")[2].removesuffix(".").removeprefix("Nobody") in text


# ---- and it works ---------------------------------------------------------------------------------------------------

SKY = {
    "when": {"contains": "Why is the sky blue?"},
    "play": {"say": ["The", " sky", " is", " blue", "."], "usage": {"prompt_tokens": 9, "completion_tokens": 5}},
}
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Servers that a test has started; they end with it."""
    started: list[Host] = []
    yield started
    for host in started:
        host.kill()


def start(hosts: list[Host], folder: Path, name: str, models: list[str], **script: Any) -> str:
    """The address of a new server."""
    host = Host(name, folder / name, models, **script)
    host.start()
    hosts.append(host)
    return host.url


def follow(name: str, folder: Path, port: str, places: dict[str, str], **variables: str) -> int:
    reader = Reader(folder, port, places, variables)
    try:
        return reader.follow(page(name))
    finally:
        reader.close()


@needs_curl
def test_who_comes_from_ollama_proxy(hosts: list[Host], tmp_path: Path) -> None:
    ids = [*MODELS, "openai/gpt-4o-mini"]
    listing = {"data": [entry(id) for id in ids], "links": {"next": None}, "total_count": len(ids)}
    rules = [{"when": {"path": "/v1/models"}, "play": {"body": listing}}, SKY]
    url = start(hosts, tmp_path, "openrouter", ids, speaks=["openai"], key="sk-or-v1-your-key", rules=rules)
    places = {"https://openrouter.ai/api/v1": f"{url}/v1"}
    assert follow(PROXY, tmp_path, "11434", places, OPENROUTER_BASE_URL=f"{url}/v1") >= 10


@needs_curl
def test_who_comes_from_oai2ollama(hosts: list[Host], tmp_path: Path) -> None:
    models = ["qwen3-coder", "deepseek-ai/DeepSeek-V3"]
    url = start(hosts, tmp_path, "vendor", models, speaks=["openai"], key="your-key", rules=[SKY])
    assert follow(OAI, tmp_path, "11434", {"https://api.example.com/v1": f"{url}/v1"}) >= 7


@needs_curl
def test_who_comes_from_olla(hosts: list[Host], tmp_path: Path) -> None:
    one = start(hosts, tmp_path, "one", ["llama3.2:latest", "qwen3:4b"])
    two = start(hosts, tmp_path, "two", ["llama3.2:latest", "gemma3:1b"])
    assert follow(OLLA, tmp_path, "40114", {"http://10.0.0.5:11434": one, "http://10.0.0.6:11434": two}) >= 9


def test_the_check_of_a_container(tmp_path: Path, hosts: list[Host]) -> None:
    (text,) = [block.text for block in blocks(page(PROXY)) if block.language == "yaml"]
    service = yaml.safe_load(text)["services"]["arriero"]
    assert service["command"] == ["arriero", "serve"]
    word, *command = service["healthcheck"]["test"]
    url = start(hosts, tmp_path, "openrouter", list(MODELS), speaks=["openai"])
    reader = Reader(tmp_path, "11434", {}, {"OPENROUTER_BASE_URL": f"{url}/v1", "OPENROUTER_API_KEY": "k"})
    try:
        reader.type("arriero serve")
        known = command[-1].replace("11434", str(reader.port))
        assert (word, command[:-1]) == ("CMD", ["python", "-c"])
        assert subprocess.run([sys.executable, "-c", known], timeout=20, check=False).returncode == 0
        reader.close()
        assert (
            subprocess.run([sys.executable, "-c", known], capture_output=True, timeout=20, check=False).returncode == 1
        )
    finally:
        reader.close()


# ---- the reader -----------------------------------------------------------------------------------------------------


def test_steps_of_a_block() -> None:
    assert list(steps("$ a b\nx\n\ny\n$ c\n")) == [Step("a b", "x\n\ny\n"), Step("c", "")]


@pytest.mark.parametrize(
    ("said", "found", "same"),
    [
        ("a  b", "a b\n", True),
        ("a ... c", "a b c", True),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a ... c", "a b d", False),
        ("a ... c", "a\nc", False),
        ("...\nc", "c", True),
        ("a\n...", "a\nb\nc", True),
        ("a", "ab", False),
        ("", "a", False),
        ("a.c", "abc", False),
    ],
)
def test_what_fits(said: str, found: str, same: bool) -> None:
    assert fits(said, found) is same

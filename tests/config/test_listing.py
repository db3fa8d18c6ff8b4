from pathlib import Path

from arriero.config import Config, Flags, load
from arriero.config.listing import Fact, Row, facts, rows

FILE = """
server: {port: 8080}
backends:
  - name: lab
    kind: openai
    profile: vllm
    url: http://h/v1
    headers: {X-Team: lab}
    models: {capabilities: {"q*": [completion, tools]}}
filters:
  - {models: "q*", defaults: {temperature: 1}}
"""


def test_rows(tmp_path: Path) -> None:
    (tmp_path / "arriero.yaml").write_text(FILE)
    listed = rows(load(Flags(host="::1"), {"NO_PROXY": "a,b"}, tmp_path, tmp_path))
    shown = [row for row in listed if row.origin != "default"]
    assert shown == [
        Row("server.host", "::1", "--host"),
        Row("server.port", "8080", "arriero.yaml:2"),
        Row("backends.lab.name", "lab", "arriero.yaml:4"),
        Row("backends.lab.models.capabilities", "q*: completion, tools", "arriero.yaml:9"),
        Row("backends.lab.headers", "X-Team: set (from arriero.yaml:8)", "arriero.yaml:8"),
        Row("backends.lab.kind", "openai", "arriero.yaml:5"),
        Row("backends.lab.url", "http://h/v1", "arriero.yaml:7"),
        Row("backends.lab.profile", "vllm", "arriero.yaml:6"),
        Row("filters.0.models", "q*", "arriero.yaml:11"),
        Row("filters.0.defaults.temperature", "1", "arriero.yaml:11"),
        Row("proxy.no_proxy", "a, b", "NO_PROXY"),
    ]
    assert Row("timeouts.total", "-", "default") in listed
    assert Row("routing.prefer_loaded", "true", "default") in listed


def test_every_setting_has_a_row(tmp_path: Path) -> None:
    listed = rows(load(Flags(), {}, tmp_path, tmp_path))
    for section in Config.model_fields:
        if section != "backends":
            assert any(row.name == section or row.name.startswith(f"{section}.") for row in listed)
    assert any(row.name == "backends.local.keep_alive" for row in listed)


def test_facts_of_the_providers(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENROUTER_TIMEOUT=60\nOPENAI_ENABLED=false\n")
    env = {
        "OPENROUTER_API_KEY": "s3cret",
        "OPENAI_API_KEY": "s3cret",
        "OLLAMA_BASE_URL": "http://h",
        "GROQ_ENABLED": "no",
    }
    env |= {"OLLAMA_PRIORITY": "1"}
    listed = facts(load(Flags(), env, tmp_path, tmp_path))
    assert listed == [
        Fact("openrouter", "enabled", "yes", "OPENROUTER_API_KEY"),
        Fact("openrouter", "url", "https://openrouter.ai/api/v1", "default"),
        Fact("openrouter", "profile", "openrouter", "default"),
        Fact("openrouter", "api_key", "set", "OPENROUTER_API_KEY"),
        Fact("openrouter", "priority", "99 (rank 1)", "default"),
        Fact("openrouter", "check_interval", "30", "default"),
        Fact("openrouter", "timeout first_byte", "60", ".env: OPENROUTER_TIMEOUT"),
        Fact("openrouter", "timeout idle", "60", ".env: OPENROUTER_TIMEOUT"),
        Fact("openai", "enabled", "no: OPENAI_ENABLED is false", ".env: OPENAI_ENABLED"),
        Fact("ollama", "enabled", "yes", "OLLAMA_BASE_URL"),
        Fact("ollama", "url", "http://h", "OLLAMA_BASE_URL"),
        Fact("ollama", "api_key", "not set", "default"),
        Fact("ollama", "priority", "99 (rank 1)", "OLLAMA_PRIORITY"),
        Fact("ollama", "check_interval", "5", "default"),
        Fact("ollama", "timeout first_byte", "600", "default"),
        Fact("ollama", "timeout idle", "300", "default"),
        Fact("groq", "enabled", "no: GROQ_ENABLED is false", "GROQ_ENABLED"),
        Fact("others", "enabled", "no: nothing is set for anthropic, google, azure, aws_bedrock", "-"),
    ]


def test_a_provider_that_something_is_set_for_has_its_own_line(tmp_path: Path) -> None:
    env = {"GOOGLE_ENABLED": "true", "AZURE_API_KEY": "k", "AWS_BEDROCK_SECRET_KEY": "k", "AZURE_TIMEOUT": "9"}
    assert facts(load(Flags(), env, tmp_path, tmp_path)) == [
        Fact("google", "enabled", "no: GOOGLE_API_KEY is not set", "-"),
        Fact("azure", "enabled", "no: AZURE_BASE_URL is not set", "-"),
        Fact("aws_bedrock", "enabled", "no: AWS_BEARER_TOKEN_BEDROCK is not set", "-"),
        Fact("others", "enabled", "no: nothing is set for openrouter, openai, anthropic, ollama", "-"),
    ]


def test_facts_of_the_files_entries(tmp_path: Path) -> None:
    (tmp_path / "arriero.yaml").write_text(
        "timeouts: {idle: 9}\nbackends:\n  - {name: openai, kind: openai, url: 'http://h/v1', priority: 7}\n"
    )
    listed = facts(load(Flags(), {"OPENAI_TIMEOUT": "5", "GOOGLE_API_KEY": "k"}, tmp_path, tmp_path))
    shown = [fact for fact in listed if fact.provider == "openai"]
    assert shown == [
        Fact("openai", "enabled", "yes", "arriero.yaml:3"),
        Fact("openai", "url", "http://h/v1", "arriero.yaml:3"),
        Fact("openai", "profile", "generic", "default"),
        Fact("openai", "api_key", "not set", "default"),
        Fact("openai", "priority", "7", "arriero.yaml:3"),
        Fact("openai", "check_interval", "30", "default"),
        Fact("openai", "timeout first_byte", "5", "OPENAI_TIMEOUT"),
        Fact("openai", "timeout idle", "5", "OPENAI_TIMEOUT"),
    ]
    named_by_others = Fact("google", "enabled", "no: the file names the backends, and none has this name", "-")
    assert named_by_others in listed
    rest = "no: nothing is set for openrouter, anthropic, azure, aws_bedrock, ollama"
    assert listed[-1] == Fact("others", "enabled", rest, "-")

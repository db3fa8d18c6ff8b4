from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from arriero.config import olla_endpoints, olla_reading
from arriero.config.environment import Variables
from arriero.config.olla_keys import TYPES
from arriero.config.olla_reading import Reading

SECRET = "MARKER5ECRET"
CHECKS = {"check_interval": 5.0, "check_timeout": 2.0, "models_interval": 300.0}


class Endpoints:
    """Reads endpoints that are written as YAML in one line each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, *lines: str, env: Mapping[str, str] | None = None) -> tuple[list[dict[str, Any]], Reading]:
        text = "discovery:\n  static:\n    endpoints:\n" + "".join(f"      - {{{line}}}\n" for line in lines)
        path = self.folder / "config.yaml"
        path.write_text(text)
        reading = olla_reading.read(path, Variables(env or {}))
        found = olla_endpoints.read(reading, self.folder, self.folder / "home")
        return [endpoint.entry for endpoint in found], reading

    def one(self, line: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The only endpoint, without its name and its checks; there is nothing to say of it."""
        entry, warnings = self.warned(line, env)
        assert warnings == []
        return entry

    def warned(self, line: str, env: Mapping[str, str] | None = None) -> tuple[dict[str, Any], list[str]]:
        """The only endpoint, without its name and its checks, and what is said of it."""
        (entry,), reading = self.read(f"name: a, {line}", env=env)
        assert reading.problems == []
        rest = {key: value for key, value in entry.items() if key not in ("name", *CHECKS)}
        return rest, [text.removeprefix("config.yaml:4: discovery.static.endpoints[0]") for text in reading.warnings]

    def problems(self, *lines: str, env: Mapping[str, str] | None = None) -> list[str]:
        _, reading = self.read(*lines, env=env)
        return [problem.replace(f"{self.folder}/", "").replace("discovery.static.", "") for problem in reading.problems]


@pytest.fixture
def endpoints(tmp_path: Path) -> Endpoints:
    return Endpoints(tmp_path)


def test_a_whole_endpoint(endpoints: Endpoints) -> None:
    entries, reading = endpoints.read(
        "url: 'http://h:11434', name: gpu1, type: ollama, priority: 75, health_check_url: /, model_url: /api/tags, "
        "check_interval: 10s, check_timeout: 3s, model_filter: {include: ['llama*'], exclude: ['*embed*']}, "
        "headers: {X-Team: lab, X-Number: 5}"
    )
    assert entries == [
        {
            "name": "gpu1",
            "kind": "ollama",
            "url": "http://h:11434",
            "priority": 75,
            "check_path": "/",
            "check_interval": 10.0,
            "check_timeout": 3.0,
            "models_interval": 300.0,
            "models": {"include": ["llama*"], "exclude": ["*embed*"]},
            "headers": {"X-Team": "lab", "X-Number": "5"},
        }
    ]
    assert (reading.problems, reading.warnings) == ([], [])


def test_origins_and_places(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "discovery:\n  static:\n    endpoints:\n      - name: a\n        url: http://h:1\n        type: ollama\n"
        "        model_filter:\n          include: ['*']\n        auth: {type: bearer, token: x}\n"
    )
    (endpoint,) = olla_endpoints.read(olla_reading.read(path, Variables({})), tmp_path, tmp_path)
    assert {key: str(origin) for key, origin in endpoint.origins.items()} == {
        "name": "config.yaml:4",
        "url": "config.yaml:5",
        "kind": "config.yaml:6",
        "models.include": "config.yaml:8",
        "headers": "config.yaml:9",
        "check_interval": "Olla's default",
        "check_timeout": "Olla's default",
        "models_interval": "Olla's default",
    }
    assert endpoint.places["models.include"] == f"{path}:8: discovery.static.endpoints[0].model_filter.include"


# ---- none, and several ----------------------------------------------------------------------------------------------


def test_a_file_without_endpoints_means_the_local_ollama(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("discovery: {model_discovery: {interval: 1m}}")
    reading = olla_reading.read(path, Variables({}))
    (endpoint,) = olla_endpoints.read(reading, tmp_path, tmp_path)
    assert endpoint.entry == {
        "name": "localhost",
        "kind": "ollama",
        "url": "http://localhost:11434",
        **CHECKS,
        "models_interval": 60.0,
    }
    assert reading.warnings == [
        "config.yaml: discovery.static.endpoints names no endpoint; as in Olla, http://localhost:11434 is the only one"
    ]


def test_an_empty_list_means_none(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("discovery: {static: {endpoints: []}}")
    assert olla_endpoints.read(olla_reading.read(path, Variables({})), tmp_path, tmp_path) == []


def test_names(endpoints: Endpoints) -> None:
    entries, reading = endpoints.read(
        "url: 'http://h:1', type: ollama, name: my-box",
        "url: 'http://h:2', type: ollama, name: 'My Box (GPU #1)'",
        "url: 'http://h:3', type: ollama, name: my box",
        "url: 'http://h:4', type: ollama, name: '日本'",
        "url: 'http://h:5', type: ollama, name: 7",
    )
    assert [entry["name"] for entry in entries] == ["my-box", "My-Box-GPU-1", "my-box-2", "endpoint-4", "7"]
    text = "name holds what a backend's name may not; the backend is called {} in headers, logs and `backend/model`"
    assert reading.warnings == [
        f"config.yaml:{line}: discovery.static.endpoints[{line - 4}].{text.format(name)}"
        for line, name in ((5, "My-Box-GPU-1"), (6, "my-box-2"), (7, "endpoint-4"))
    ]


def test_two_endpoints_of_one_name_or_of_one_url(endpoints: Endpoints) -> None:
    one, two = ("url: 'http://h:1', type: ollama, name: a", "url: 'http://h:2', type: ollama, name: a")
    assert endpoints.problems(one, two) == [
        "config.yaml:5: endpoints[1].name: is given twice, first in line 4; each endpoint needs a name of its own"
    ]
    entries, reading = endpoints.read(one, one.replace("name: a", "name: b"))
    assert [entry["name"] for entry in entries] == ["a", "b"]
    assert reading.warnings == [
        "config.yaml:5: discovery.static.endpoints[1].url is that of a as well; "
        "Olla keeps only the last of such endpoints, arriero keeps all"
    ]


# ---- types and urls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("type: ollama, url: 'http://h:1/'", {"kind": "ollama", "url": "http://h:1"}),
        ("type: vllm, url: 'http://h:8000'", {"kind": "openai", "profile": "vllm", "url": "http://h:8000/v1"}),
        ("type: vllm, url: 'http://h:8000/v1'", {"kind": "openai", "profile": "vllm", "url": "http://h:8000/v1"}),
        ("type: lm_studio, url: 'http://h:1'", {"kind": "openai", "profile": "lmstudio", "url": "http://h:1/v1"}),
        ("type: LlamaCPP, url: 'http://h:1'", {"kind": "openai", "profile": "llama-server", "url": "http://h:1/v1"}),
        ("type: lemonade, url: 'http://h:1'", {"kind": "openai", "profile": "lemonade", "url": "http://h:1/api/v1"}),
        ("type: dmr, url: 'http://h:1'", {"kind": "openai", "profile": "dmr", "url": "http://h:1/engines/v1"}),
        ("type: openai, url: 'http://h:1'", {"kind": "openai", "url": "http://h:1/v1"}),
        ("type: openai, url: 'https://[::1]:9'", {"kind": "openai", "url": "https://[::1]:9/v1"}),
        # With `preserve_path` the path stays, and the API is below it.
        ("type: ollama, url: 'http://h/o', preserve_path: true", {"kind": "ollama", "url": "http://h/o"}),
        ("type: openai, url: 'http://h/m/x', preserve_path: true", {"kind": "openai", "url": "http://h/m/x/v1"}),
        (
            "type: openai-compatible, url: 'https://openrouter.ai/api/v1', preserve_path: true",
            {"kind": "openai", "url": "https://openrouter.ai/api/v1"},
        ),
        (
            "type: openai, url: 'https://generativelanguage.googleapis.com/v1beta/openai', preserve_path: true",
            {"kind": "openai", "url": "https://generativelanguage.googleapis.com/v1beta/openai"},
        ),
    ],
)
def test_where_the_api_is(endpoints: Endpoints, line: str, entry: dict[str, Any]) -> None:
    assert endpoints.one(line) == entry


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_taken(endpoints: Endpoints, name: str) -> None:
    type = TYPES[name]
    profile = {"profile": type.profile} if type.profile else {}
    assert endpoints.one(f"type: {name}, url: 'http://h:1'") == {
        "kind": type.kind,
        "url": f"http://h:1{type.base}",
        **profile,
    }


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("type: ollama, url: 'http://h/o'", {"kind": "ollama", "url": "http://h"}),
        ("type: ollama, url: 'http://h/o', preserve_path: false", {"kind": "ollama", "url": "http://h"}),
        ("type: openai, url: 'http://h/api/v1'", {"kind": "openai", "url": "http://h/v1"}),
    ],
)
def test_a_path_that_olla_drops_is_dropped_and_told(endpoints: Endpoints, line: str, entry: dict[str, Any]) -> None:
    said = ".url has a path that is not used, as in Olla without `preserve_path: true`"
    assert endpoints.warned(line) == (entry, [said])


OLLAMA, OPENAI = "a server of kind ollama, by its port", "a server of the OpenAI API"


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("type: auto, url: 'http://h:11434'", "ollama", ".type is not found out by asking; the endpoint is taken for "),
        ("type: auto, url: 'http://h:8000'", "openai", ".type is not found out by asking; the endpoint is taken for "),
        ("url: 'http://h:11434'", "ollama", " has no type; it is taken for "),
        ("type: tgi, url: 'http://h:8000'", "openai", ".type is not known; the endpoint is taken for "),
    ],
)
def test_a_type_that_says_nothing_is_told_by_the_port(endpoints: Endpoints, line: str, kind: str, said: str) -> None:
    entry, warnings = endpoints.warned(line)
    assert (entry["kind"], warnings) == (kind, [said + (OLLAMA if kind == "ollama" else OPENAI)])


def test_a_mistyped_type_names_the_nearest(endpoints: Endpoints) -> None:
    _, warnings = endpoints.warned("type: olama, url: 'http://h:1'")
    assert warnings == [f".type is not known; the endpoint is taken for {OPENAI}; did you mean ollama?"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("name: a, type: ollama", "config.yaml:4: endpoints[0].url: is missing"),
        ("url: 'http://h:1', type: ollama", "config.yaml:4: endpoints[0].name: is missing"),
        (
            "name: a, type: ollama, url: 'h:1'",
            "config.yaml:4: endpoints[0].url: is not a URL that starts with http:// or https://",
        ),
        ("name: a, type: ollama, url: 'http://h:port'", "config.yaml:4: endpoints[0].url: is not a URL"),
        (
            "name: a, type: ollama, url: 'http://h:1?key=x'",
            "config.yaml:4: endpoints[0].url: must not hold a query or a fragment",
        ),
        (
            f"name: lab box, type: ollama, url: 'https://me:{SECRET}@h:1/o'",
            "config.yaml:4: endpoints[0].url: must not hold a user name or password; write instead "
            '`url: "https://h:1/o"` and '
            '`auth: {type: basic, username: "${LAB_BOX_USERNAME}", password: "${LAB_BOX_PASSWORD}"}`',
        ),
        (
            "name: a, type: ollama, url: 'http://h', check_interval: 500ms, check_timeout: 100ms",
            "config.yaml:4: endpoints[0].check_interval: must be at least 1s",
        ),
        (
            "name: a, type: ollama, url: 'http://h', check_interval: 2s",
            "config.yaml:4: endpoints[0].check_interval: must be longer than check_timeout",
        ),
        (
            "name: a, type: ollama, url: 'http://h', check_timeout: 0s",
            "config.yaml:4: endpoints[0].check_timeout: must be greater than 0",
        ),
        (
            "name: a, type: ollama, url: 'http://h', headers: {'X Y': a}",
            "config.yaml:4: endpoints[0].headers.X Y: is not the name of a header field",
        ),
        (
            "name: a, type: ollama, url: 'http://h', health_check_url: /a b",
            "config.yaml:4: endpoints[0].health_check_url: is not a path or URL",
        ),
    ],
)
def test_an_endpoint_that_cannot_be(endpoints: Endpoints, line: str, problem: str) -> None:
    assert endpoints.problems(line) == [problem]


def test_an_endpoint_with_a_problem_is_left_out_and_the_others_stay(endpoints: Endpoints) -> None:
    entries, reading = endpoints.read("name: a, type: ollama", "name: b, type: ollama, url: 'http://h:2'")
    assert ([entry["name"] for entry in entries], len(reading.problems)) == (["b"], 1)


# ---- health check and model list ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("type: vllm, url: 'http://h:1', health_check_url: /health", "/health"),
        ("type: vllm, url: 'http://h:1', health_check_url: health", "/health"),
        ("type: vllm, url: 'http://h:1/api/', health_check_url: /health, preserve_path: true", "/api/health"),
        ("type: vllm, url: 'http://h', health_check_url: 'http://h:80/up'", "/up"),
        ("type: vllm, url: 'https://h', health_check_url: 'https://h'", "/"),
        ("type: vllm, url: 'http://h'", None),
        ("type: vllm, url: 'http://h', health_check_url: ''", None),
    ],
)
def test_the_health_check(endpoints: Endpoints, line: str, path: str | None) -> None:
    assert endpoints.one(line).get("check_path") == path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "type: ollama, url: 'http://h:1', health_check_url: 'http://other:9090/health'",
            ".health_check_url is ignored: it leads to another server; the backend itself is asked for its models",
        ),
        (
            "type: ollama, url: 'http://h:1', health_check_url: 'http://h:port/'",
            ".health_check_url is ignored: it leads to another server; the backend itself is asked for its models",
        ),
        (
            "type: ollama, url: 'http://h:1', model_url: 'http://registry/models'",
            ".model_url is ignored: such a backend is asked at /api/tags",
        ),
        (
            "type: vllm, url: 'http://h:1', model_url: /models",
            ".model_url is ignored: such a backend is asked at /v1/models",
        ),
    ],
)
def test_addresses_that_are_not_honoured(endpoints: Endpoints, line: str, said: str) -> None:
    entry, warnings = endpoints.warned(line)
    assert ("check_path" in entry, warnings) == (False, [said])


def test_a_query_of_the_health_check_is_left_out_and_told(endpoints: Endpoints) -> None:
    entry, warnings = endpoints.warned("type: ollama, url: 'http://h:1', health_check_url: '/up?deep=1'")
    assert entry["check_path"] == "/up"
    assert warnings == [".health_check_url is asked without what stands behind the ?"]


@pytest.mark.parametrize(
    "line",
    [
        "type: ollama, url: 'http://h:1', model_url: /api/tags",
        "type: ollama, url: 'http://h:1', model_url: 'http://h:1/api/tags'",
        "type: vllm, url: 'http://h:1', model_url: /v1/models",
        "type: lm-studio, url: 'http://h:1', model_url: /api/v0/models",
        "type: lemonade, url: 'http://h:1', model_url: /api/v1/models",
    ],
)
def test_a_model_url_that_says_what_arriero_does(endpoints: Endpoints, line: str) -> None:
    assert endpoints.one(line)["url"].startswith("http://h:1")


# ---- credentials ----------------------------------------------------------------------------------------------------

AT = "type: ollama, url: 'http://h:1'"
BASIC = "Basic " + b64encode(f"me:{SECRET}".encode()).decode()


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        (f"auth: {{type: bearer, token: {SECRET}}}", {"Authorization": f"Bearer {SECRET}"}),
        ("auth: {type: bearer, token: '${KEY}'}", {"Authorization": f"Bearer {SECRET}"}),
        ("auth: {type: bearer, token: '${NO:-none}'}", {"Authorization": "Bearer none"}),
        ("auth: {type: bearer, token: 12345}", {"Authorization": "Bearer 12345"}),
        ("auth: {type: bearer, token_file: secrets/key}", {"Authorization": f"Bearer {SECRET}"}),
        (f"auth: {{type: api_key, key: {SECRET}}}", {"X-Api-Key": SECRET}),
        ("auth: {type: api_key, key_file: secrets/key, header: api-key}", {"api-key": SECRET}),
        (f"auth: {{type: basic, username: me, password: {SECRET}}}", {"Authorization": BASIC}),
        ("auth: {type: basic, username: me, password_file: secrets/key}", {"Authorization": BASIC}),
        (
            f"headers: {{authorization: other, X-A: a}}, auth: {{type: bearer, token: {SECRET}}}",
            {"X-A": "a", "Authorization": f"Bearer {SECRET}"},
        ),
    ],
)
def test_credentials(endpoints: Endpoints, tmp_path: Path, line: str, headers: dict[str, str]) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_text(f" {SECRET}\n")
    assert endpoints.one(f"{AT}, {line}", {"KEY": SECRET})["headers"] == headers


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"auth: {{token: {SECRET}}}", "auth.type: is missing; it is one of bearer, api_key, basic"),
        (f"auth: {{type: token, token: {SECRET}}}", "auth.type: is not one of bearer, api_key, basic"),
        ("auth: {type: bearer}", "auth.token: is missing; give token or token_file"),
        ("auth: {type: bearer, token: ''}", "auth.token: is missing; give token or token_file"),
        ("auth: {type: bearer, token: '${NO}'}", "auth.token: the variable NO is not set"),
        (f"auth: {{type: basic, password: {SECRET}}}", "auth.username: is missing; give username or username_file"),
        (
            f"auth: {{type: bearer, token: {SECRET}, token_file: f}}",
            "auth.token_file: is given beside token; keep one of them",
        ),
        (
            "auth: {type: bearer, token_file: /no/such/file}",
            "auth.token_file: the file /no/such/file cannot be read: No such file or directory",
        ),
        (
            f"auth: {{type: bearer, token_file: {SECRET}}}",
            "auth.token_file: the file cannot be read: No such file or directory",
        ),
        ("auth: {type: api_key, key_file: empty}", "auth.key_file: the file is empty"),
        ("auth: {type: api_key, key_file: latin}", "auth.key_file: the file is not UTF-8 text"),
        (f"auth: {{type: api_key, key: {SECRET}, header: 'a b'}}", "auth.header: is not the name of a header field"),
    ],
)
def test_credentials_that_cannot_be(endpoints: Endpoints, tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"\xe4")
    assert endpoints.problems(f"name: a, {AT}, {line}") == [f"config.yaml:4: endpoints[0].{problem}"]


def test_a_credential_of_another_type_is_told(endpoints: Endpoints) -> None:
    entry, warnings = endpoints.warned(f"{AT}, auth: {{type: bearer, token: x, key: {SECRET}}}")
    assert entry["headers"] == {"Authorization": "Bearer x"}
    assert warnings == [".auth.key is ignored: it does not belong to bearer"]

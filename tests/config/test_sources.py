from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arriero.config import Address, Config, ConfigError, EngineConfig, Flags, Loaded, OllamaConfig, OpenAIConfig, load
from arriero.config.flags import FLAG_SETTINGS


@dataclass(frozen=True)
class Place:
    """A folder to start in and a home, both empty."""

    cwd: Path
    home: Path

    def load(self, flags: Flags | None = None, env: Mapping[str, str] | None = None) -> Loaded:
        return load(flags or Flags(), env or {}, self.cwd, self.home)

    def fails(self, flags: Flags | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(flags, env)
        return [problem.replace(f"{self.cwd}/", "") for problem in caught.value.problems]

    def file(self, text: str) -> "Place":
        (self.cwd / "arriero.yaml").write_text(text)
        return self

    def dotenv(self, text: str) -> "Place":
        (self.cwd / ".env").write_text(text)
        return self


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "home").mkdir()
    return Place(tmp_path / "cwd", tmp_path / "home")


def openai_of(loaded: Loaded) -> OpenAIConfig:
    (found,) = [item for item in loaded.config.backends if isinstance(item, OpenAIConfig) and item.name == "openai"]
    return found


def engine_of(loaded: Loaded) -> EngineConfig:
    (found,) = [item for item in loaded.config.backends if isinstance(item, EngineConfig)]
    return found


def names(loaded: Loaded) -> list[str]:
    return [backend.name for backend in loaded.config.backends]


def key_of(backend: object) -> str | None:
    secret = getattr(backend, "api_key", None)
    return secret.get_secret_value() if secret is not None else None


# ---- nothing said --------------------------------------------------------------------------------------------------


def test_a_bare_machine(place: Place) -> None:
    loaded = place.load()
    engine = EngineConfig(name="local", models_dir=place.home / ".arriero/models")
    assert loaded.config == Config(backends=(engine,))
    assert [server.name for server in loaded.candidates] == ["ollama-11435", "lmstudio", "llama-server", "vllm"]
    assert (loaded.file, loaded.warnings, dict(loaded.origins)) == (None, (), {})


# ---- which source wins ---------------------------------------------------------------------------------------------

PORTS: list[tuple[int | None, dict[str, str], str, str, int, str]] = [
    # flag, environment, .env, file -> port, origin
    (None, {}, "", "", 11434, "default"),
    (None, {}, "", "server: {port: 1}", 1, "arriero.yaml:1"),
    (None, {}, "PORT=2", "server: {port: 1}", 2, ".env: PORT"),
    (None, {"PORT": "3"}, "PORT=2", "server: {port: 1}", 3, "PORT"),
    (4, {"PORT": "3"}, "PORT=2", "server: {port: 1}", 4, "--port"),
    (None, {"port": "3"}, "", "", 3, "port"),
    (None, {"PORT": "3", "OLLAMA_HOST": "h:5"}, "", "", 5, "OLLAMA_HOST"),
    (None, {"PORT": "3", "OLLAMA_HOST": "h:5", "ARRIERO_PORT": "6"}, "", "", 6, "ARRIERO_PORT"),
    (None, {"PORT": "3"}, "ARRIERO_PORT=6", "", 3, "PORT"),
    (None, {"PORT": ""}, "PORT=2", "", 2, ".env: PORT"),
    (None, {"OLLAMA_HOST": "h"}, "", "server: {port: 1}", 1, "arriero.yaml:1"),
    (None, {"OLLAMA_HOST": "http://h"}, "", "", 80, "OLLAMA_HOST"),
]


@pytest.mark.parametrize(("flag", "env", "dotenv", "file", "port", "origin"), PORTS)
def test_precedence(
    place: Place, flag: int | None, env: dict[str, str], dotenv: str, file: str, port: int, origin: str
) -> None:
    if file:
        place.file(file)
    loaded = place.dotenv(dotenv).load(Flags(port=flag), env)
    assert (loaded.config.server.port, str(loaded.origin("server.port"))) == (port, origin)


def test_a_host_beats_the_listen_list_of_the_file(place: Place) -> None:
    place.file('server: {listen: ["127.0.0.1:1", "127.0.0.1:2"]}')
    assert place.load().config.server.addresses == (Address("127.0.0.1", 1), Address("127.0.0.1", 2))
    assert place.load(Flags(port=3)).config.server.addresses == (Address("127.0.0.1", 3),)


def test_which_file(place: Place) -> None:
    user = place.home / ".config/arriero/config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("server: {port: 1}")
    assert (place.load().config.server.port, place.load().file) == (1, user)
    place.file("server: {port: 2}")
    assert place.load().config.server.port == 2
    (place.home / "named.yaml").write_text("server: {port: 3}")
    (place.cwd / "other.yaml").write_text("server: {port: 4}")
    assert place.load(env={"ARRIERO_CONFIG": "~/named.yaml"}).config.server.port == 3
    assert place.load(Flags(config="other.yaml"), {"ARRIERO_CONFIG": "~/named.yaml"}).config.server.port == 4


def test_a_named_file_must_be_there(place: Place) -> None:
    assert place.fails(Flags(config="no.yaml")) == [
        f"--config: there is no file {place.cwd}/no.yaml".replace(f"{place.cwd}/", "")
    ]
    assert place.fails(env={"ARRIERO_CONFIG": "no.yaml"}) == ["ARRIERO_CONFIG: there is no file no.yaml"]


def test_the_dotenv_is_expanded_without_the_process(place: Place) -> None:
    place.dotenv(
        "BASE=\"http://h:1\"\nexport OPENAI_BASE_URL=${BASE}/v1\nOPENAI_API_KEY='$literal' # note\nUNKNOWN=1\n"
    )
    assert openai_of(place.load()).url == "http://h:1/v1"
    assert key_of(openai_of(place.load())) == "$literal"


def test_a_broken_line_of_the_dotenv_is_a_warning(place: Place) -> None:
    loaded = place.dotenv("PORT=1\nfoo bar baz\nHOST=h\n").load()
    assert loaded.warnings == (".env:2: cannot be read and is ignored",)
    assert (loaded.config.server.host, loaded.config.server.port) == ("h", 1)


def test_variables_in_the_file_come_from_the_environment_and_the_dotenv(place: Place) -> None:
    place.dotenv("A=1\nB=2\n").file('server: {host: "${A}", cors_origins: "http://${B}"}')
    loaded = place.load(env={"A": "3"})
    assert (loaded.config.server.host, loaded.config.server.cors_origins) == ("3", ("http://2",))


# ---- every flag, every variable -------------------------------------------------------------------------------------

FLAGS: list[tuple[str, Any, str, object]] = [
    ("host", "0.0.0.0", "server.host", "0.0.0.0"),
    ("port", "8080", "server.port", 8080),
    ("log_level", "DEBUG", "logging.level", "debug"),
    ("models_dir", "/models", "engine.models_dir", Path("/models")),
    ("demo_model", False, "engine.demo_model", False),
]


def setting(loaded: Loaded, name: str) -> object:
    value: Any = engine_of(loaded) if name.startswith("engine.") else loaded.config
    for part in name.removeprefix("engine.").split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(("field", "given", "name", "expected"), FLAGS)
def test_flags(place: Place, field: str, given: Any, name: str, expected: object) -> None:
    loaded = place.load(Flags(**{field: given}))
    assert setting(loaded, name) == expected
    origin = loaded.origin(name.replace("engine.", "backends.local."))
    assert (origin.kind, origin.name) == ("flag", FLAG_SETTINGS[field][0])


def test_the_table_of_flags_is_whole() -> None:
    assert {field for field, *_ in FLAGS} == FLAG_SETTINGS.keys()


def test_an_engine_flag_without_an_engine_is_a_warning(place: Place) -> None:
    loaded = place.file("backends: []").load(Flags(models_dir="/m"))
    assert loaded.warnings == ("--models-dir has no effect: the file names no backend of kind engine",)


def test_engine_variables_set_every_engine(place: Place) -> None:
    place.file("backends: [{name: a, kind: engine}, {name: b, kind: engine, keep_alive: 1}]")
    loaded = place.load(env={"OLLAMA_KEEP_ALIVE": "-1"})
    assert [getattr(item, "keep_alive", None) for item in loaded.config.backends] == [float("inf")] * 2


def test_paths_start_at_the_files_folder_or_the_current_one(place: Place) -> None:
    (place.home / "c.yaml").write_text("backends: [{name: a, kind: engine, models_dir: m}]\nmodels: {filter_file: f}")
    loaded = place.load(Flags(config="~/c.yaml"))
    assert engine_of(loaded).models_dir == place.home / "m"
    assert loaded.config.models.filter_file == place.home / "f"
    assert engine_of(place.load(Flags(config="~/c.yaml", models_dir="m"))).models_dir == place.cwd / "m"
    assert engine_of(place.load(env={"OLLAMA_MODELS": "~/m"})).models_dir == place.home / "m"


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
    assert problem.startswith("--capabilities (backends[0].models.capabilities.*[1]): is not one of completion, tools,")
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


# ---- with a file ----------------------------------------------------------------------------------------------------

FILE = "backends: [{name: a, kind: ollama, url: 'http://h:1'}]"


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        (Flags(), {}, ["a"]),
        (Flags(), {"OPENAI_API_KEY": "k", "GROQ_API_KEY": "g"}, ["a"]),
        (Flags(), {"OPENAI_BASE_URL": URL}, ["a", "openai"]),
        (Flags(base_url=URL), {}, ["a", "openai"]),
        (Flags(api_key="k"), {}, ["a", "openai"]),
    ],
)
def test_a_file_with_backends_decides(place: Place, flags: Flags, env: dict[str, str], expected: list[str]) -> None:
    loaded = place.file(FILE).load(flags, env)
    assert names(loaded) == expected
    assert loaded.candidates == ()


def test_a_file_without_backends_leaves_them_to_the_environment(place: Place) -> None:
    loaded = place.file("server: {port: 1}").load(env={"GROQ_API_KEY": "g"})
    assert names(loaded) == ["groq", "local"]
    assert next(server.name for server in loaded.candidates) == "ollama"


@pytest.mark.parametrize(
    ("file", "found"), [("server: {discover: false}", 0), (FILE + "\nserver: {discover: true}", 4)]
)
def test_discovery_can_be_said(place: Place, file: str, found: int) -> None:
    assert len(place.file(file).load().candidates) == found


def test_flags_change_the_files_openai_and_variables_do_not(place: Place) -> None:
    place.file(f"backends: [{{name: openai, kind: openai, url: '{URL}', api_key: f}}]")
    plain = openai_of(place.load(env={"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k", "MODELS": "m"}))
    assert (plain.url, key_of(plain), plain.extra_models) == (URL, "f", ())
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


# ---- arriero itself ------------------------------------------------------------------------------------------------


def test_a_variable_that_names_arriero_itself_is_left_out(place: Place) -> None:
    loaded = place.load(env={"OPENAI_BASE_URL": "http://localhost:11434/v1"})
    assert names(loaded) == ["local"]
    assert loaded.warnings == (
        "OPENAI_BASE_URL: the backend openai is the address that arriero itself listens on; it is left out",
    )
    assert names(place.load(Flags(port=1), {"OPENAI_BASE_URL": "http://localhost:11434/v1"})) == ["openai", "local"]


def test_a_file_or_a_flag_that_names_arriero_itself_is_an_error(place: Place) -> None:
    text = "the backend openai is the address that arriero itself listens on"
    assert place.fails(Flags(base_url="http://127.0.0.1:11434/v1")) == [f"--base-url: {text}"]
    place.file("backends: [{name: a, kind: ollama, url: 'http://[::1]:11434'}]")
    assert place.fails() == [f"arriero.yaml:1: {text.replace('openai', 'a')}"]


def test_an_ollama_server_already_named_is_no_candidate(place: Place) -> None:
    place.file("backends: [{name: a, kind: ollama, url: 'http://localhost:11434'}]\nserver: {port: 1, discover: true}")
    assert [server.name for server in place.load().candidates if isinstance(server, OllamaConfig)] == ["ollama-11435"]


# ---- problems ------------------------------------------------------------------------------------------------------


def test_every_problem_at_once(place: Place) -> None:
    place.file(
        "servr: {}\nserver:\n  port: high\nbackends:\n  - {name: a, kind: ollama, ulr: x}\n"
        '  - {name: b, kind: engine, threads: "${NO}"}\n'
    )
    assert place.fails(Flags(log_level="loud"), {"OLLAMA_KEEP_ALIVE": "long"}) == [
        "arriero.yaml:6: backends[1].threads: the variable NO is not set",
        "arriero.yaml:3: server.port: is not a whole number",
        "arriero.yaml:5: backends[0].url: is missing",
        "arriero.yaml:5: backends[0].ulr: unknown key; the nearest known one is 'url'",
        "OLLAMA_KEEP_ALIVE (backends[1].keep_alive): is not a number of seconds or a duration such as 5m or 1h30m",
        "--log-level (logging.level): is not one of debug, info, warning, error, critical",
        "arriero.yaml:1: servr: unknown key; the nearest known one is 'server'",
    ]


def test_a_broken_file_and_a_bad_flag_are_told_together(place: Place) -> None:
    assert place.file("a: [").fails(Flags(port="x")) == [
        "arriero.yaml:1:5: is not YAML: expected the node content, but found '<stream end>'",
        "--port (server.port): is not a whole number",
    ]


def test_a_socks_proxy_in_the_environment_is_a_warning(place: Place) -> None:
    loaded = place.load(env={"ALL_PROXY": "socks5://h:1", "HTTPS_PROXY": "http://u:p@h:2"})
    assert loaded.warnings == ("ALL_PROXY: is not an HTTP proxy and is not used",)
    assert loaded.config.proxy.for_url("https://x") == "http://u:p@h:2"
    assert loaded.config.proxy.for_url("http://x") is None

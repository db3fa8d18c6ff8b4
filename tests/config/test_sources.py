import pytest

from arriero.backends.http.proxy import ProxySettings
from arriero.config import Address, Config, EngineConfig, Flags, OllamaConfig
from arriero.config.local import LOCAL_SERVERS
from support.config import Place, engine_of, key_of, names, openai_of

# ---- nothing said --------------------------------------------------------------------------------------------------


def test_a_bare_machine(place: Place) -> None:
    loaded = place.load()
    engine = EngineConfig(name="local", models_dir=place.home / ".arriero/models")
    assert loaded.config == Config(backends=(engine,))
    assert loaded.candidates == LOCAL_SERVERS[1:]
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


def test_the_files_to_watch_are_those_that_may_make_another_configuration(place: Place) -> None:
    here, user, dotenv = place.cwd / "arriero.yaml", place.home / ".config/arriero/config.yaml", place.cwd / ".env"
    rules = place.cwd / "models-filter.txt"
    assert place.load().watched == (here, user, dotenv, rules)
    assert place.file("server: {port: 2}").load().watched == (here, user, dotenv, rules)
    (place.cwd / "other.yaml").write_text("server: {port: 4}")
    assert place.load(Flags(config="other.yaml")).watched == (place.cwd / "other.yaml", dotenv, rules)
    assert place.load(env={"ARRIERO_CONFIG": "other.yaml"}).watched == (place.cwd / "other.yaml", dotenv, rules)


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


# ---- Olla's file ----------------------------------------------------------------------------------------------------


def test_ollas_file_is_read_instead_of_arrieros(place: Place) -> None:
    place.file("server: {port: 1}")
    (place.cwd / "olla.yaml").write_text("server: {port: 2}")
    loaded = place.load(Flags(olla_config="olla.yaml"), {"ARRIERO_CONFIG": "none.yaml"})
    assert (loaded.config.server.port, loaded.file) == (2, place.cwd / "olla.yaml")
    loaded = place.load(Flags(olla_config=""), {"OLLA_CONFIG_FILE": "olla.yaml"})
    assert (loaded.config.server.port, loaded.file) == (2, place.cwd / "olla.yaml")
    assert place.load(env={"OLLA_CONFIG_FILE": "olla.yaml"}).config.server.port == 1


@pytest.mark.parametrize(
    ("flags", "env", "problem"),
    [
        (
            Flags(olla_config="a", config="b"),
            {},
            "--olla-config: cannot go together with --config; give the one whose file shall count",
        ),
        (Flags(olla_config="no.yaml"), {}, "--olla-config: there is no file no.yaml"),
        (Flags(olla_config="folder"), {}, "--olla-config: folder is a folder; name the file in it"),
        (Flags(olla_config=""), {}, "--olla-config: names no file, and OLLA_CONFIG_FILE is not set"),
        (Flags(olla_config=""), {"OLLA_CONFIG_FILE": "no.yaml"}, "OLLA_CONFIG_FILE: there is no file no.yaml"),
    ],
)
def test_a_file_of_olla_that_cannot_be(place: Place, flags: Flags, env: dict[str, str], problem: str) -> None:
    (place.cwd / "folder").mkdir()
    assert place.fails(flags, env) == [problem]


# ---- with a file ----------------------------------------------------------------------------------------------------

URL = "http://h:1/v1"
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
    ("file", "found"), [("server: {discover: false}", 0), (FILE + "\nserver: {discover: true}", len(LOCAL_SERVERS) - 1)]
)
def test_discovery_can_be_said(place: Place, file: str, found: int) -> None:
    assert len(place.file(file).load().candidates) == found


# ---- arriero itself ------------------------------------------------------------------------------------------------


def test_a_variable_that_names_arriero_itself_is_left_out(place: Place) -> None:
    loaded = place.load(env={"OPENAI_BASE_URL": "http://localhost:11434/v1"})
    assert names(loaded) == ["local"]
    assert loaded.warnings == ("OPENAI_BASE_URL leads to arriero itself: the backend openai is left out",)
    assert names(place.load(Flags(port=1), {"OPENAI_BASE_URL": "http://localhost:11434/v1"})) == ["openai", "local"]


def test_a_file_or_a_flag_that_names_arriero_itself_is_an_error(place: Place) -> None:
    text = "the URL of the backend openai leads to arriero itself"
    assert place.fails(Flags(base_url="http://127.0.0.1:11434/v1")) == [f"--base-url: {text}"]
    place.file("backends: [{name: a, kind: ollama, url: 'http://[::1]:11434'}]")
    assert place.fails() == [f"arriero.yaml:1: {text.replace('openai', 'a')}"]


def test_an_ollama_server_already_named_is_no_candidate(place: Place) -> None:
    place.file("backends: [{name: a, kind: ollama, url: 'http://localhost:11434'}]\nserver: {port: 1, discover: true}")
    assert [server.name for server in place.load().candidates if isinstance(server, OllamaConfig)] == []


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
        "OLLAMA_KEEP_ALIVE: is not a number of seconds or a duration such as 5m or 1h30m",
        "--log-level: is not one of debug, info, warning, error, critical",
        "arriero.yaml:1: servr: unknown key; the nearest known one is 'server'",
    ]


def test_a_broken_file_and_a_bad_flag_are_told_together(place: Place) -> None:
    assert place.file("a: [").fails(Flags(port="x")) == [
        "arriero.yaml:1:5: is not YAML: expected the node content, but found '<stream end>'",
        "--port: is not a whole number",
    ]


def test_a_port_that_cannot_be_in_ollama_host_is_a_warning(place: Place) -> None:
    loaded = place.load(env={"OLLAMA_HOST": "h:99999"})
    assert loaded.warnings == ("OLLAMA_HOST has a port that is not a number from 0 to 65535: not used",)
    assert loaded.config.server.addresses == (Address("h", 11434),)


def test_a_socks_proxy_in_the_environment_is_a_warning(place: Place) -> None:
    loaded = place.load(env={"ALL_PROXY": "socks5://h:1", "HTTPS_PROXY": "http://u:p@h:2"})
    assert loaded.warnings == ("ALL_PROXY is not an HTTP proxy: not used",)
    assert loaded.config.proxy.settings == ProxySettings(https="http://u:p@h:2")

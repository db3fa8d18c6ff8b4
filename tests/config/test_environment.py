from collections.abc import Callable
from pathlib import Path

import pytest

from arriero.config import Config, EngineConfig, Flags, load
from arriero.config.environment import (
    ENVIRONMENT,
    FORMATS,
    PLACES,
    SETTINGS,
    Origin,
    Variable,
    Variables,
    every_name,
    read_environment,
)

VALUES: dict[str, tuple[str, str]] = {
    # variable: value given, value of its (first) setting as text
    "HOST": ("h", "h"),
    "PORT": ("1", "1"),
    "OLLAMA_HOST": ("[::1]:5", "::1"),
    "OLLAMA_ORIGINS": ("http://a,b://*", "('http://a', 'b://*')"),
    "OLLAMA_MODELS": ("/m", "/m"),
    "OLLAMA_KEEP_ALIVE": ("10m", "600.0"),
    "OLLAMA_NUM_PARALLEL": ("3", "3"),
    "OLLAMA_MAX_LOADED_MODELS": ("0", "None"),
    "OLLAMA_CONTEXT_LENGTH": ("8192", "8192"),
    "OLLAMA_MAX_QUEUE": ("9", "9"),
    "OLLAMA_LOAD_TIMEOUT": ("90s", "90.0"),
    "OLLAMA_NOPRUNE": ("1", "False"),
    "HTTP_PROXY": ("http://p:1", "**********"),
    "HTTPS_PROXY": ("p:1", "**********"),
    "ALL_PROXY": ("http://p:1", "**********"),
    "NO_PROXY": ("a, .b", "('a', '.b')"),
    "LOG_LEVEL": ("WARN", "warning"),
    "DEBUG": ("true", "debug"),
    "LOG_FORMAT": ("Console", "text"),
    "ENVIRONMENT": ("PROD", "production"),
    "RELOAD": ("true", "True"),
    "MODELS_FILTER_PATH": ("/f", "/f"),
    "MAX_QUEUE_SIZE": ("7", "7"),
    "FALLBACK_STRATEGY": ("none", "1"),
    "ARRIERO_HOST": ("h", "h"),
    "ARRIERO_PORT": ("1", "1"),
    "ARRIERO_MODELS_DIR": ("/m", "/m"),
    "ARRIERO_READ_ONLY": ("yes", "True"),
    "ARRIERO_DISCOVER": ("no", "False"),
    "ARRIERO_DEMO_MODEL": ("0", "False"),
    "ARRIERO_LOG_LEVEL": ("d", "debug"),
    "ARRIERO_LOG_FORMAT": ("json", "json"),
}


def value_of(config: Config, setting: str) -> str:
    engine = next(item for item in config.backends if isinstance(item, EngineConfig))
    value: object = engine if setting.startswith("engine.") else config
    for part in setting.removeprefix("engine.").split("."):
        value = getattr(value, part)
    return str(value)


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.names[0])
@pytest.mark.parametrize("spell", [str.upper, str.lower, str.title])
def test_each_variable_sets_its_setting(row: Variable, spell: Callable[[str], str], tmp_path: Path) -> None:
    given, expected = VALUES[row.names[0]]
    name = spell(row.names[0])
    loaded = load(Flags(), {name: given}, tmp_path, tmp_path)
    assert value_of(loaded.config, row.sets[0]) == expected
    setting = row.sets[0].replace("engine.", "backends.local.")
    assert loaded.origin(setting) == Origin(ENVIRONMENT, name)


def test_max_queue_bounds_both_queues(tmp_path: Path) -> None:
    config = load(Flags(), {"OLLAMA_MAX_QUEUE": "9"}, tmp_path, tmp_path).config
    assert (value_of(config, "engine.max_queue"), config.routing.queue.max_waiting) == ("9", 9)


def test_num_parallel_0_is_the_default(tmp_path: Path) -> None:
    config = load(Flags(), {"OLLAMA_NUM_PARALLEL": "0"}, tmp_path, tmp_path).config
    assert value_of(config, "engine.num_parallel") == "1"


@pytest.mark.parametrize(("place", "spelling"), [(place, word) for place, words in PLACES.items() for word in words])
def test_environments(place: str, spelling: str) -> None:
    assert (read_environment(spelling), read_environment(f" {spelling.upper()} ")) == (place, place)


def test_any_other_environment_is_development() -> None:
    assert read_environment("qa") == "development"


@pytest.mark.parametrize(("spelling", "form"), FORMATS.items())
def test_log_formats(spelling: str, form: str, tmp_path: Path) -> None:
    assert load(Flags(), {"LOG_FORMAT": spelling.upper()}, tmp_path, tmp_path).config.logging.format == form


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("DEBUG", "express:*", "DEBUG is neither true nor false: not used"),
        ("RELOAD", "sometimes", "RELOAD is neither true nor false: not used"),
        (
            "LOG_FORMAT",
            "%(message)s",
            "LOG_FORMAT is not one of auto, console, text, plain, pretty, json: not used",
        ),
    ],
)
def test_a_name_that_is_anybodys_stops_nothing(name: str, value: str, warning: str, tmp_path: Path) -> None:
    loaded = load(Flags(), {name: value}, tmp_path, tmp_path)
    assert loaded.warnings == (warning,)
    assert loaded.config.logging == Config().logging
    assert loaded.config.server == Config().server


def test_the_exact_name_counts_before_other_cases() -> None:
    assert Variables({"port": "1", "PORT": "2"}).find("PORT") == ("PORT", "2", Origin(ENVIRONMENT, "PORT"))
    assert Variables({"PORT": "2", "port": "1"}).find("PORT") == ("PORT", "2", Origin(ENVIRONMENT, "PORT"))


def test_a_name_counts_in_the_order_asked_for() -> None:
    variables = Variables({"B": "2", "A": "1"})
    assert variables.find("B", "A") == ("B", "2", Origin(ENVIRONMENT, "B"))
    assert variables.find("C") is None


def test_no_variable_is_in_the_tables_twice() -> None:
    names = every_name()
    assert len(names) == len(set(names))

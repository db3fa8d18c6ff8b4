from functools import partial
from pathlib import Path

import pytest

from arriero.config import ConfigError
from arriero.config.draft import Draft, expanded
from arriero.config.environment import Found, Origin
from arriero.config.values import parse_whole_within

FLAG = Origin("flag", "--x")
HERE, HOME = Path("/here"), Path("/home/me")


@pytest.mark.parametrize(
    ("text", "path"),
    [("a", "/here/a"), ("/a", "/a"), ("~", "/home/me"), ("~/a", "/home/me/a"), ("~other/a", "/here/~other/a")],
)
def test_expanded(text: str, path: str) -> None:
    assert expanded(text, HERE, HOME) == Path(path)


def test_the_last_setting_wins_and_names_its_origin() -> None:
    draft = Draft(HERE, HOME)
    draft.set("routing.queue.max_waiting", "1", Origin("environment", "A"))
    draft.set("routing.queue.max_waiting", "2", FLAG)
    config, origins = draft.finish()
    assert (config.routing.queue.max_waiting, dict(origins)) == (2, {"routing.queue.max_waiting": FLAG})


def test_a_setting_of_engines_goes_to_every_engine() -> None:
    draft = Draft(HERE, HOME)
    assert draft.set("engine.threads", "2", FLAG) is False
    draft.add({"name": "a", "kind": "engine"}, {})
    draft.add({"name": "b", "kind": "scripted"}, {"name": FLAG})
    assert draft.set("engine.threads", "2", FLAG) is True
    config, origins = draft.finish()
    assert [getattr(backend, "threads", None) for backend in config.backends] == [2, None]
    assert dict(origins) == {"backends.b.name": FLAG, "backends.a.threads": FLAG}


def test_a_problem_names_the_place_that_was_given_with_the_value() -> None:
    draft = Draft(HERE, HOME)
    draft.set("limits.burst", 0, FLAG, "other.yaml:3: burst_size")
    draft.set("server.port", "x", FLAG, "other.yaml:1: port")
    draft.set("server.port", "y", FLAG)
    draft.add({"name": "a", "kind": "ollama", "url": "h"}, {"url": FLAG}, {"url": "other.yaml:5: endpoint"})
    draft.add(
        {"name": "b", "kind": "ollama", "url": "http://h", "models": {"include": 5}},
        {"models.include": FLAG},
        {"models.include": "other.yaml:6: filter"},
    )
    with pytest.raises(ConfigError) as caught:
        draft.finish()
    assert caught.value.problems == (
        "--x: is not a whole number",
        "other.yaml:3: burst_size: must be at least 1",
        "other.yaml:5: endpoint: is not a URL that starts with http:// or https://",
        "other.yaml:6: filter: is not a list",
    )


def test_a_variable_that_cannot_be_read_is_a_problem_that_names_it() -> None:
    draft = Draft(Path("/"), Path("/"))
    found = Found("PORT", "high", Origin("environment", "PORT"))
    assert (draft.read(found._replace(value="7"), int), draft.problems) == (7, [])
    assert draft.read(found, partial(parse_whole_within, least=1)) is None
    assert draft.problems == ["PORT: is not a whole number of at least 1"]


def test_problems_gathered_before_stop_a_configuration_that_is_valid() -> None:
    draft = Draft(HERE, HOME)
    draft.problems.append("something")
    with pytest.raises(ConfigError, match="something"):
        draft.finish()


def test_shapes_that_the_model_refuses_do_not_stop_the_sources() -> None:
    draft = Draft(HERE, HOME)
    draft.data = {"backends": 1, "server": "x"}
    draft.set("server.port", 1, FLAG)
    draft.set("engine.threads", 1, FLAG)
    with pytest.raises(ConfigError) as caught:
        draft.finish()
    assert caught.value.problems == ("server: is not a mapping of keys to values", "backends: is not a list")

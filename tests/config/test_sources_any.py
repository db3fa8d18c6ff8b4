"""Whatever a file, a `.env` or a variable holds: a configuration, or problems in sentences. Never anything else."""

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.config import Config, ConfigError, Flags, load
from arriero.config.environment import every_name

EXAMPLE = (Path(__file__).parents[2] / "arriero.example.yaml").read_text()
RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(["${A}", "${A:-b}", "ollama", "engine", "openai", "http://h", "5m", "*", "~", "/", "openrouter"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "kind", "url", "models", "x"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=8,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document but the top."""
    items = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    below = [place for key, value in items for place in places(value, (*path, key))]
    return ([path] if path else []) + below


PLACES = places(yaml.safe_load(EXAMPLE))


def tried(folder: Path, text: str, env: dict[str, str], flags: Flags | None = None) -> None:
    (folder / "arriero.yaml").write_text(text, encoding="utf-8")
    try:
        loaded = load(flags or Flags(), env, folder, folder)
    except ConfigError as error:
        assert error.problems
        assert all(problem and "pydantic" not in problem for problem in error.problems)
    else:
        assert isinstance(loaded.config, Config)


@RELAXED
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_in_any_place(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    document = yaml.safe_load(EXAMPLE)
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    flags = Flags(base_url="http://h/v1", capabilities=["tools"], models=["a"], port=1)
    tried(tmp_path, yaml.safe_dump(document, allow_unicode=True), {"OLLAMA_KEEP_ALIVE": "1", "PORT": "2"})
    tried(tmp_path, yaml.safe_dump(document, allow_unicode=True), {}, flags)


@RELAXED
@given(document=VALUES)
def test_any_document(document: Any, tmp_path: Path) -> None:
    tried(tmp_path, yaml.safe_dump(document, allow_unicode=True), {"OPENROUTER_API_KEY": "k", "OLLAMA_HOST": "h"})


@RELAXED
@given(text=st.text(st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t$\\0~<"), max_size=20))
def test_any_text(text: str, tmp_path: Path) -> None:
    tried(tmp_path, text, {})


@RELAXED
@given(
    name=st.sampled_from(sorted({*every_name()} - {"ARRIERO_CONFIG"})),
    value=st.text(st.characters(exclude_characters="\0"), max_size=12),
)
def test_any_variable(name: str, value: str, tmp_path: Path) -> None:
    tried(tmp_path, "{}", {name: value, "OPENAI_BASE_URL": "http://h"} if "OPENAI" not in name else {name: value})


@RELAXED
@given(text=st.text(st.sampled_from("AB=\n'\"\\#${}: export"), max_size=30))
def test_any_dotenv(text: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(text)
    tried(tmp_path, "{}", {})

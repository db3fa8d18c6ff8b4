"""No text that arriero prints about a configuration holds a secret, whatever is wrong with it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.config import ConfigError, Flags, Loaded, load
from arriero.config.environment import SETTINGS, every_name
from arriero.config.listing import facts, rows

MARKER = "MARKER5ECRET"


def printed(loaded: Loaded) -> str:
    parts: list[object] = [
        loaded,
        repr(loaded),
        loaded.config.model_dump(),
        rows(loaded),
        facts(loaded),
        loaded.warnings,
        loaded.candidates,
    ]
    return "\n".join(str(part) for part in parts)


def said(flags: Flags, env: dict[str, str], folder: Path) -> str:
    """Everything that can be printed of one start."""
    try:
        return printed(load(flags, env, folder, folder)) + repr(flags)
    except ConfigError as error:
        return "\n".join((str(error), repr(error), str(error.__cause__), *error.problems))


GOOD = """
backends:
  - name: a
    kind: openai
    url: http://h/v1
    api_key: MARKER5ECRET
    headers: {X-Key: MARKER5ECRET}
    proxy: http://u:MARKER5ECRET@proxy:1
proxy: {all: "http://u:MARKER5ECRET@proxy:1"}
"""


def test_secrets_in_their_places(tmp_path: Path) -> None:
    (tmp_path / "arriero.yaml").write_text(GOOD)
    text = said(
        Flags(api_key=MARKER), {"HTTPS_PROXY": f"http://u:{MARKER}@p", "OPENAI_BASE_URL": "http://h2/v1"}, tmp_path
    )
    assert MARKER not in text
    assert "set (from --api-key)" in text
    assert "set (from arriero.yaml:6)" in text


VALUES = [MARKER, f"http://u:{MARKER}@h", f"*{MARKER}", f"!{MARKER}", f"[{MARKER}", f"@{MARKER}", f"socks5://{MARKER}"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "name", sorted({*every_name(), "UNKNOWN"} - {"HOST", "OLLAMA_HOST", "ARRIERO_HOST", "ARRIERO_CONFIG"})
)
def test_a_secret_in_any_variable(name: str, value: str, tmp_path: Path) -> None:
    # The settings that are no secrets where they are right are printed; here they are wrong, or are secrets.
    visible = {
        "OLLAMA_MODELS",
        "ARRIERO_MODELS_DIR",
        "OLLAMA_ORIGINS",
        "NO_PROXY",
        "MODELS",
        "MODELS_FILTER",
        "MODELS_FILTER_PATH",
    }
    if name in visible:
        return
    assert MARKER not in said(Flags(), {"OPENAI_BASE_URL": "http://h2/v1", name: value}, tmp_path)
    (tmp_path / ".env").write_text(f"{name}='{value}'\n{value}\n")
    assert MARKER not in said(Flags(), {}, tmp_path)


def _scalars(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return (
        [path]
        if not isinstance(node, dict | list)
        else [leaf for key, item in items for leaf in _scalars(item, (*path, key))]
    )


EXAMPLE = (Path(__file__).parents[2] / "arriero.example.yaml").read_text()
LEAVES = _scalars(yaml.safe_load(EXAMPLE))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(leaf=st.sampled_from(LEAVES), value=st.sampled_from(VALUES), quoted=st.booleans())
def test_a_secret_in_any_place_of_a_file_that_is_refused(
    leaf: tuple[Any, ...], value: str, quoted: bool, tmp_path: Path
) -> None:
    data = yaml.safe_load(EXAMPLE)
    holder = data
    for part in leaf[:-1]:
        holder = holder[part]
    holder[leaf[-1]] = "PLACE"
    text = yaml.safe_dump(data).replace("PLACE", "${SECRET}" if quoted else value)
    (tmp_path / "arriero.yaml").write_text(text)
    try:
        load(Flags(), {"SECRET": value}, tmp_path, tmp_path)
    except ConfigError as error:
        assert MARKER not in f"{error} {error!r} {error.__cause__}"


def test_every_setting_variable_is_tried() -> None:
    assert {name for row in SETTINGS for name in row.names} <= set(every_name())

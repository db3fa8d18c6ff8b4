import json
import shutil
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import typer
import yaml

from arriero import cli
from arriero.config import Config, Flags, OpenAIConfig, describe, load
from arriero.config.environment import every_name

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/configuration.md"
EXAMPLE = ROOT / "arriero.example.yaml"


def test_the_schema_is_current() -> None:
    assert describe.SCHEMA_PATH.read_text() == describe.schema_text(), "python -m arriero.config.describe schema"


def test_the_tables_of_the_page_are_current() -> None:
    page = PAGE.read_text()
    assert describe.renewed(page) == page, "python -m arriero.config.describe docs docs/configuration.md"


def test_the_page_has_every_table() -> None:
    page = PAGE.read_text()
    assert [name for name in describe.tables() if f"<!-- table: {name} -->" not in page] == []


def test_every_setting_has_a_row() -> None:
    page = PAGE.read_text()
    for section, info in Config.model_fields.items():
        if section not in ("backends", "filters"):
            model = info.annotation
            assert isinstance(model, type)
            for row in describe.settings(model, f"{section}."):
                assert f"| `{row.name}` |" in page
    for kind in describe.KINDS:
        for row in describe.settings(kind):
            assert f"| `{row.name}` |" in page


def test_every_variable_and_every_flag_is_on_the_page() -> None:
    page = PAGE.read_text()
    assert [name for name in every_name() if f"`{name}`" not in page] == []
    command = typer.main.get_command(cli.app)
    serve = command.commands["serve"]  # type: ignore[attr-defined]
    flags = [flag for option in serve.params for flag in (*option.opts, *option.secondary_opts)]
    assert [flag for flag in flags if f"`{flag}" not in page and flag not in ("--help", "-h")] == []


def test_the_example_is_accepted(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(describe.json_schema())
    jsonschema.validate(yaml.safe_load(EXAMPLE.read_text()), describe.json_schema())
    shutil.copy(EXAMPLE, tmp_path / "arriero.yaml")
    loaded = load(Flags(), {"OPENROUTER_API_KEY": "k"}, tmp_path, tmp_path)
    backends = {backend.name: backend for backend in loaded.config.backends}
    assert list(backends) == ["gpu1", "gpu2", "pool", "lab", "router", "azure", "local"]
    router, azure = backends["router"], backends["azure"]
    assert isinstance(router, OpenAIConfig) and isinstance(azure, OpenAIConfig)
    assert (azure.extra_models, azure.query) == (("chat-eu",), {"api-version": "2024-10-21"})
    assert (router.url, router.api_key and router.api_key.get_secret_value()) == ("https://openrouter.ai/api/v1", "k")
    assert load(Flags(), {}, tmp_path, tmp_path).warnings == ()


@pytest.mark.parametrize(
    ("document", "accepted"),
    [
        ({}, True),
        ({"server": {"port": 1}}, True),
        ({"server": {"port": "${PORT}"}}, True),
        ({"server": {"port": "${PORT:-1}"}}, True),
        ({"server": {"port": "high"}}, False),
        ({"server": {"prot": 1}}, False),
        ({"timeouts": {"connect": "5m", "idle": None}}, True),
        ({"timeouts": {"connect": "soon"}}, False),
        ({"routing": {"policy": "fast"}}, False),
        ({"routing": {"aliases": {"a": "b", "c": ["d"]}}}, True),
        ({"backends": [{"kind": "engine", "name": "a", "keep_alive": "-1", "max_loaded": 0}]}, True),
        ({"backends": [{"kind": "engine"}]}, False),
        ({"backends": [{"name": "a"}]}, False),
        ({"backends": [{"kind": "openai", "name": "a", "profile": "openrouter"}]}, True),
        ({"backends": [{"kind": "openai", "name": "a", "profile": "none"}]}, False),
        ({"filters": [{"models": "a", "think_tags": True, "clamps": {"seed": {"max": 1}}}]}, True),
        ({"filters": [{"clamps": {"stop": {"max": 1}}}]}, False),
    ],
)
def test_what_the_schema_accepts(document: object, accepted: bool) -> None:
    assert jsonschema.Draft202012Validator(describe.json_schema()).is_valid(document) is accepted


def test_every_property_is_described() -> None:
    definitions = describe.json_schema()["$defs"]
    bare = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, value in definition.get("properties", {}).items()
        if "description" not in value
    ]
    assert bare == []


def test_the_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: logging -->\nold\n<!-- end -->\nafter\n")
    assert describe.main(["docs", str(page)]) == 0
    assert page.read_text().startswith("before\n<!-- table: logging -->\n\n| setting |")
    assert page.read_text().endswith("<!-- end -->\nafter\n")
    assert describe.main([]) == 2
    assert json.loads(describe.schema_text()) == describe.json_schema()

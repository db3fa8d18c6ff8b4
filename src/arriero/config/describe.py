"""The configuration described from its own models: the JSON Schema of the file, and the tables of the documentation.

python -m arriero.config.describe schema                       writes src/arriero/arriero.schema.json
python -m arriero.config.describe docs docs/configuration.md   renews the tables between the markers of that page
python -m arriero.config.describe docs docs/errors.md          the same
"""

import ast
import inspect
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from arriero.config import backends, environment, providers, schema, strategies, vendors
from arriero.config.error_tables import error_tables

SCHEMA_PATH = Path(__file__).parent.parent / "arriero.schema.json"
REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"
"""`${NAME}` and `${NAME:-default}` may stand wherever a plain value does."""

KINDS: tuple[type[BaseModel], ...] = (
    backends.OllamaConfig,
    backends.OpenAIConfig,
    backends.EngineConfig,
    backends.ScriptedConfig,
)


class Setting(NamedTuple):
    """One row of the documentation."""

    name: str
    type: str
    default: str
    meaning: str


# ---- what stands below each field ----------------------------------------------------------------------------------


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field to the text below it in the source, parents' fields included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith("arriero."):
            (tree,) = ast.parse(inspect.getsource(base)).body
            found.update(_texts(tree))
    return found


def _texts(tree: ast.stmt) -> Iterator[tuple[str, str]]:
    body = getattr(tree, "body", [])
    for statement, follower in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(follower, ast.Expr)
            and isinstance(follower.value, ast.Constant)
        ):
            yield statement.target.id, inspect.cleandoc(str(follower.value.value))


# ---- JSON Schema ---------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file."""
    document = schema.Config.model_json_schema()
    definitions = document["$defs"]
    for model in _models():
        target = document if model is schema.Config else definitions.get(model.__name__)
        if target is None:
            continue
        for name, text in meanings(model).items():
            if name in target["properties"]:
                target["properties"][name]["description"] = text
        if model in KINDS:
            target["required"] = sorted({*target.get("required", []), "kind", "name"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_with_references(document)}


def _models() -> Iterator[type[BaseModel]]:
    for module in (schema, backends):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__:
                yield value


def _with_references(node: Any) -> Any:
    """The same schema where a number, a truth value or a choice may be written as `${NAME}` too; defaults untouched."""
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    walked = {
        key: value if key in ("default", "enum", "const") else _with_references(value) for key, value in node.items()
    }
    if walked.get("type") in ("integer", "number", "boolean") or (
        "enum" in walked and walked.get("type") == "string" and "description" in walked
    ):
        outer = {key: walked.pop(key) for key in ("default", "title", "description") if key in walked}
        return {**outer, "anyOf": [walked, {"type": "string", "pattern": REFERENCE}]}
    return walked


# ---- tables --------------------------------------------------------------------------------------------------------


def settings(model: type[BaseModel], prefix: str = "") -> list[Setting]:
    """The settings of a section and of the sections within it."""
    texts = meanings(model)
    listed: list[Setting] = []
    for name, info in model.model_fields.items():
        inner = _bare(info.annotation)
        full = f"{prefix}{name}"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            listed += settings(inner, f"{full}.")
        else:
            default = "the profile's" if model is backends.OpenAIConfig and name == "url" else _default(name, info)
            listed.append(Setting(full, _type(info), default, texts[name]))
    return listed


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _type(info: FieldInfo) -> str:
    return _type_of(info.annotation, repr(info.metadata))


def _type_of(annotation: Any, metadata: str = "") -> str:
    if get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        return _type_of(inner, metadata + repr(rest))
    if "parse_seconds" in metadata or "parse_keep_alive" in metadata:
        return "seconds"
    arguments = [item for item in get_args(annotation) if item is not type(None)]
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in arguments)
    if origin is tuple:
        return f"list of {_type_of(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type_of(arguments[1])}"
    if len(arguments) < len(get_args(annotation)):
        return f"{_type_of(arguments[0], metadata)} or `null`"
    words: dict[Any, str] = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true`, `false`",
        Path: "path",
        SecretStr: "secret text",
    }
    return words.get(annotation, getattr(annotation, "__name__", "text").removesuffix("Config").lower())


def _default(name: str, info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    match value:
        case None:
            return "`null`"
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
        case tuple():
            return f"`[{', '.join(str(item) for item in value)}]`"
        case dict():
            return "`{}`"
        case "":
            return '`""`'
        case _:
            return "guessed" if name == "profile" else f"`{value}`"


def tables() -> dict[str, str]:
    """Marker to the table between the markers, as Markdown."""
    found = {
        name: _settings_table(settings(_bare(info.annotation), f"{name}."))
        for name, info in schema.Config.model_fields.items()
        if name not in ("backends", "filters")
    }
    common = [name for name in KINDS[0].model_fields if all(name in kind.model_fields for kind in KINDS)]
    for kind in KINDS:
        own = [row for row in settings(kind) if row.name.partition(".")[0] not in common or row.name == "kind"]
        found[f"backends {kind.model_fields['kind'].default}"] = _settings_table(own)
    shared = [row for row in settings(KINDS[0]) if row.name.partition(".")[0] in common and row.name != "kind"]
    found["backends"] = _settings_table(shared)
    filters = [row for row in settings(schema.FilterConfig) if "." not in row.name]
    texts = meanings(schema.FilterConfig)
    filters += [Setting(name, "mapping of knobs", "`{}`", texts[name]) for name in ("defaults", "set")]
    found["filters"] = _settings_table(filters)
    found["knobs"] = _table(
        ("knob", "type", "meaning"), [(row.name, row.type, row.meaning) for row in settings(schema.Knobs)]
    )
    found["variables"] = _table(
        ("variable", "sets", "meaning"),
        [
            (", ".join(f"`{name}`" for name in row.names), ", ".join(f"`{name}`" for name in row.sets), row.meaning)
            for row in environment.SETTINGS
        ],
    )
    return found | _provider_tables()


def _provider_tables() -> dict[str, str]:
    return {
        "providers": _table(
            ("backend", "key", "URL", "default URL", "rank"),
            [
                (f"`{row.name}`", _code(row.keys), _code(row.urls), _own_url(row), str(row.rank or providers.UNRANKED))
                for row in providers.PROVIDERS
            ],
        ),
        "provider": _table(
            ("variable", "sets in the backend", "meaning"),
            [(f"`P_{name}`", *row) for name, row in providers.SETTINGS.items()],
        ),
        "provider names": _table(
            ("backend", *(f"`P_{name}`" for name in providers.SETTINGS if name != "BASE_URL"), "its models"),
            [
                (
                    f"`{row.name}`",
                    *(_code(row.names(name)) for name in providers.SETTINGS if name != "BASE_URL"),
                    _code(row.models) or "-",
                )
                for row in providers.PROVIDERS
            ],
        ),
        "provider rules": _table(
            ("variable", "sets", "meaning"), [(_code(row.names), row.sets, row.meaning) for row in providers.RULES]
        ),
        "strategies": _table(
            (f"`{strategies.STRATEGY_VARIABLE}`", "`routing.policy`", "ranks count", "who gets a request"),
            [
                (f"`{row.word}`", f"`{row.policy}`", "no" if row.spreads else "yes", row.meaning)
                for row in strategies.STRATEGIES
            ],
        ),
        "fallbacks": _table(
            ("`FALLBACK_STRATEGY`", "sets", "what follows a failure"),
            [
                (f"`{row.word}`", _code(f"{name}: {value}" for name, value in row.settings.items()), row.meaning)
                for row in strategies.FALLBACKS
            ],
        ),
    }


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _own_url(row: providers.Provider) -> str:
    if row.kind == "ollama":
        return providers.OLLAMA_URL
    return vendors.base_url(row.profile or row.name) or "-"


def _settings_table(listed: list[Setting]) -> str:
    return _table(("setting", "type", "default", "meaning"), [(f"`{row.name}`", *row[1:]) for row in listed])


def _table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def renewed(page: str) -> str:
    """A page with what stands between `<!-- table: name -->` and `<!-- end -->` made anew. Raises `KeyError`."""
    known = tables() | {name: _table(*rows) for name, rows in error_tables().items()}
    return re.sub(
        r"<!-- table: ([\w -]+?) -->\n.*?<!-- end -->",
        lambda match: f"<!-- table: {match[1]} -->\n\n{known[match[1]]}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def schema_text() -> str:
    """The text of `arriero.schema.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """The command of the module docstring."""
    match arguments:
        case ["schema"]:
            SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
        case ["docs", page]:
            Path(page).write_text(renewed(Path(page).read_text(encoding="utf-8")), encoding="utf-8")
        case _:
            sys.stderr.write("usage: python -m arriero.config.describe schema | docs PAGE\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

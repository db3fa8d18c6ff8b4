"""The tables of the documentation about Olla's configuration, made from the tables in `olla_keys`.

python -m arriero.config.olla_describe docs/olla.md   renews the tables between the markers of that page
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arriero.config.olla_keys import FILE_VARIABLE, KEYS, OTHER_VARIABLES, TYPES, VARIABLES, Key


def keys_table() -> str:
    """The table of the documentation: each key, its default there, and what arriero does, as Markdown."""
    return _table(("Olla's key", "what arriero does"), [(f"`{key.name}`", _does(key)) for key in KEYS])


def variables_table() -> str:
    """Each variable of Olla's and the key that it overrides, as Markdown."""
    rows = [(f"`{row.name}`", f"`{row.key}`") for row in VARIABLES]
    rows.append((f"`{FILE_VARIABLE}`", 'the file of `--olla-config ""`'))
    return _table(
        ("variable", "overrides"), [*rows, *((f"`{name}`", f"ignored: {why}") for name, why in OTHER_VARIABLES.items())]
    )


def types_table() -> str:
    """Each type of an endpoint with its kind, profile and path here, as Markdown."""
    rows = [
        (
            f"`{name}`",
            f"`{type.kind}`",
            "-" if type.kind == "ollama" else type.profile or "by the address",
            type.base or "-",
        )
        for name, type in TYPES.items()
    ]
    return _table(("type", "kind", "profile", "path of the API"), rows)


def _does(key: Key) -> str:
    if key.ignored:
        return f"ignored: {key.does}" + (f"; nothing is said of `{_shown(key.agrees[0])}`" if key.agrees else "")
    said = "; ".join(part for part in (f"`{key.setting}`" if key.setting else "", key.does) if part)
    return f"{said}; `{_shown(key.default)}` without it" if key.default is not None else said


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}s" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def renewed(page: str) -> str:
    """A page with what stands between `<!-- table: name -->` and `<!-- end -->` made anew. Raises `KeyError`."""
    known = {"olla keys": keys_table(), "olla types": types_table(), "olla variables": variables_table()}
    return re.sub(
        r"<!-- table: (olla [\w -]+?) -->\n.*?<!-- end -->",
        lambda match: f"<!-- table: {match[1]} -->\n\n{known[match[1]]}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(renewed(Path(name).read_text(encoding="utf-8")), encoding="utf-8")

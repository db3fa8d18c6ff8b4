"""What the model stores of this machine hold, in lines for the operator: how many models, how large, what is broken.

Nothing is looked at anew here: the engine has just done it for its list of models.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from arriero.backends.base import Backend
from arriero.backends.engine import DEMO_ID
from arriero.canonical.sizes import file_size
from arriero.telling import place, printable

OLLAMAS = Path(".ollama/models")
"""Where Ollama keeps its models, below a home."""

_SHOWN = 3
_REASON_CHARACTERS = 160


class Holdings(NamedTuple):
    """One engine's store. `broken` are the names of models that cannot be used, each with the reason."""

    root: Path
    models: int = 0
    size_bytes: int = 0
    read_only: bool = False
    broken: Mapping[str, str] = {}


def holdings_of(backend: Backend) -> Holdings | None:
    """What the store of a backend held when its models were last listed; `None` where it has none, or no look at it."""
    if backend.kind != "engine":
        return None
    from arriero.backends.engine.backend import EngineBackend

    if not isinstance(backend, EngineBackend) or backend.engine.missing() is not None:
        return None
    # Models share files: each counts once.
    files: dict[str, int] = {}
    models = [model for model in backend.engine.models.values() if model.id != DEMO_ID or model.stored is not None]
    for model in models:
        if model.stored is None:
            files[str(model.path)] = model.size_bytes
        else:
            files.update((layer.digest, layer.size) for layer in model.stored.manifest.blobs)
    return Holdings(
        root=backend.store.root,
        models=len(models),
        size_bytes=sum(files.values()),
        read_only=backend.store.read_only,
        broken=backend.broken,
    )


def lines_of(
    stores: Sequence[Holdings],
    home: Path | None,
    *,
    beside_ollama: bool,
    host: str | None = None,
    most: int | None = _SHOWN,
) -> list[str]:
    """Lines about stores, each store once; at most so many broken models of each. `host` is the address that a pull has
    to name in order to come here. At the end, how to serve what Ollama keeps in this home: `beside_ollama` says that an
    Ollama server is there which does.
    """
    at = f" --host {host}" if host else ""
    lines: list[str] = []
    for store in {store.root: store for store in stores}.values():
        count = f"{store.models} model{'s' if store.models != 1 else ''}, {file_size(store.size_bytes)}"
        facts = [count if store.models else "empty", *(["read-only"] if store.read_only else [])]
        fill = "" if store.models or store.broken or store.read_only else f"; to fill it:  arriero pull NAME{at}"
        lines.append(f"Store {printable(place(store.root, home))}: {', '.join(facts)}{fill}")
        broken = sorted(store.broken.items())
        shown = broken[:most]
        lines += [f"  cannot be used: {printable(id)}: {_brief(printable(reason))}" for id, reason in shown]
        if len(broken) > len(shown):
            lines.append(f"  and {len(broken) - len(shown)} more:  arriero check")
    if not beside_ollama and home is not None and (line := _ollamas(stores, home)) is not None:
        lines.append(line)
    return lines


def home_of(environ: Mapping[str, str]) -> Path | None:
    """The home that an environment names."""
    home = environ.get("HOME")
    return Path(home) if home else None


def _ollamas(stores: Sequence[Holdings], home: Path) -> str | None:
    if not stores:
        return None
    models = home / OLLAMAS
    try:
        with os.scandir(models / "manifests") as found:
            if next(found, None) is None:
                return None
        if any(store.root.exists() and store.root.samefile(models) for store in stores):
            return None
    except OSError:
        return None
    shown = place(models, home)
    return (
        f"Ollama's models in {shown} are not served; to do so:  ARRIERO_READ_ONLY=1 arriero serve --models-dir {shown}"
    )


def _brief(reason: str) -> str:
    return reason if len(reason) <= _REASON_CHARACTERS else reason[:_REASON_CHARACTERS] + "..."

"""Settings that the configuration knows and that have no effect: this version does not carry them out yet, or they lead
nowhere.

A setting that is read and ignored in silence is worse than none: whoever sets one of these is told at the start.
"""

from arriero.config import Config
from arriero.routing.names import key_of

PENDING: tuple[str, ...] = ("server.workers",)
"""Each has no effect whatever its value is."""


def without_effect(config: Config) -> list[str]:
    """A sentence for each setting that differs from its default and has no effect."""
    default = Config()
    found = [
        f"{name} has no effect in this version" for name in PENDING if _value(config, name) != _value(default, name)
    ]
    return [*found, *_aliases(config)]


def _aliases(config: Config) -> list[str]:
    """An alias stands for models: one that is named in another one, or by itself alone, leads nowhere."""
    aliases = config.routing.aliases
    names: dict[str, str] = {}
    found = []
    for name, alias in aliases.items():
        if (other := names.setdefault(name.casefold(), name)) != name:
            found.append(f"routing.aliases: {other} and {name} are one name for clients; only the last one counts")
        for model in alias.models:
            if key_of(model) == key_of(name) and len(alias.models) > 1:
                continue  # a model of the same name, and others in its place
            if any(key_of(model) == key_of(known) for known in aliases):
                found.append(
                    f"routing.aliases.{name}: {model} is an alias; aliases stand for models, so it counts here only "
                    "where a backend has a model of this name"
                )
    return found


def _value(config: object, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part)
    return config

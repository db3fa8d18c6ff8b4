from pathlib import Path
from typing import Any

import pytest

from arriero.config import Flags, Loaded
from arriero.config.flags import FLAG_SETTINGS
from support.config import Place, engine_of

# ---- every flag, every variable -------------------------------------------------------------------------------------

FLAGS: list[tuple[str, Any, str, object]] = [
    ("host", "0.0.0.0", "server.host", "0.0.0.0"),
    ("port", "8080", "server.port", 8080),
    ("log_level", "DEBUG", "logging.level", "debug"),
    ("log_level", "fatal", "logging.level", "critical"),
    ("models_filter", "/f.txt", "models.filter_file", Path("/f.txt")),
    ("reload", True, "server.watch", True),
    ("models_dir", "/models", "engine.models_dir", Path("/models")),
    ("demo_model", False, "engine.demo_model", False),
]


def setting(loaded: Loaded, name: str) -> object:
    value: Any = engine_of(loaded) if name.startswith("engine.") else loaded.config
    for part in name.removeprefix("engine.").split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(("field", "given", "name", "expected"), FLAGS)
def test_flags(place: Place, field: str, given: Any, name: str, expected: object) -> None:
    loaded = place.load(Flags(**{field: given}))
    assert setting(loaded, name) == expected
    origin = loaded.origin(name.replace("engine.", "backends.local."))
    assert (origin.kind, origin.name) == ("flag", FLAG_SETTINGS[field][0])


def test_the_table_of_flags_is_whole() -> None:
    assert {field for field, *_ in FLAGS} == FLAG_SETTINGS.keys()


def test_a_key_is_not_in_the_repr() -> None:
    assert "marker" not in repr(Flags(api_key="marker", base_url="http://marker"))

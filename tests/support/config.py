"""What the tests of the configuration share: a place to load it in, and a look at what was loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from arriero.config import ConfigError, EngineConfig, Flags, Loaded, OpenAIConfig, load


@dataclass(frozen=True)
class Place:
    """A folder to start in and a home, both empty."""

    cwd: Path
    home: Path

    def load(self, flags: Flags | None = None, env: Mapping[str, str] | None = None) -> Loaded:
        return load(flags or Flags(), env or {}, self.cwd, self.home)

    def fails(self, flags: Flags | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(flags, env)
        return [problem.replace(f"{self.cwd}/", "") for problem in caught.value.problems]

    def file(self, text: str) -> "Place":
        (self.cwd / "arriero.yaml").write_text(text)
        return self

    def dotenv(self, text: str) -> "Place":
        (self.cwd / ".env").write_text(text)
        return self


def openai_of(loaded: Loaded) -> OpenAIConfig:
    (found,) = [item for item in loaded.config.backends if isinstance(item, OpenAIConfig) and item.name == "openai"]
    return found


def engine_of(loaded: Loaded) -> EngineConfig:
    (found,) = [item for item in loaded.config.backends if isinstance(item, EngineConfig)]
    return found


def names(loaded: Loaded) -> list[str]:
    return [backend.name for backend in loaded.config.backends]


def key_of(backend: object) -> str | None:
    secret = getattr(backend, "api_key", None)
    return secret.get_secret_value() if secret is not None else None

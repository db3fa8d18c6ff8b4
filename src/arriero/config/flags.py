"""The command line as a value, and which setting each flag sets. Parsing it is the business of `arriero.cli`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The command line. `None` is "not given". Lists hold the texts as typed: each may be a list itself."""

    config: str | None = None
    olla_config: str | None = None
    host: str | None = None
    port: int | str | None = None
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    capabilities: list[str] | None = None
    models: list[str] | None = None
    log_level: str | None = None
    models_dir: str | None = None
    demo_model: bool | None = None
    models_filter: str | None = None
    reload: bool | None = None


FLAG_SETTINGS: Mapping[str, tuple[str, str]] = {
    "host": ("--host", "server.host"),
    "port": ("--port", "server.port"),
    "log_level": ("--log-level", "logging.level"),
    "models_dir": ("--models-dir", "engine.models_dir"),
    "models_filter": ("--models-filter", "models.filter_file"),
    "reload": ("--reload", "server.watch"),
    "demo_model": ("--no-demo-model", "engine.demo_model"),
}
"""Field of `Flags` to the flag's name and the setting it sets. The others have rules of their own."""

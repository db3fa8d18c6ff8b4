"""The configuration: its shape (`Config`), its sources (`load`), and what is wrong with it (`ConfigError`).

`load` is handed the environment as a mapping; nothing in this package reads the process's own.
"""

from arriero.config.backends import (
    BackendConfig,
    BackendModels,
    EngineConfig,
    OllamaConfig,
    OpenAIConfig,
    ScriptedConfig,
    TimeoutOverride,
    TlsConfig,
)
from arriero.config.environment import Origin
from arriero.config.flags import Flags
from arriero.config.problems import ConfigError
from arriero.config.schema import (
    BreakerConfig,
    Clamp,
    Config,
    FilterConfig,
    Knobs,
    LimitsConfig,
    LoggingConfig,
    ModelsConfig,
    ProxyConfig,
    QueueConfig,
    RetryConfig,
    RoutingConfig,
    ServerConfig,
    StickyConfig,
    TimeoutsConfig,
)
from arriero.config.sources import Loaded, load
from arriero.config.values import Address

__all__ = [
    "Address",
    "BackendConfig",
    "BackendModels",
    "BreakerConfig",
    "Clamp",
    "Config",
    "ConfigError",
    "EngineConfig",
    "FilterConfig",
    "Flags",
    "Knobs",
    "LimitsConfig",
    "Loaded",
    "LoggingConfig",
    "ModelsConfig",
    "OllamaConfig",
    "OpenAIConfig",
    "Origin",
    "ProxyConfig",
    "QueueConfig",
    "RetryConfig",
    "RoutingConfig",
    "ScriptedConfig",
    "ServerConfig",
    "StickyConfig",
    "TimeoutOverride",
    "TimeoutsConfig",
    "TlsConfig",
    "load",
]

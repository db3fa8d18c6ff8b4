"""From flags, environment, `.env` and file to one `Config`: which source wins, and where each value came from.

The named files are read here and nothing else is touched: the environment, the folders and the flags are handed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from arriero.config import dotenv_file, environment, filter_file, named, strategies
from arriero.config.backends import BackendConfig
from arriero.config.draft import Draft, expanded
from arriero.config.environment import DEFAULT, DOTENV, ENVIRONMENT, Origin, Variables
from arriero.config.flags import FLAG_SETTINGS, Flags
from arriero.config.local import candidates
from arriero.config.named import Understood
from arriero.config.problems import ConfigError
from arriero.config.schema import Config
from arriero.routing.model_filter import EVERYTHING, ModelFilter

FILE_NAME = "arriero.yaml"
USER_FILE = Path(".config/arriero/config.yaml")
ENGINE_NAME = "local"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration that can be used.

    `origins` has an entry for each setting that no default made, by names such as `server.port`, `backends.gpu1.url`.
    `candidates` are local servers that may be there or not: whoever starts arriero asks them. `file` is the file read,
    `watched` are those that make another configuration when they change, come or go.
    `environ` is the process's environment, for child processes; it holds keys. `filter` has the rules of the filter
    file, `filter_problem` says why it could not be read, `filter_missing` that it is not there. `providers` is what was
    understood of each provider.
    """

    config: Config
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...] = ()
    candidates: tuple[BackendConfig, ...] = ()
    file: Path | None = None
    watched: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    filter: ModelFilter = EVERYTHING
    filter_problem: str | None = None
    filter_missing: bool = False
    providers: tuple[Understood, ...] = ()

    def origin(self, setting: str) -> Origin:
        """Where a setting, or the nearest thing around it, was set."""
        while setting:
            if found := self.origins.get(setting):
                return found
            setting = setting.rpartition(".")[0]
        return DEFAULT


def load(flags: Flags, environ: Mapping[str, str], cwd: Path, home: Path) -> Loaded:
    """Flags over environment over `.env` over file over defaults. Raises `ConfigError` with every problem found."""
    draft = Draft(cwd, home)
    text, unread = dotenv_file.read(cwd / DOTENV)
    draft.warnings += unread
    variables = Variables(environ, text)
    draft.warnings += [f"{DOTENV}:{line}: cannot be read and is ignored" for line in variables.faulty_lines]
    path: Path | None
    providers: tuple[Understood, ...] = ()
    if flags.olla_config is None:
        path = _find_file(flags, variables, cwd, home)
        by_file, providers = _take_own(draft, flags, variables, path, cwd)
    else:
        path = _find_olla_file(flags, variables, cwd, home)
        by_file = True
        _take_ollas(draft, flags, variables, path, cwd, home)
    _apply_flags(draft, flags)
    config, origins = draft.finish()
    discover = not by_file if config.server.discover is None else config.server.discover
    refused = {row.provider.name for row in providers if row.refused}
    filters = filter_file.read(config.models.filter_file)
    return Loaded(
        config=config,
        origins=origins,
        warnings=(*draft.warnings, *filters.warnings),
        candidates=tuple(one for one in candidates(config) if one.name not in refused) if discover else (),
        file=path,
        watched=(
            *_places(flags, path, cwd, home),
            cwd / DOTENV,
            config.models.filter_file or cwd / filter_file.NAME,
        ),
        environ=environ,
        filter=filters.rules,
        filter_problem=filters.problem,
        filter_missing=filters.missing,
        providers=_running(providers, config),
    )


def _places(flags: Flags, path: Path | None, cwd: Path, home: Path) -> tuple[Path, ...]:
    """Where the file may stand: where it was told to be, or anywhere where it is found without being told."""
    usual = (cwd / FILE_NAME, home / USER_FILE)
    return usual if path is None or (path in usual and flags.olla_config is None) else (path,)


def _take_own(
    draft: Draft, flags: Flags, variables: Variables, path: Path | None, cwd: Path
) -> tuple[bool, tuple[Understood, ...]]:
    """What arriero's file and the environment say. Whether the file decides which backends there are, and what was
    understood of the providers."""
    if path is not None:
        # Only a start with a file pays for the YAML parser.
        from arriero.config import file

        contents = file.read(path, variables.exact)
        draft.problems += contents.problems
        draft.take_file(path, contents)
    by_file = "backends" in draft.data
    routing = strategies.take(draft, variables, path is not None)
    providers = named.take(draft, flags, variables, by_file=by_file, routing=routing)
    if path is None and not routing.said and any(row.off is None for row in providers):
        draft.set(strategies.POLICY, "capability", named.PROXY)
    if not by_file:
        draft.add({"name": ENGINE_NAME, "kind": "engine"}, {})
    named.add_keys(draft, variables)
    if path is None and (cwd / filter_file.NAME).exists():
        draft.set("models.filter_file", filter_file.NAME, Origin("default", f"./{filter_file.NAME}"))
    _apply_variables(draft, variables, environment.SETTINGS)
    if (found := variables.find("ROUTING_RULES_PATH")) is not None:
        draft.warnings.append(f"{found.origin} has no effect: ollama-proxy never read that file; see routing.aliases")
    return by_file, providers


def _running(providers: tuple[Understood, ...], config: Config) -> tuple[Understood, ...]:
    """The same, where a backend was left out because it is arriero itself."""
    names = {backend.name for backend in config.backends}
    own = "its URL leads to arriero itself"
    return tuple(
        row._replace(off=own) if row.off is None and row.provider.name not in names else row for row in providers
    )


def _take_ollas(draft: Draft, flags: Flags, variables: Variables, path: Path, cwd: Path, home: Path) -> None:
    """What Olla's file says, and of the environment only what is Olla's or arriero's by name.

    Other variables stay out: `OLLAMA_HOST`, for one, is where the clients of this machine find Olla.
    """
    from arriero.config import olla

    olla.take(draft, path, variables, cwd, home)
    named.take(draft, flags, Variables({}), by_file=True)
    _apply_variables(draft, variables, [row for row in environment.SETTINGS if row.names[0].startswith("ARRIERO_")])


def _find_file(flags: Flags, variables: Variables, cwd: Path, home: Path) -> Path | None:
    """The file that is named, else the first that is there. One that is named must be there."""
    named = flags.config or ((found := variables.find(environment.CONFIG_VARIABLE)) and found.value)
    if named:
        path = expanded(named, cwd, home)
        if not path.is_file() and not path.is_char_device():
            origin = "--config" if flags.config else environment.CONFIG_VARIABLE
            raise ConfigError([f"{origin}: there is no file {path}"])
        return path
    return next((path for path in (cwd / FILE_NAME, home / USER_FILE) if path.is_file()), None)


def _find_olla_file(flags: Flags, variables: Variables, cwd: Path, home: Path) -> Path:
    """The file of `--olla-config`; an empty one is named by Olla's own variable."""
    if flags.config is not None:
        raise ConfigError(["--olla-config: cannot go together with --config; give the one whose file shall count"])
    from arriero.config.olla_keys import FILE_VARIABLE

    if text := flags.olla_config:
        origin = "--olla-config"
    elif (found := variables.find(FILE_VARIABLE)) is not None:
        text, origin = found.value, str(found.origin)
    else:
        raise ConfigError([f"--olla-config: names no file, and {FILE_VARIABLE} is not set"])
    path = expanded(text, cwd, home)
    if path.is_dir():
        raise ConfigError([f"{origin}: {path} is a folder; name the file in it"])
    if not path.is_file() and not path.is_char_device():
        raise ConfigError([f"{origin}: there is no file {path}"])
    return path


def _apply_variables(draft: Draft, variables: Variables, rows: Sequence[environment.Variable]) -> None:
    for layer in (DOTENV, ENVIRONMENT):
        for row in rows:
            if (found := variables.find(*row.names, layers=(layer,))) is None:
                continue
            try:
                settings = row.read(found.value)
            except environment.NotUsed as error:
                draft.warnings.append(f"{found.origin} {error}")
                settings = error.settings
            except ValueError as error:
                draft.problems.append(f"{found.origin}: {error}")
                continue
            for setting, value in settings.items():
                draft.set(setting, value, found.origin)


def _apply_flags(draft: Draft, flags: Flags) -> None:
    for name in (item.name for item in fields(flags)):
        value = getattr(flags, name)
        if value is None or name not in FLAG_SETTINGS:
            continue
        flag, setting = FLAG_SETTINGS[name]
        if name == "models_filter" and not value:
            value = None  # an empty one switches the filter off
        if not draft.set(setting, value, Origin("flag", flag)):
            draft.warnings.append(f"{flag} has no effect: the file names no backend of kind engine")

"""From flags, environment, `.env` and file to one `Config`: which source wins, and where each value came from.

The named files are read here and nothing else is touched: the environment, the folders and the flags are handed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from arriero.config import environment, named
from arriero.config.backends import BackendConfig
from arriero.config.draft import Draft, expanded
from arriero.config.environment import DEFAULT, DOTENV, ENVIRONMENT, Origin, Variables
from arriero.config.flags import FLAG_SETTINGS, Flags
from arriero.config.local import candidates
from arriero.config.problems import ConfigError
from arriero.config.schema import Config

FILE_NAME = "arriero.yaml"
USER_FILE = Path(".config/arriero/config.yaml")
ENGINE_NAME = "local"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration that can be used.

    `origins` has an entry for each setting that no default made, by names such as `server.port`, `backends.gpu1.url`.
    `candidates` are local servers that may be there or not: whoever starts arriero asks them. `file` is the file read,
    `watched` are those that make another configuration when they change, come or go.
    `environ` is the process's environment, for child processes; it holds keys.
    """

    config: Config
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...] = ()
    candidates: tuple[BackendConfig, ...] = ()
    file: Path | None = None
    watched: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

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
    variables = Variables(environ, _dotenv(cwd, draft))
    draft.warnings += [f"{DOTENV}:{line}: cannot be read and is ignored" for line in variables.faulty_lines]
    path: Path | None
    if flags.olla_config is None:
        path = _find_file(flags, variables, cwd, home)
        by_file = _take_own(draft, flags, variables, path)
    else:
        path = _find_olla_file(flags, variables, cwd, home)
        by_file = True
        _take_ollas(draft, flags, variables, path, cwd, home)
    _apply_flags(draft, flags)
    config, origins = draft.finish()
    discover = not by_file if config.server.discover is None else config.server.discover
    return Loaded(
        config=config,
        origins=origins,
        warnings=tuple(draft.warnings),
        candidates=candidates(config) if discover else (),
        file=path,
        watched=(*_places(flags, path, cwd, home), cwd / DOTENV),
        environ=environ,
    )


def _places(flags: Flags, path: Path | None, cwd: Path, home: Path) -> tuple[Path, ...]:
    """Where the file may stand: where it was told to be, or anywhere where it is found without being told."""
    usual = (cwd / FILE_NAME, home / USER_FILE)
    return usual if path is None or (path in usual and flags.olla_config is None) else (path,)


def _take_own(draft: Draft, flags: Flags, variables: Variables, path: Path | None) -> bool:
    """What arriero's file and the environment say. Whether the file decides which backends there are."""
    if path is not None:
        # Only a start with a file pays for the YAML parser.
        from arriero.config import file

        contents = file.read(path, variables.exact)
        draft.problems += contents.problems
        draft.take_file(path, contents)
    by_file = "backends" in draft.data
    named.add_openai(draft, flags, variables, by_file)
    if not by_file:
        named.add_vendors(draft, variables)
        draft.add({"name": ENGINE_NAME, "kind": "engine"}, {})
    named.add_keys(draft, variables)
    _apply_variables(draft, variables, environment.SETTINGS)
    return by_file


def _take_ollas(draft: Draft, flags: Flags, variables: Variables, path: Path, cwd: Path, home: Path) -> None:
    """What Olla's file says, and of the environment only what is Olla's or arriero's by name.

    Other variables stay out: `OLLAMA_HOST`, for one, is where the clients of this machine find Olla.
    """
    from arriero.config import olla

    olla.take(draft, path, variables, cwd, home)
    named.add_openai(draft, flags, Variables({}), by_file=True)
    _apply_variables(draft, variables, [row for row in environment.SETTINGS if row.names[0].startswith("ARRIERO_")])


def _dotenv(cwd: Path, draft: "Draft") -> str:
    path = cwd / DOTENV
    try:
        return path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        draft.warnings.append(f"{DOTENV}: cannot be read and is ignored ({type(error).__name__})")
        return ""


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
                draft.warnings.append(f"{found.origin}: {error}")
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
        if name == "log_level":
            value = environment.read_level(value)
        if not draft.set(setting, value, Origin("flag", flag)):
            draft.warnings.append(f"{flag} has no effect: the file names no backend of kind engine")

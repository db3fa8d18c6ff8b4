"""The command line: `arriero serve | check | ask | pull | scripted`.

Only here does the process's environment enter. What a command does lives elsewhere, and is imported when it is needed:
the start of `serve` is the time until the first answer.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from arriero import __version__
from arriero.config import ConfigError, Flags, Loaded, load
from arriero.config.environment import Variables
from arriero.config.values import parse_ollama_host

if TYPE_CHECKING:
    from arriero.pull import Here

app = typer.Typer(
    name="arriero",
    help="One door for every model: the Ollama and OpenAI APIs in front of any model server.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with locals would print keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of the console script."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        print(f"arriero {__version__}")
        raise typer.Exit()


@app.callback()
def _arriero(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help="Configuration file (YAML).")]
OllaConfig = Annotated[
    str | None, typer.Option("--olla-config", metavar="FILE", help="Configuration file of Olla, instead of arriero's.")
]


Host = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on (default: 127.0.0.1).")]
Port = Annotated[str | None, typer.Option(metavar="NUMBER", help="Port to listen on (default: 11434).")]
ApiKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Key of a backend with the OpenAI API; one with sk-or- is OpenRouter's."),
]
BaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="URL of that backend, with /v1.")]
Capabilities = Annotated[
    list[str] | None,
    typer.Option("--capabilities", "-c", metavar="LIST", help="What its models can do: tools, vision, ..."),
]
Models = Annotated[
    list[str] | None, typer.Option("--models", "-m", metavar="LIST", help="Models that it has and does not list.")
]
ModelsFilter = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help='File of the models that are shown; "" shows all (default: ./models-filter.txt).'
    ),
]
ModelsDir = Annotated[str | None, typer.Option(metavar="DIR", help="Model store of the engine.")]
DemoModel = Annotated[
    bool | None, typer.Option("--demo-model/--no-demo-model", help="Offer the built-in demo model (default: yes).")
]
Reload = Annotated[
    bool | None, typer.Option("--reload", help="Take up changes of the configuration at once (default: yes).")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="debug, info, warning, error, critical (default: info).")
]


@app.command()
def serve(
    config: Config = None,
    olla_config: OllaConfig = None,
    host: Host = None,
    port: Port = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    capabilities: Capabilities = None,
    models: Models = None,
    models_filter: ModelsFilter = None,
    models_dir: ModelsDir = None,
    demo_model: DemoModel = None,
    reload: Reload = None,
    log_level: LogLevel = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, as check does, and exit.")] = False,
) -> None:
    """Listen and serve until stopped. Lists may be repeated, parted by commas, or JSON."""
    flags = Flags(
        config=config,
        olla_config=olla_config,
        host=host,
        port=port,
        api_key=api_key,
        base_url=base_url,
        capabilities=capabilities,
        models=models,
        models_filter=models_filter,
        models_dir=models_dir,
        demo_model=demo_model,
        reload=reload,
        log_level=log_level,
    )
    loaded = _load(flags)
    if dry_run:
        _print_settings(loaded, everything=False)
        return
    from arriero.ports import obstacle

    if (text := obstacle(loaded)) is not None:
        _fail(text)
    from arriero.run import serve as run

    raise typer.Exit(run(loaded, partial(load, flags, os.environ, Path.cwd(), _home())))


@app.command()
def check(
    config: Config = None,
    olla_config: OllaConfig = None,
    host: Host = None,
    port: Port = None,
    api_key: ApiKey = None,
    base_url: BaseUrl = None,
    capabilities: Capabilities = None,
    models: Models = None,
    models_filter: ModelsFilter = None,
    models_dir: ModelsDir = None,
    demo_model: DemoModel = None,
    reload: Reload = None,
    log_level: LogLevel = None,
    everything: Annotated[bool, typer.Option("--all", help="Show settings that have their default, too.")] = False,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Ask each backend for its models.")] = True,
) -> None:
    """Check the configuration, show each setting with its origin, and ask each backend for its models.

    Takes the flags of serve. Exits with 1 if the configuration cannot be used or a backend does not answer.
    """
    loaded = _load(
        Flags(
            config=config,
            olla_config=olla_config,
            host=host,
            port=port,
            api_key=api_key,
            base_url=base_url,
            capabilities=capabilities,
            models=models,
            models_filter=models_filter,
            models_dir=models_dir,
            demo_model=demo_model,
            reload=reload,
            log_level=log_level,
        )
    )
    _print_settings(loaded, everything)
    if probe and not _print_backends(loaded):
        raise typer.Exit(1)


@app.command()
def ask(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    prompt: Annotated[str, typer.Argument(help="The question; - reads it from the standard input.")],
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System prompt.")] = None,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where arriero runs, as in OLLAMA_HOST.")] = None,
) -> None:
    """Ask a running arriero and print the answer as it comes."""
    from arriero.ask import Question
    from arriero.ask import ask as put

    text = sys.stdin.read() if prompt == "-" else prompt
    url = _client_url(host or _listening())
    question = Question(url, model, text, system, os.environ.get("OLLAMA_API_KEY") or None)
    raise typer.Exit(put(question, sys.stdout, sys.stderr))


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="Name of the model, as in `llama3.2:1b` or `hf.co/name/repository`.")],
    insecure: Annotated[bool, typer.Option("--insecure", help="Ask the registry over plain HTTP.")] = False,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where arriero runs, as in OLLAMA_HOST.")] = None,
) -> None:
    """Pull a model from its registry, and show what comes.

    A running arriero does it; where none runs on this machine, it comes into the store that this configuration names.
    """
    from arriero.pull import Wish
    from arriero.pull import pull as fetch

    url = _client_url(host or _listening())
    wish = Wish(url, model, insecure, os.environ.get("OLLAMA_API_KEY") or None, host)
    # Who has named another machine wants the model there.
    here = partial(_here, model, insecure) if not host and _is_here(url) else None
    raise typer.Exit(fetch(wish, sys.stdout, sys.stderr, here))


@app.command()
def scripted(
    script: Annotated[Path | None, typer.Option(metavar="FILE", help="What it plays (YAML or JSON).")] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="NUMBER", help="Port to listen on; 0 takes a free one.")] = 0,
    socket: Annotated[Path | None, typer.Option(metavar="PATH", help="Unix socket to listen on instead.")] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Who it is: answers carry it, and say it.")] = None,
) -> None:
    """Run a model server without a model that plays answers and faults, on command while it runs.

    Prints its address and serves until stopped.
    """
    from arriero.backends.scripted.process import run, tell

    failure = run(tell, script=script, host=host, port=port, socket_path=socket, name=name)
    if failure is not None:
        _fail(failure)


def _here(model: str, insecure: bool) -> "Here":
    from arriero.compose import pull_here
    from arriero.telling import place

    loaded = _load(Flags())
    way = pull_here(loaded.config, loaded.environ, model, insecure)
    return way._replace(where=place(Path(way.where), _home()))


# ---- loading -------------------------------------------------------------------------------------------------------


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's user without an entry and without HOME
        return Path("/")


def _load(flags: Flags) -> Loaded:
    try:
        loaded = load(flags, os.environ, Path.cwd(), _home())
    except ConfigError as error:
        _fail(*error.problems)
    from arriero.pending import without_effect

    for warning in (*loaded.warnings, *without_effect(loaded.config)):
        print(f"arriero: warning: {warning}", file=sys.stderr)
    return loaded


def _fail(*problems: str) -> NoReturn:
    for problem in problems:
        print(f"arriero: {problem}", file=sys.stderr)
    raise typer.Exit(1)


def _listening() -> str:
    """Where an arriero with this environment and file listens, in the form of `OLLAMA_HOST`."""
    found = Variables(os.environ).find("OLLAMA_HOST")
    if found is not None and "://" in found.value:
        return found.value  # a scheme and a path are for clients; a server has neither
    try:
        address = load(Flags(), os.environ, Path.cwd(), _home()).config.server.addresses[0]
    except ConfigError:
        return ""  # a question can still be asked at the default address
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def _client_url(text: str) -> str:
    """The URL that a client uses for an `OLLAMA_HOST`; "every interface" becomes loopback."""
    parsed = parse_ollama_host(text)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(parsed.host, parsed.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    port = 11434 if parsed.port is None else parsed.port
    return f"{parsed.scheme}://{host}:{port}{parsed.path.rstrip('/')}"


def _is_here(url: str) -> bool:
    """Whether an address is surely one of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ---- printing ------------------------------------------------------------------------------------------------------


def _print_settings(loaded: Loaded, everything: bool) -> None:
    from arriero.config.filter_file import summary
    from arriero.config.listing import facts, rows

    shown = [row for row in rows(loaded) if everything or row.origin != "default"]
    path, unusable = loaded.config.models.filter_file, loaded.filter_problem is not None
    print(f"File: {loaded.file or 'none'}")
    print(f"Filter: {summary(path, loaded.filter, missing=loaded.filter_missing, unusable=unusable)}")
    if loaded.providers:
        _print_table(("provider", "what", "value", "origin"), facts(loaded))
        print()
    if shown:
        _print_table(("setting", "value", "origin"), shown)
    else:
        print("Every setting has its default; --all shows them.")
    if loaded.candidates:
        names = ", ".join(f"{server.name} ({getattr(server, 'url', '')})" for server in loaded.candidates)
        print(f"Looked for when arriero starts: {names}")


def _print_backends(loaded: Loaded) -> bool:
    """Ask every backend and print what it says. False if one does not answer, or there is none."""
    from arriero.holdings import lines_of
    from arriero.probe import probe

    if not loaded.config.backends:
        print("No backend is configured.")
        return False
    results = probe(loaded.config)
    lines = []
    for result in results:
        shown = ", ".join(result.models[:3]) + (", ..." if len(result.models) > 3 else "")
        state, models = (
            ("answers", f"{len(result.models)}: {shown}") if result.error is None else ("fails", result.error)
        )
        lines.append((result.name, result.kind, result.where, state, models))
    print()
    _print_table(("backend", "kind", "where", "state", "models"), lines)
    stores = [result.store for result in results if result.store is not None]
    beside_ollama = any(result.kind == "ollama" and result.error is None for result in results)
    for note in lines_of(stores, _home(), beside_ollama=beside_ollama, most=None):
        print(note)
    return all(result.error is None for result in results)


def _print_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from arriero.telling import printable

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in head:
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*(escape(printable(cell)) for cell in line))
    terminal = sys.stdout.isatty()
    # Off a terminal a line is as long as it has to be: it is read by grep, not by eyes.
    Console(highlight=False, width=None if terminal else 400, no_color=not terminal).print(table)

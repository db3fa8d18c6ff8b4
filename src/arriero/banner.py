"""What `arriero serve` prints when it is up: where it listens, what is behind it, and one line to try."""

import io
import ipaddress
import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from arriero import __version__
from arriero.backends.engine import DEMO_ID
from arriero.config import Address
from arriero.telling import printable

READY = "ready"
"""The state of a backend that answers."""

OPEN = "Other machines can reach it. Nobody is asked for a key: whoever reaches the port can use every model."
_EVERYWHERE = ("", "0.0.0.0", "::")
_SHOWN = 3
_NAME_CHARACTERS = 80
"""A longer name is cut in the table: a backend may list anything."""


class BackendLine(NamedTuple):
    """One backend at the start. `state` is a word or a sentence; `models` are the names that clients can ask for,
    `mute` those of them that are known not to chat.
    """

    name: str
    kind: str
    where: str
    state: str
    models: tuple[str, ...] = ()
    mute: frozenset[str] = frozenset()


def base_url(address: Address) -> str:
    """The URL by which a client on this machine reaches an address."""
    host = address.host
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


def model_to_try(backends: Iterable[BackendLine]) -> str | None:
    """The first model that chats and can be typed, of a backend that answers and is no engine: somebody has named it.
    Else the demo model where it is offered, else the first of all.
    """
    typed = [
        (line, name)
        for line in backends
        for name in line.models
        if len(name) <= _NAME_CHARACTERS and name not in line.mute
    ]
    named = [name for line, name in typed if line.kind != "engine" and line.state == READY]
    demo = [name.removesuffix(":latest") for _, name in typed if name == DEMO_ID]
    return next(iter((*named, *demo, *(name for _, name in typed))), None)


def curl_line(address: Address, model: str) -> str:
    """A command that asks a question."""
    body = {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
    text = printable(json.dumps(body, separators=(",", ":"), ensure_ascii=False)).replace("'", "'\\''")
    return f"curl {base_url(address)}/api/chat -d '{text}'"


def render_start(
    addresses: Sequence[Address], backends: Sequence[BackendLine], notes: Sequence[str] = (), *, color: bool
) -> str:
    """The text to print: addresses (with their real ports, never 0), table, notes, the line to try. Ends with a line
    feed.
    """
    # Only who prints it pays for rich.
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    out = io.StringIO()
    # A fixed width: a table row is one line, and the terminal may fold it as it likes.
    console = Console(file=out, highlight=False, soft_wrap=True, force_terminal=color, no_color=not color, width=200)
    places = ", ".join(dict.fromkeys(_place(address) for address in addresses))
    console.print(f"[bold]arriero {__version__}[/bold] listens on [bold]{escape(places)}[/bold]")
    if not all(_is_loopback(address.host) for address in addresses):
        console.print(OPEN)
    if backends:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("backend", "kind", "where", "state", "models"):
            table.add_column(heading, overflow="fold")
        for line in backends:
            cells = (line.name, line.kind, line.where, line.state, _models(line.models))
            table.add_row(*(escape(printable(cell)) for cell in cells))
        console.print(table)
    else:
        console.print("No backend is there. Name one:  arriero serve --base-url URL, or a file: arriero.yaml")
    for note in notes:
        console.print(escape(printable(note)))
    text = re.sub(r" +((?:\x1b\[[0-9;]*m)*)$", r"\1", out.getvalue(), flags=re.MULTILINE)
    if (model := model_to_try(backends)) is not None and addresses:
        text += f"Try:  {curl_line(addresses[0], model)}\n"
    return text


def _place(address: Address) -> str:
    everywhere = f" and port {address.port} of every other address of this machine"
    return base_url(address) + (everywhere if address.host in _EVERYWHERE else "")


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return host != ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: of whom, only the system knows


def _models(names: Sequence[str]) -> str:
    if not names:
        return "-"
    more = len(names) - _SHOWN
    return f"{len(names)}: {', '.join(map(_brief, names[:_SHOWN]))}" + (f" and {more} more" if more > 0 else "")


def _brief(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else name[:_NAME_CHARACTERS] + "..."

"""Whether arriero can listen where it is told to, and who stands there if it cannot.

The check binds and lets go again; the server binds for good. Texts say what to type instead.
"""

import errno
import http.client
import json
import socket  # noqa: TID251 - the one question asked of the system before the server starts
from contextlib import closing

from arriero.config import Address, Loaded

_PROBE_SECONDS = 1.0
_ANY = ("", "0.0.0.0", "::")


def obstacle(loaded: Loaded) -> str | None:
    """Why arriero cannot listen on one of its addresses, with a way out; `None` if it can on all."""
    for address in loaded.config.server.addresses:
        if (reason := _failure(address)) is not None:
            return _explain(loaded, address, reason)
    return None


def _failure(address: Address) -> OSError | None:
    """The error of binding to an address; `None` if every form of it that this machine has can be bound."""
    try:
        found = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return error
    except UnicodeError:  # a name with an empty or overlong part
        return socket.gaierror(socket.EAI_NONAME, "not a host name")
    missing: OSError | None = None
    usable = False
    for family, kind, protocol, _, place in found:
        try:
            with closing(socket.socket(family, kind, protocol)) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(place)
                usable = True
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return error
            missing = error
    return None if usable else missing


def _explain(loaded: Loaded, address: Address, reason: OSError) -> str:
    where = f"port {address.port} on {address.host or 'all interfaces'}"
    origin = loaded.origin("server.host")
    said = f" ({origin} says so)" if origin.kind != "default" else ""
    if reason.errno == errno.EADDRINUSE:
        return _taken(loaded, address, where)
    if reason.errno == errno.EACCES:
        return f"{where} needs more rights than this user has.\n  Try:  arriero serve --port 11434"
    return (
        f"{address.host} is not an address of this machine{said}.\n"
        "  Try:  arriero serve --host 127.0.0.1   (this machine only)\n"
        "        arriero serve --host 0.0.0.0     (every interface)"
    )


def _taken(loaded: Loaded, address: Address, where: str) -> str:
    holder = identify(address)
    free = _next_free(address)
    lines = [f"{where} is taken by {holder or 'another program'}."]
    if free is None:
        return lines[0]
    here = f"127.0.0.1:{address.port}" if address.host in _ANY else f"{address.host}:{address.port}"
    there = here.rpartition(":")[0] + f":{free}"
    lines.append(f"  Use another port:  arriero serve --port {free}")
    if holder is not None and holder.startswith("an Ollama"):
        if loaded.origin("backends").kind == "file":
            lines.append("  To have its models in arriero, add it to the backends of the file:")
            lines.append(f'    - {{name: ollama, kind: ollama, url: "http://{here}"}}')
        else:
            lines.append(f"  arriero then finds it and serves its models; clients use OLLAMA_HOST={there}")
        lines.append(
            f"  To put arriero in its place, restart it with OLLAMA_HOST=127.0.0.1:{free} and name it in the file:"
        )
        lines.append(f'    backends: [{{name: ollama, kind: ollama, url: "http://127.0.0.1:{free}"}}]')
    return "\n".join(lines)


def _next_free(address: Address) -> int | None:
    ports = range(address.port + 1, min(address.port + 50, 65536))
    return next((port for port in ports if _failure(Address(address.host, port)) is None), None)


def identify(address: Address) -> str | None:
    """Who answers HTTP there: an Ollama server or arriero, with its version; `None` for anything else."""
    host = "127.0.0.1" if address.host in _ANY else address.host
    connection = http.client.HTTPConnection(host, address.port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/api/version", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(4096)
        product, _, version = (answer.getheader("Server") or "").partition("/")
        if product.strip().lower() == "arriero":
            return f"arriero {version.strip()}".strip()
        said = json.loads(body) if answer.status == 200 else None
        if isinstance(said, dict) and isinstance(said.get("version"), str):
            return f"an Ollama server (version {said['version'][:40]})"
    except (OSError, http.client.HTTPException, ValueError):
        pass  # whoever it is, it does not speak this
    finally:
        connection.close()
    return None

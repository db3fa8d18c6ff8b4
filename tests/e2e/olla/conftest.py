"""What the rows of the drop-in's list share: four model servers, and the programs in front of them.

`alpha` and `beta` are Ollama servers and `gamma` one of the OpenAI API, each a process that a test may kill; `witness`
shows the bytes that came to it. The programs run for the whole session, or for one file; each test that takes one
gets it with all servers alive, unspoilt and known as such.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.drop_in import BASES, FRONT_PORT, Arriero, DropIn, Finished, is_free, olla_file, run, serving
from support.hosts import Host, Hosts, Witness, wait_well
from support.program import Program, free_port, program

CHECKS: Mapping[str, Any] = {"check_interval": 0.5, "check_timeout": 2}


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    alpha = Host("alpha", folder / "alpha", ["shared:1b", "alpha-only:1b", "Mixed-Case:1B"], version="0.12.3")
    beta = Host(
        "beta", folder / "beta", ["shared:1b", "beta-only:1b", "untagged:latest", "nomic-embed:v1"], version="0.11.0"
    )
    gamma = Host("gamma", folder / "gamma", ["gamma-only:1b"], speaks=["openai"])
    witness = Witness({"models": [{"name": "witness:1b"}], "rules": [*_bases(), *_messages()]})
    try:
        for host in (alpha, beta, gamma):
            host.start()
        yield Hosts(alpha, beta, gamma, witness)
    finally:
        for host in (alpha, beta, gamma):
            host.kill()
        witness.close()


def _bases() -> Iterator[dict[str, Any]]:
    """One more Ollama server below each of the base paths, with one model of that name."""
    for base in BASES:
        model = {"name": f"{base}:1b", "model": f"{base}:1b", "digest": base, "size": 1}
        said = {"role": "assistant", "content": f"Hello from {base}."}
        answer = {"model": f"{base}:1b", "created_at": "2026-01-02T03:04:05Z", "message": said, "done": True}
        for path, body in (("api/tags", {"models": [model]}), ("api/ps", {"models": []}), ("api/chat", answer)):
            yield {"when": {"path": f"/{base}/{path}"}, "play": {"body": body}}
        yield {"when": {"path": [f"/{base}", f"/{base}/*"]}, "play": {"status": 200, "body": "Ollama is running"}}


def _messages() -> Iterator[dict[str, Any]]:
    """A server of the OpenAI API below `/native` that has Anthropic's messages too, and one below `/foreign` that has
    not.
    """
    for base in ("native", "foreign"):
        entry = {"id": f"{base}:1b", "object": "model", "created": 1, "owned_by": base}
        yield {
            "when": {"path": f"/{base}/v1/models"},
            "play": {"body": {"object": "list", "data": [entry]}},
        }
    said: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "native:1b"}
    said |= {"content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn", "stop_sequence": None}
    said |= {"usage": {"input_tokens": 3, "output_tokens": 2}}
    yield {"when": {"path": "/native/v1/messages"}, "play": {"body": said}}
    yield {"when": {"path": ["/native/*", "/foreign/*"]}, "play": {"status": 404, "body": {"error": "not found"}}}


# ---- the programs --------------------------------------------------------------------------------------------------


def ollama(host: Host | Witness, name: str, **more: Any) -> dict[str, Any]:
    """The entry of an Ollama server."""
    return {"name": name, "kind": "ollama", "url": host.url, **CHECKS, **more}


def openai(url: str, name: str, profile: str, **more: Any) -> dict[str, Any]:
    """The entry of a server of the OpenAI API."""
    return {"name": name, "kind": "openai", "profile": profile, "url": f"{url}/v1", **CHECKS, **more}


@pytest.fixture(scope="session")
def running_fleet(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backends = [
        ollama(hosts.alpha, "alpha"),
        ollama(hosts.beta, "beta", models={"exclude": ["*embed*"]}),
        openai(hosts.gamma.url, "gamma", "vllm"),
        ollama(hosts.witness, "witness"),
        openai(f"{hosts.witness.url}/native", "native", "vllm"),
        openai(f"{hosts.witness.url}/foreign", "foreign", "generic"),
    ]
    aliases = {
        "quick": ["absent:1b", "alpha-only:1b", "beta-only:1b"],
        "Looking-Glass": ["witness:1b"],
        "nowhere": ["absent:1b"],
    }
    routing = {"prefer_loaded": False, "aliases": aliases}
    with program(tmp_path_factory.mktemp("fleet"), backends, routing=routing) as running:
        yield running


@pytest.fixture
def fleet(running_fleet: Program, hosts: Hosts) -> Program:
    """Everybody, with the default policy, least connections."""
    return _settled(running_fleet, hosts)


@pytest.fixture(scope="session")
def running_worn(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backends = [
        ollama(hosts.alpha, "alpha", models_interval=3600, check_interval=0.3, check_timeout=1),
        ollama(hosts.beta, "beta", models_interval=3600),
        openai(hosts.gamma.url, "gamma", "vllm", models_interval=3600),
    ]
    routing = {
        "prefer_loaded": False,
        "unknown_model": "discover",
        "retry": {"statuses": [409, 429, 500, 503]},
        "breaker": {"failures": 5, "open_seconds": 1.5},
    }
    timeouts = {"first_byte": 1.5}
    with program(tmp_path_factory.mktemp("worn"), backends, routing=routing, timeouts=timeouts) as running:
        yield running


@pytest.fixture
def worn(running_worn: Program, hosts: Hosts) -> Program:
    """For faults: short timeouts, a breaker that closes soon, lists that are read at the start and when need be."""
    return _settled(running_worn, hosts)


@pytest.fixture(scope="session")
def running_ranked(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backends = [
        ollama(hosts.beta, "beta", priority=50),
        ollama(hosts.alpha, "alpha", priority=100),
        openai(hosts.gamma.url, "gamma", "vllm", max_concurrency=1),
    ]
    routing = {
        "policy": "priority",
        "prefer_loaded": False,
        "unknown_model": "any",
        "queue": {"max_waiting": 2, "max_wait_seconds": 20},
    }
    with program(tmp_path_factory.mktemp("ranked"), backends, routing=routing) as running:
        yield running


@pytest.fixture
def ranked(running_ranked: Program, hosts: Hosts) -> Program:
    """`alpha` before `beta`, unknown models to anybody, and one request at a time at `gamma`."""
    return _settled(running_ranked, hosts)


@pytest.fixture(scope="session")
def running_turning(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backends = [ollama(hosts.alpha, "alpha"), ollama(hosts.beta, "beta")]
    routing = {"policy": "round-robin", "prefer_loaded": False, "sticky": {"enabled": True}}
    with program(tmp_path_factory.mktemp("turning"), backends, routing=routing) as running:
        yield running


@pytest.fixture
def turning(running_turning: Program, hosts: Hosts) -> Program:
    """Who has no session goes to one after the other."""
    return _settled(running_turning, hosts)


@pytest.fixture(scope="session")
def running_guarded(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    backends = [ollama(hosts.alpha, "alpha"), ollama(hosts.witness, "witness")]
    limits = {
        "max_body_bytes": 4000,
        "max_header_bytes": 4096,
        "requests_per_minute_per_address": 60,
        "burst": 3,
        "trusted_proxies": ["127.0.0.0/8"],
    }
    server = {"cors_origins": ["https://app.example.com"], "cors_credentials": True}
    with program(tmp_path_factory.mktemp("guarded"), backends, limits=limits, server=server) as running:
        yield running


@pytest.fixture
def guarded(running_guarded: Program, hosts: Hosts) -> Program:
    """With limits. The tests come in as the proxy that it trusts, each for a client of its own."""
    return _settled(running_guarded, hosts)


@pytest.fixture(scope="session")
def running_drop_in(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropIn]:
    folder = tmp_path_factory.mktemp("drop-in")
    file = folder / "config.yaml"
    file.write_text(olla_file(hosts))
    token = folder / "token"
    token.write_text("bearer-secret\n")
    port = FRONT_PORT if is_free(FRONT_PORT) else free_port()
    variables = {"API_KEY_OF_TWO": "key-secret", "TOKEN_FILE": str(token)}
    secrets = ("bearer-secret", "key-secret", "word-secret", "team-secret")
    elsewhere = {} if port == FRONT_PORT else {"OLLA_SERVER_PORT": str(port)}
    with serving(folder, ["--olla-config", str(file)], port, {**variables, **elsewhere}) as running:
        yield DropIn(running, file, port == FRONT_PORT, variables, secrets)


@pytest.fixture
def drop_in(running_drop_in: DropIn, hosts: Hosts) -> DropIn:
    """Started as Olla was: from its own file, where that says nothing of a port."""
    _settled(running_drop_in.program, hosts)
    return running_drop_in


@pytest.fixture(scope="session")
def checked(running_drop_in: DropIn, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """What `arriero check` says of the same file, every setting of it."""
    flags = ("--olla-config", str(running_drop_in.file), "--no-probe", "--all")
    return run(tmp_path_factory.mktemp("checked"), "check", *flags, **running_drop_in.variables)


@pytest.fixture
def arriero(tmp_path: Path) -> Arriero:
    """One command of arriero to its end, in the test's folder."""
    return partial(run, tmp_path)


def _settled(running: Program, hosts: Hosts) -> Program:
    hosts.as_new()
    wait_well(running)
    return running

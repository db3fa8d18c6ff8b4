"""Model lists of the running program while a backend hangs: the lists are of what is known, and wait for nobody."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.hosts import Host, listed
from support.program import Program, program, until

HANGS = 600
"""Seconds that a check may take here: whoever waited for one would be a test that fails."""


class Running(NamedTuple):
    """The program, and the two model servers behind it."""

    program: Program
    alpha: Host
    beta: Host


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    alpha = Host("alpha", tmp_path / "alpha", ["tiny:1b", "big:70b"])
    beta = Host("beta", tmp_path / "beta", ["vendor-x"])
    checks = {"check_interval": 0.2, "check_timeout": HANGS}
    backends: list[Mapping[str, Any]] = [
        {"name": "alpha", "kind": "ollama", "url": alpha.url, **checks},
        {"name": "beta", "kind": "openai", "url": f"{beta.url}/v1", "profile": "generic", **checks},
    ]
    try:
        for host in (alpha, beta):
            host.start()
        with program(tmp_path, backends) as it:
            until(lambda: len(listed(it, "")) == 3)
            yield Running(it, alpha, beta)
    finally:
        for host in (alpha, beta):
            host.kill()


def ids(program: Program) -> list[str]:
    """The ids of an OpenAI listing, in its order."""
    return [model["id"] for model in program.get("/v1/models")["data"]]


def test_a_backend_that_hangs_delays_no_list(running: Running) -> None:
    it, alpha, beta = running
    before = (listed(it, ""), ids(it))
    assert (sorted(before[0]), sorted(before[1])) == (
        ["big:70b", "tiny:1b", "vendor-x:latest"],
        ["big:70b", "tiny:1b", "vendor-x"],
    )
    for host, path in ((alpha, "/api/tags"), (beta, "/v1/models")):
        host.fault("hang", path)
        asked = host.came(path)
        until(lambda host=host, path=path, asked=asked: host.came(path) > asked)  # the question is on its way
    assert (listed(it, ""), ids(it)) == before
    assert listed(it, "/olla/ollama") == [name for name in before[0] if name != "vendor-x:latest"]


def test_a_list_is_refreshed_in_the_background(running: Running) -> None:
    it, alpha, _ = running
    alpha.add("new:1b")
    until(lambda: "new:1b" in listed(it, ""))
    assert "new:1b" in ids(it)
    alpha.remove("big:70b")
    until(lambda: "big:70b" not in ids(it))
    assert "big:70b" not in listed(it, "")


def test_models_of_a_backend_that_is_gone_leave_the_list_and_come_back(running: Running) -> None:
    it, alpha, _ = running
    alpha.kill()
    until(lambda: listed(it, "") == ["vendor-x:latest"])
    assert ids(it) == ["vendor-x"]
    alpha.start()
    until(lambda: len(ids(it)) == 3)
    assert sorted(listed(it, "")) == ["big:70b", "tiny:1b", "vendor-x:latest"]

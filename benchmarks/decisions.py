"""A large fleet without a network: what a decision costs, and what the catalog weighs.

The backends list their models in bytes, as Ollama servers do, and the gateway's own readers take them in: nothing is
shared between two backends that a network would not share.
"""

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import structlog

from arriero.backends.base import Backend
from arriero.canonical.catalog import LoadedModel, ModelCard
from arriero.dialects.ollama import DIALECT
from arriero.dialects.ollama.catalog import read_tags
from arriero.dialects.profiles import profile_of
from arriero.gateway.choice import Choice, Routing
from arriero.gateway.entry import Seat
from arriero.gateway.lane import Inbound
from arriero.gateway.outcome import Outcome
from arriero.gateway.reading import Reading
from arriero.gateway.roster import Roster
from arriero.routing.decide import Rules
from arriero.routing.policies import POLICIES
from benchmarks.processes import rss_mib

BACKENDS = 500
MODELS = 5_000
COPIES = (1, 3, 10)
"""Each model is on so many backends: a third of the models on 1, a third on 3, a third on 10."""

LOADED = 2
"""Of its models a backend has so many in memory."""

EVERYWHERE = "everywhere:8b"
"""One more model that every backend has: the longest list of candidates."""

_FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "mistral", "phi3", "deepseek2", "nomic-bert")
_SIZES = ("1.2B", "3.8B", "7B", "8.0B", "14.8B", "30.5B", "70.6B")
_ABLE = (("completion",), ("completion", "tools"), ("completion", "vision"), ("completion", "tools", "thinking"))
_LEVELS = ("Q4_K_M", "Q8_0", "F16", "Q5_K_S")


_ASKED = {
    "model": "any",
    "messages": [{"role": "system", "content": "Be brief. " * 20}, {"role": "user", "content": "Why is the sky blue?"}],
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of a whole decision by policy, for a model on `candidates` backends. Under `capability` the request
    is read as well, to know what it needs.
    """

    candidates: int
    us: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Weight:
    """MiB of the catalog of all backends: what Python has allocated, and how much the process has grown."""

    allocated_mib: float
    resident_mib: float
    offers: int


class Listing:
    """A backend of which only the lists are asked."""

    kind = "ollama"
    profile = profile_of("ollama")
    library = has_memory = True
    curated = silent = False
    broken: Mapping[str, str] = MappingProxyType({})

    def __init__(self, name: str, models: list[int]) -> None:
        self.name = name
        self.models = models
        self.cards: tuple[ModelCard, ...] = ()

    async def check(self) -> None: ...

    async def close(self) -> None: ...

    async def list_models(self) -> tuple[ModelCard, ...]:
        """From bytes that nobody else has."""
        self.cards = read_tags(tags(self.models, int(self.name[3:])))
        return self.cards

    async def list_loaded(self) -> tuple[LoadedModel, ...]:
        """The first ones."""
        return tuple(LoadedModel(card=card) for card in self.cards[:LOADED])


def model_name(number: int) -> str:
    """Names as they are in the wild: half of them with an owner."""
    family, size = _FAMILIES[number % len(_FAMILIES)], _SIZES[number % len(_SIZES)].lower()
    owner = f"team{number % 97}/" if number % 2 else ""
    return f"{owner}{family}-{number}:{size}"


def tags(models: list[int], backend: int) -> bytes:
    """The bytes of /api/tags, as Ollama writes them. The same model came to each backend at another time."""
    entries = []
    for number in models:
        name = EVERYWHERE if number < 0 else model_name(number)
        family = _FAMILIES[number % len(_FAMILIES)]
        details = {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": _SIZES[number % len(_SIZES)],
            "quantization_level": _LEVELS[number % len(_LEVELS)],
            "context_length": 4096 << number % 6,
            "embedding_length": 1024 << number % 3,
        }
        entries.append(
            {
                "name": name,
                "model": name,
                "modified_at": f"2026-0{1 + backend % 9}-{10 + number % 19}T03:04:05.{backend:09d}+02:00",
                "size": 1_000_000_000 + number * 7_919,
                "digest": f"{number & 0xFFFFFFFF:064x}",
                "details": details,
                "capabilities": _ABLE[number % len(_ABLE)],
            }
        )
    return json.dumps({"models": entries}, separators=(",", ":")).encode()


def placed() -> list[list[int]]:
    """Which models each backend has."""
    found: list[list[int]] = [[-1] for _ in range(BACKENDS)]
    place = 0
    for number in range(MODELS):
        for _ in range(COPIES[number % len(COPIES)]):
            found[place % BACKENDS].append(number)
            place += 1
    return found


async def fleet() -> Roster:
    """The roster that has asked all of them."""
    seats = [
        # Nothing is sent: the other half of a backend is not needed.
        (cast(Backend, Listing(f"gpu{number:03d}", models)), Seat(max_concurrency=64, check_interval=0))
        for number, models in enumerate(placed())
    ]
    roster = Roster(seats)
    await roster.refresh()
    _ = roster.names
    return roster


# ---- decisions -----------------------------------------------------------------------------------------------------


def measure(roster: Roster, rounds: int) -> list[Cost]:
    """What decisions cost by policy, `rounds` of each kind."""
    asked = {
        copies: [model_name(number) for number in range(MODELS) if COPIES[number % len(COPIES)] == copies][:rounds]
        for copies in COPIES
    }
    asked[BACKENDS] = [EVERYWHERE] * max(1, rounds // 20)
    return [
        Cost(candidates, {policy: _decision_us(roster, policy, names) for policy in POLICIES})
        for candidates, names in asked.items()
    ]


def _decision_us(roster: Roster, policy: str, names: list[str]) -> float:
    """The best of three: name, snapshot, decision and lease, and the place given back."""
    routing = Routing(rules=Rules(policy))
    inbound = Inbound("POST", "/api/chat", (), json.dumps(_ASKED).encode(), None, "id", 0)
    endpoint = DIALECT.by_path[inbound.path]
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        for name in names:
            choice = Choice(inbound, roster, routing, Outcome(), Reading(inbound, DIALECT, endpoint))
            choice.find_at_once(name)
            roster.give_back(choice.next().entry)
        best = min(best, time.perf_counter() - begun)
    return best * 1e6 / len(names)


# ---- memory --------------------------------------------------------------------------------------------------------


def weigh() -> Weight:
    """The weight of the catalog in this process, which should be a fresh one."""
    with asyncio.Runner() as runner:
        before = rss_mib(os.getpid())
        roster = runner.run(fleet())
        gc.collect()
        grown = rss_mib(os.getpid()) - before
        offers = sum(len(entry.cards) for entry in roster.entries.values())
        del roster
        # Once more: what was made and kept at the first use is not the catalog's.
        gc.collect()
        tracemalloc.start()
        _kept = runner.run(fleet())
        gc.collect()
        allocated = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return Weight(allocated / 2**20, grown, offers)


# ---- processes -----------------------------------------------------------------------------------------------------


def in_fresh_processes(rounds: int) -> tuple[list[Cost], Weight]:
    """Both measurements, each in a process of its own that does nothing else."""
    return [Cost(**found) for found in asked("measure", str(rounds))], Weight(**asked("weigh"))


def asked(*arguments: str) -> Any:
    """What a fresh process answers to these arguments of `main`."""
    command = [sys.executable, "-m", "benchmarks.decisions", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout)


def main(arguments: Sequence[str]) -> None:
    """`measure ROUNDS` or `weigh`: the numbers as JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if arguments[0] == "weigh":
        print(json.dumps(asdict(weigh())))
        return
    with asyncio.Runner() as runner:
        costs = measure(runner.run(fleet()), int(arguments[1]))
    print(json.dumps([asdict(cost) for cost in costs]))


if __name__ == "__main__":
    main(sys.argv[1:])

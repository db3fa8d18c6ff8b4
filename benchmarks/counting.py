"""What counting and the log line of each exchange cost: the same load on an arriero with them and on one without."""

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from benchmarks import rig
from benchmarks.cases import CASES, Case, Effort, measure, until_ready
from benchmarks.rig import Peer

REQUEST = next(case for case in CASES if case.model == "llama-bench" and not case.stream)
CHUNK = next(case for case in CASES if case.model == "llama-bench" and case.stream)

WHOLE, UNCOUNTED, UNLOGGED = "arriero", "benchmarks.uncounted", "benchmarks.unlogged"

MORE_ROUNDS = 2
"""Than other rows have: the differences are small."""


@dataclass(frozen=True, slots=True)
class Counting:
    """CPU microseconds that each adds: the median of the rounds' differences."""

    request_us: float
    line_us: float
    chunk_us: float


def run(effort: Effort) -> Counting:
    """All run at once, and take turns. Raises `Wrong` and `NotStarted`."""
    with ExitStack() as stack:
        backend = stack.enter_context(rig.backend())
        peers = {
            module: stack.enter_context(rig.arriero(backend, module=module)) for module in (WHOLE, UNCOUNTED, UNLOGGED)
        }
        for peer in peers.values():
            until_ready(peer)
        fewer = replace(effort, requests=max(effort.requests // 2, 1), chunks=max(effort.chunks // 2, 1))
        requests = [_costs(REQUEST, peers, fewer, turn) for turn in range(effort.rounds + MORE_ROUNDS)]
        two = {module: peers[module] for module in (WHOLE, UNCOUNTED)}
        chunks = [_costs(CHUNK, two, fewer, turn) for turn in range(effort.rounds)]
    return Counting(_added(requests, UNCOUNTED), _added(requests, UNLOGGED), _added(chunks, UNCOUNTED))


def _costs(case: Case, peers: Mapping[str, Peer], effort: Effort, turn: int) -> Mapping[str, float]:
    """Of one round. Who goes first changes with each: the others find warmer caches."""
    first = turn % len(peers)
    order = [*peers][first:] + [*peers][:first]
    return {module: measure(case, peers[module], effort).us for module in order}


def _added(rounds: list[Mapping[str, float]], without: str) -> float:
    return statistics.median([costs[WHOLE] - costs[without] for costs in rounds])

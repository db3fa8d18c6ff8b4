"""`make bench`: what arriero costs beside nginx on this machine, measured in the same run; what a decision in a large
fleet costs; and what clients see while backends are killed.

Prints one table and writes `benchmarks/results/latest.json`. Everything listens on loopback; every loop ends by
count or by time. Rounds are interleaved (nginx, arriero, nginx, arriero, ...), and the median of the rounds counts.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks import blobs, chaos, counting, decisions, engine_costs, listing, machine, rig
from benchmarks.asking import Verdict
from benchmarks.cases import (
    CASES,
    FULL,
    QUICK,
    TINY,
    Effort,
    Wrong,
    measure,
    open_streams_mib,
    start_seconds,
    until_ready,
)
from benchmarks.processes import NotStarted, rss_mib

RESULTS = rig.HERE / "results"
START_GOAL_SECONDS = 1.5
RSS_GOAL_MIB = 110.0
STREAMS_GOAL_MIB = 10.0
DECISION_GOAL_US = 30.0
CATALOG_GOAL_MIB = 20.0
LEFT_ALONE_GOAL_SECONDS = 1.0
COUNTING_GOAL_US = 5.0
LIST_GOAL_MS = 30.0
TOKEN_GOAL_US = 60.0
READY_GOAL_MS = 150.0
HEADER_GOAL_MS = 60.0
HEADER_GOAL_MIB = 10.0
BLOB_GOAL = 1 / 0.7
"""Of the time that the other one takes: 70 % of its speed."""
BLOB_GOAL_MIB = 20.0

MAX_ODD = 20
"""Of the requests that went wrong, so many are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report. `ours` and `theirs` are in `unit`; the goal is for the ratio, or for `ours` alone. What
    has none is there to be known.
    """

    name: str
    unit: str
    ours: float
    theirs: float | None = None
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours by theirs; `None` where nothing is compared, or where theirs is too little to be measured."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; `None` without one."""
        if self.goal is None:
            return None
        return (self.ours if self.theirs is None else self.ratio or 0.0) <= self.goal


def compare(effort: Effort) -> list[Row]:
    """The rows that put arriero beside nginx, and its memory."""
    costs: dict[tuple[str, str], list[float]] = {}
    with rig.backend() as port, rig.peers(port, ("nginx", "arriero")) as peers:
        for peer in peers:
            until_ready(peer)
        ours = peers[1]
        at_rest = rss_mib(ours.pid)
        for _ in range(effort.rounds):
            for case in CASES:
                for peer in peers:
                    costs.setdefault((case.name, peer.name), []).append(measure(case, peer, effort).us)
        rows = [
            Row(
                case.name,
                "us CPU",
                statistics.median(costs[case.name, "arriero"]),
                statistics.median(costs[case.name, "nginx"]),
                case.goal,
            )
            for case in CASES
        ]
        rows.append(Row("memory at rest", "MiB", at_rest, None, RSS_GOAL_MIB))
        if effort.open_streams:
            more = open_streams_mib(ours, effort)
            rows.append(Row("memory per 1,000 open streams", "MiB", more, None, STREAMS_GOAL_MIB))
    return rows


def counted(effort: Effort) -> list[Row]:
    """The rows of what counting and log lines add."""
    added = counting.run(effort)
    return [
        Row("counting adds to a request", "us CPU", added.request_us, goal=COUNTING_GOAL_US),
        Row("  and to a lone chunk", "us CPU", added.chunk_us),
        Row("a log line adds to a request", "us CPU", added.line_us),
    ]


def long_lists(effort: Effort) -> list[Row]:
    """The rows of a list of thousands of models; the first one after a change of the catalog is written anew."""
    if not effort.lists:
        return []
    found = listing.run(rig.RUN, effort.starts, effort.lists)
    many = f"{listing.MODELS:,}"
    return [
        *(Row(f"model list of {many}, {one.path}", "ms CPU", one.again_ms, goal=LIST_GOAL_MS) for one in found),
        *(Row(f"  the first one, {one.path}", "ms CPU", one.first_ms) for one in found),
    ]


def first_answer(effort: Effort) -> list[Row]:
    """The rows of a start with the built-in model: the median of several starts."""
    starts = [start_seconds() for _ in range(effort.starts)]
    if not starts:
        return []
    seconds = statistics.median(seconds for seconds, _ in starts)
    return [Row("start to first answer (built-in model)", "s", seconds, None, START_GOAL_SECONDS)]


def engine(effort: Effort) -> list[Row]:
    """The rows of the embedded engine: what the gateway adds to a token, a model's start, a large file's header."""
    if not effort.tokens:
        return []
    found = engine_costs.tokens(rig.RUN, effort.tokens, effort.rounds)
    header = engine_costs.header(rig.RUN, 5)
    whole = engine_costs.header(rig.RUN, 2, whole_arrays=True)
    ready = engine_costs.ready_seconds(max(3, effort.starts)) * 1e3
    return [
        *(Row(f"engine token, {one.path}", "us CPU", one.us, goal=TOKEN_GOAL_US) for one in found),
        Row("engine process ready (built-in model)", "ms", ready, goal=READY_GOAL_MS),
        Row("header of 128,000 tokens", "ms", header.ms, goal=HEADER_GOAL_MS),
        Row("  and in memory", "MiB", header.mib, goal=HEADER_GOAL_MIB),
        Row("  with all of its arrays", "ms", whole.ms),
        Row("  and in memory", "MiB", whole.mib),
    ]


def large_blobs(effort: Effort) -> list[Row]:
    """The rows of a large blob that is uploaded and pulled. What is beside it is not nginx."""
    if not effort.blob_mib or blobs.missing():
        return []
    rows: list[Row] = []
    for name, moved in zip(("upload", "pull"), blobs.run(rig.RUN, effort.blob_mib, effort.rounds), strict=True):
        other = {"upload": "dd", "pull": "curl"}[name]
        rows += [
            Row(f"{name} of {effort.blob_mib:,} MiB, beside {other}", "s", moved.ours, moved.theirs, BLOB_GOAL),
            Row(f"  beside {other} and openssl dgst", "s", moved.ours, moved.hashed),
            Row("  memory grows by", "MiB", moved.grown_mib, goal=BLOB_GOAL_MIB),
        ]
    return rows


def large_fleet(effort: Effort) -> list[Row]:
    """The rows of decisions in a large fleet, by how many backends have the model: the dearest policy counts."""
    if not effort.decisions:
        return []
    costs, weight = decisions.in_fresh_processes(effort.decisions)
    models = f"{decisions.BACKENDS} backends, {decisions.MODELS:,} models"
    return [
        *(
            # On every backend the model of a goal would not be: that is the longest list there can be.
            Row(
                f"decision among {cost.candidates} of {decisions.BACKENDS} backends",
                "us",
                max(cost.us.values()),
                goal=DECISION_GOAL_US if cost.candidates < decisions.BACKENDS else None,
            )
            for cost in costs
        ),
        Row(f"catalog, {models}", "MiB", weight.allocated_mib, goal=CATALOG_GOAL_MIB),
        Row("  the same, as the process grows", "MiB", weight.resident_mib),
    ]


def killed_backends(effort: Effort) -> tuple[list[Row], list[str]]:
    """The rows of the play in which backends are killed, and in words what went wrong in it."""
    if effort.chaos is None:
        return [], []
    folder = rig.RUN / "chaos"
    folder.mkdir()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(chaos.run(folder, effort.chaos))
    counts = report.verdicts
    back = chaos.RETURN_SECONDS if report.back_seconds is None else report.back_seconds
    rows = [
        Row("chaos: failed before the first byte", f"of {report.requests}", counts[Verdict.FAILED], goal=0),
        Row("chaos: hung", f"of {report.requests}", counts[Verdict.HUNG], goal=0),
        Row("chaos: cut, and not told so", f"of {report.requests}", counts[Verdict.SILENT], goal=0),
        Row("chaos: cut, and told so", f"of {report.requests}", counts[Verdict.TOLD]),
        Row("chaos: whole, from another backend", f"of {report.requests}", report.moved),
        Row("dead backend, first to last request", "s", report.left_alone_seconds, goal=LEFT_ALONE_GOAL_SECONDS),
        Row("revived backend, until its first request", "s", back, goal=chaos.CHECK_SECONDS + 1.0),
    ]
    return rows, report.odd


def table(rows: Sequence[Row], about: dict[str, str]) -> str:
    """The report as text."""
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['kernel']}, {about['python']}",
        "",
        f"{'':42} {'arriero':>9} {'nginx':>9} {'ratio':>7} {'goal':>7}",
    ]
    for row in rows:
        theirs = "" if row.theirs is None else f"{row.theirs:.1f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        goal = "" if row.goal is None else f"<= {row.goal:g}"
        met = {None: "", True: "met", False: "MISSED"}[row.met]
        lines.append(f"{row.name:42} {row.ours:9.2f} {theirs:>9} {ratio:>7} {goal:>7} {met:7} {row.unit}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when everything was measured, 1 when something did not run, 2 when this machine lacks a program.

    Goals that are missed are printed and change nothing.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="one round, in less than a minute")
    how.add_argument("--tiny", action="store_true", help="a few requests: shows that everything runs, measures nothing")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="where the numbers go as JSON")
    options = parser.parse_args(arguments)
    effort = TINY if options.tiny else QUICK if options.quick else FULL
    if lacking := rig.missing():
        print(f"the benchmark needs {', '.join(lacking)}", file=sys.stderr)
        return 2
    rig.build()
    try:
        rows = compare(effort) + counted(effort) + first_answer(effort) + long_lists(effort) + large_fleet(effort)
        rows += engine(effort) + large_blobs(effort)
        played, odd = killed_backends(effort)
        rows += played
    except (NotStarted, Wrong) as error:
        print(f"nothing was measured: {error}", file=sys.stderr)
        return 1
    finally:
        rig.clear()
    about = machine.describe()
    print("\n".join([table(rows, about), *odd[:MAX_ODD]]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows]
    options.output.write_text(json.dumps({"machine": about, "effort": asdict(effort), "rows": found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Backends that are killed and come back while many clients ask: the harness of `make bench`, for a short while.

How long things take is for the benchmark; here it only has to come right.
"""

import asyncio
from pathlib import Path

import uvloop

from benchmarks import chaos
from benchmarks.asking import Verdict


def test_a_dead_backend_costs_nobody_an_answer_that_has_not_begun(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(chaos.run(tmp_path, chaos.SHORT))
    assert report.odd == []
    bad = (Verdict.FAILED, Verdict.HUNG, Verdict.SILENT)
    assert {verdict: report.verdicts[verdict] for verdict in bad} == dict.fromkeys(bad, 0)
    assert [kill.host for kill in report.kills] == list(chaos.HOSTS)
    # The kills were felt: some answers were cut and told so, or came from another backend than the one asked first.
    assert report.verdicts[Verdict.TOLD] + report.moved > 0
    # Every revived one was found again, and nothing is still held for clients that have long had their answers.
    assert [kill.host for kill in report.kills if kill.asked_at is None] == []
    assert report.left == 0

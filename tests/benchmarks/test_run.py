"""The benchmark runs and reports every row; what the numbers are is for people to judge."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import blobs, rig
from benchmarks.cases import CASES, TINY
from benchmarks.run import Row, engine, large_blobs, main, table
from support.engine import needs_engine

LACKING = rig.missing()
LACKING_MORE = [*LACKING, *blobs.missing()]


@pytest.mark.skipif(bool(LACKING), reason=f"this machine lacks {', '.join(LACKING)}")
def test_every_row_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "latest.json"
    status = main(["--tiny", "--output", str(output)])
    printed, complaints = capsys.readouterr()
    assert (status, complaints) == (0, "")
    found = json.loads(output.read_text())
    assert [row["name"] for row in found["rows"]] == [
        *(case.name for case in CASES),
        "memory at rest",
        "counting adds to a request",
        "  and to a lone chunk",
        "a log line adds to a request",
    ]
    assert all(row["name"] in printed for row in found["rows"])
    assert set(found["machine"]) == {"cpu", "cores", "kernel", "python"}


@needs_engine
@pytest.mark.skipif(bool(LACKING_MORE), reason=f"this machine lacks {', '.join(LACKING_MORE)}")
def test_the_rows_of_the_engine_and_of_blobs() -> None:
    rig.build()
    try:
        rows = engine(replace(TINY, tokens=40)) + large_blobs(replace(TINY, blob_mib=8))
    finally:
        rig.clear()
    assert [(row.name, row.unit) for row in rows] == [
        ("engine token, /api/chat", "us CPU"),
        ("engine token, /v1/chat/completions", "us CPU"),
        ("engine process ready (built-in model)", "ms"),
        ("header of 128,000 tokens", "ms"),
        ("  and in memory", "MiB"),
        ("  with all of its arrays", "ms"),
        ("  and in memory", "MiB"),
        ("upload of 8 MiB, beside dd", "s"),
        ("  beside dd and openssl dgst", "s"),
        ("  memory grows by", "MiB"),
        ("pull of 8 MiB, beside curl", "s"),
        ("  beside curl and openssl dgst", "s"),
        ("  memory grows by", "MiB"),
    ]
    assert all(row.ours >= 0 for row in rows)


def test_the_table() -> None:
    rows = [
        Row("request", "us CPU", 50.0, 20.0, 4.0),
        Row("chunk", "us CPU", 60.0, 20.0, 2.5),
        Row("memory", "MiB", 50.0, None, 110.0),
    ]
    about = {"cpu": "a CPU", "cores": "2", "kernel": "Linux 6", "python": "CPython 3.11"}
    assert table(rows, about).splitlines() == [
        "a CPU, 2 cores, Linux 6, CPython 3.11",
        "",
        "                                             arriero     nginx   ratio    goal",
        "request                                        50.00      20.0    2.50    <= 4 met     us CPU",
        "chunk                                          60.00      20.0    3.00  <= 2.5 MISSED  us CPU",
        "memory                                         50.00                    <= 110 met     MiB",
    ]


def test_a_machine_without_the_programs_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rig, "NGINX", None)
    assert main(["--tiny"]) == 2
    assert capsys.readouterr().err == "the benchmark needs nginx\n" if rig.GCC else True

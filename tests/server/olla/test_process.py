"""What this process says of itself, with nothing that it cannot know."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from arriero.server.olla.process import Memory, memory, process

STATUS = """Name:\tpython
Umask:\t0022
VmPeak:\t  204800 kB
VmRSS:\t   30720 kB
VmData:\t   51200 kB
VmStk:\t     132 kB
Threads:\t3
"""


def test_memory_is_what_the_system_tells(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(STATUS)
    told = memory(status)
    assert (told.heap_inuse, told.heap_sys, told.stack_inuse) == ("30.00 MB", "50.00 MB", "132.00 KB")
    assert told.memory_pressure == "LOW"
    assert (told.heap_alloc, told.heap_released, told.total_alloc) == (None, None, None)


def test_a_process_that_fills_the_machine(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(f"VmRSS:\t{1 << 50} kB\n")
    assert memory(status).memory_pressure == "HIGH"


@pytest.mark.parametrize("text", [None, "", "VmRSS:\nVmData: much kB\nVmStk: 5 MB\nodd line\n"])
def test_what_the_system_does_not_tell_is_not_known(tmp_path: Path, text: str | None) -> None:
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    assert memory(status) == Memory(heap_sys=None, heap_inuse=None, stack_inuse=None, memory_pressure=None)


def test_the_whole_answer_has_ollas_keys() -> None:
    told = msgspec.to_builtins(process(1_700_009_000.0, 1_700_000_000.0), builtin_types=(datetime,))
    assert {name: set(value) for name, value in told.items() if isinstance(value, dict)} == {
        "memory": {
            "heap_alloc",
            "heap_sys",
            "heap_inuse",
            "heap_released",
            "stack_inuse",
            "total_alloc",
            "memory_pressure",
        },
        "garbage_collection": {"last_gc", "total_gc_time", "avg_gc_pause", "gc_cpu_fraction", "num_gc_cycles"},
        "goroutines": {"health_status", "count", "cgo_calls"},
        "runtime": {"uptime", "go_version", "num_cpu", "gomaxprocs"},
        "allocations": {"total_mallocs", "total_frees", "net_objects"},
    }
    assert told["timestamp"] == datetime.fromtimestamp(1_700_009_000, UTC)
    assert told["runtime"]["uptime"] == "2h 30m"
    assert told["runtime"]["go_version"] == f"python {platform.python_version()}"
    assert told["goroutines"]["health_status"] == "HEALTHY"
    assert told["goroutines"]["count"] >= 1
    assert told["runtime"]["num_cpu"] >= told["runtime"]["gomaxprocs"] >= 1
    assert told["allocations"]["net_objects"] > 1000
    unknown = [told["allocations"]["total_mallocs"], told["garbage_collection"]["total_gc_time"]]
    assert unknown == [None, None]


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux has /proc")
def test_linux_tells_of_this_very_process() -> None:
    told = process(1.0, 0.0).memory
    assert re.fullmatch(r"\d+\.\d\d (MB|GB)", told.heap_inuse or "")
    assert told.memory_pressure in {"LOW", "MEDIUM", "HIGH"}

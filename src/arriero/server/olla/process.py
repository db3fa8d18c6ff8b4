"""What Olla's `/internal/process` tells, as far as Python and the system know it; the rest is `null`."""

import gc
import os
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from arriero.server.olla.formats import bytes_text, uptime

PROC_STATUS = Path("/proc/self/status")
"""Where Linux tells of a process's memory; elsewhere there is no such file."""

_THREADS = ((1000, "CONCERNING"), (500, "ELEVATED"), (100, "NORMAL"))
_PRESSURE = ((0.8, "HIGH"), (0.5, "MEDIUM"))


class Memory(Struct, frozen=True, kw_only=True):
    """Of the process, as the system tells it: what it uses now, and what it has asked for."""

    heap_alloc: str | None = None
    heap_sys: str | None
    heap_inuse: str | None
    heap_released: str | None = None
    stack_inuse: str | None
    total_alloc: str | None = None
    memory_pressure: str | None


class GarbageCollection(Struct, frozen=True):
    """Python counts its rounds and keeps no times."""

    last_gc: str | None
    total_gc_time: str | None
    avg_gc_pause: str | None
    gc_cpu_fraction: float | None
    num_gc_cycles: int


class Goroutines(Struct, frozen=True):
    """Threads: a process of arriero has a handful, however many streams are open."""

    health_status: str
    count: int
    cgo_calls: int | None


class Runtime(Struct, frozen=True):
    """The interpreter and the machine."""

    uptime: str
    go_version: str
    num_cpu: int | None
    gomaxprocs: int | None


class Allocations(Struct, frozen=True):
    """Blocks of memory that the interpreter holds; it does not count what it gave back."""

    total_mallocs: int | None
    total_frees: int | None
    net_objects: int


class Process(Struct, frozen=True):
    """The answer of `/internal/process`."""

    timestamp: datetime
    memory: Memory
    garbage_collection: GarbageCollection
    goroutines: Goroutines
    runtime: Runtime
    allocations: Allocations


def process(now: float, started: float) -> Process:
    """This process now. Both are unix time."""
    threads = threading.active_count()
    return Process(
        datetime.fromtimestamp(now, UTC),
        memory(PROC_STATUS),
        GarbageCollection(None, None, None, None, sum(each["collections"] for each in gc.get_stats())),
        Goroutines(_graded(threads, _THREADS, "HEALTHY"), threads, None),
        Runtime(uptime(now - started), _python(), os.cpu_count(), _usable_cpus()),
        Allocations(None, None, sys.getallocatedblocks()),
    )


def memory(status: Path) -> Memory:
    """What the system's file says of a process's memory; all `None` where there is no such file."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    resident = _told_bytes(told.get("VmRSS"))
    return Memory(
        heap_sys=_text(_told_bytes(told.get("VmData"))),
        heap_inuse=_text(resident),
        stack_inuse=_text(_told_bytes(told.get("VmStk"))),
        memory_pressure=None if resident is None else _pressure(resident),
    )


def _told_bytes(value: str | None) -> int | None:
    number, _, unit = (value or "").strip().partition(" ")
    return int(number) * 1024 if number.isdigit() and unit == "kB" else None


def _text(size_bytes: int | None) -> str | None:
    return None if size_bytes is None else bytes_text(size_bytes)


def _pressure(resident: int) -> str | None:
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return _graded(resident / installed, _PRESSURE, "LOW")


def _graded(value: float, grades: Sequence[tuple[float, str]], least: str) -> str:
    return next((word for bound, word in grades if value > bound), least)


def _python() -> str:
    return "python " + sys.version.split(maxsplit=1)[0]


def _usable_cpus() -> int | None:
    """The processors that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count()

"""What this machine offers the engine: the package, the CPU, the cores, the memory that is free now."""

import importlib.util
import os
import platform
from pathlib import Path
from typing import Final

NEEDED_FLAGS: Final = ("avx2", "fma", "f16c", "bmi2")
"""What the wheel is compiled for on x86-64, with no choice at run time: a CPU without them gets SIGILL."""


class Machine:
    """Reads `/proc` and `/sys`, and answers `None` where there are none. Another root serves tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def missing(self) -> str | None:
        """Why the engine cannot run here, in a sentence; `None` if nothing is known to be in the way.

        The package is looked up and not imported: native code stays out of the gateway's process.
        """
        if importlib.util.find_spec("xllamacpp") is None:
            return "the engine is not installed: pip install 'arriero[engine]'"
        if platform.machine() not in ("x86_64", "AMD64"):
            return None
        flags = self._cpu_flags()
        lacking = [flag for flag in NEEDED_FLAGS if flags and flag not in flags]
        if lacking:
            return f"the engine cannot run here: this CPU lacks {', '.join(flag.upper() for flag in lacking)}"
        return None

    def cores(self) -> int:
        """Physical cores that this process may use: a second thread on the same core slows the arithmetic down."""
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
        siblings = set()
        for cpu in usable:
            text = self._read(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            siblings.add(text or str(cpu))
        return max(1, len(siblings))

    def available_bytes(self) -> int | None:
        """Memory that can be had without swapping, within the limit of the control group; `None` if unknown."""
        free = None
        for line in (self._read("proc/meminfo") or "").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        limit, used = self._read("sys/fs/cgroup/memory.max"), self._read("sys/fs/cgroup/memory.current")
        if limit and used and limit.isdigit() and used.isdigit():
            # Cached file pages count as used and are given back on demand.
            cached = 0
            for line in (self._read("sys/fs/cgroup/memory.stat") or "").splitlines():
                if line.startswith("inactive_file "):
                    cached = int(line.split()[1])
            within = max(0, int(limit) - int(used) + cached)
            return within if free is None else min(free, within)
        return free

    def _cpu_flags(self) -> frozenset[str]:
        for line in (self._read("proc/cpuinfo") or "").splitlines():
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
        return frozenset()

    def _read(self, path: str) -> str | None:
        try:
            return (self._root / path).read_text().strip()
        except OSError:
            return None

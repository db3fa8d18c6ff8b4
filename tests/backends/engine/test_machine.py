"""What is read of a machine, from a root of the test's own."""

import importlib.machinery
import importlib.util
import platform
from pathlib import Path

import pytest

from arriero.backends.engine.machine import Machine


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_available_memory_is_the_kernels_word(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 2000 kB\nMemFree: 10 kB\nMemAvailable:    1000 kB\n")
    assert Machine(tmp_path).available_bytes() == 1_024_000


def test_a_control_groups_limit_counts_and_its_cache_does_not(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemAvailable: 1000000 kB\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "1000000\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "700000\n")
    write(tmp_path, "sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 200000\n")
    assert Machine(tmp_path).available_bytes() == 500_000
    write(tmp_path, "sys/fs/cgroup/memory.max", "max\n")
    assert Machine(tmp_path).available_bytes() == 1_024_000_000


def test_nothing_is_known_without_proc(tmp_path: Path) -> None:
    assert Machine(tmp_path).available_bytes() is None
    assert Machine(tmp_path).cores() >= 1


def test_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for cpu in range(1024):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", "0-1023\n")
    assert Machine(tmp_path).cores() == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="about x86-64")
@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the engine's package is not installed")
def test_a_cpu_that_is_too_old_is_named(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "processor : 0\nflags\t\t: fpu sse4_2 avx f16c fma bmi2\n")
    assert Machine(tmp_path).missing() == "the engine cannot run here: this CPU lacks AVX2"
    write(tmp_path, "proc/cpuinfo", "processor : 0\nflags\t\t: fpu avx avx2 f16c fma bmi2\n")
    assert Machine(tmp_path).missing() is None


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert Machine(tmp_path).missing() == "the engine is not installed: pip install 'arriero[engine]'"

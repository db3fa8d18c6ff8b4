"""Processes of the rig: started on their CPU, ended with it, and what they cost in CPU time and memory."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


class NotStarted(RuntimeError):
    """A process ended or did not listen in time; the message holds the end of its output."""


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    port: int | None = None,
    cpu: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    wait_seconds: float = 15.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of a block, in a session of its own; its whole session ends with the block.

    With `port`, waits until something listens there on loopback. Raises `NotStarted`.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, start_new_session=True
        )
    try:
        if cpu is not None:
            pin(process.pid, cpu)
        if port is not None:
            wait_for_port(port, process, log, wait_seconds)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Returns when `port` takes connections; raises `NotStarted` when the process ends or `seconds` are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.005)
    tail = log.read_text(errors="replace")[-2000:]
    raise NotStarted(f"{process.args!r} does not listen on port {port} (exit code {process.poll()}):\n{tail}")


def pin(pid: int, cpu: int) -> None:
    """Keeps a process, and what it starts from now on, on one CPU, where this system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {cpu})


def free_port() -> int:
    """A TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in (PROC / str(parent) / "task").glob("*"):
            with suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree so far."""
    return sum(own_cpu_seconds(member) for member in tree(pid))


def own_cpu_seconds(pid: int) -> float:
    """User and system time of one process so far, without its children; 0 where it is gone."""
    with suppress(OSError):
        tasks = [(task / "schedstat").read_text() for task in (PROC / str(pid) / "task").iterdir()]
        if all(not text.startswith("0 ") for text in tasks):
            # Nanoseconds on the CPU, thread by thread: the scheduler's own sum, where the kernel keeps it.
            return sum(int(text.split()[0]) for text in tasks) / 1e9
        # Behind the command's closing parenthesis: state is field 3, utime 14, stime 15.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK
    return 0.0


def rss_mib(pid: int) -> float:
    """Resident memory of a process tree; what two of its processes share counts twice."""
    return sum(own_rss_mib(member) for member in tree(pid))


def own_rss_mib(pid: int) -> float:
    """Resident memory of one process, without its children; 0 where it is gone."""
    with suppress(OSError):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE / 2**20
    return 0.0

"""Looking at and signalling processes by ``/proc``: start times, descendants, marks in environments."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable


def process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, as text; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return None


def boot_id() -> str:
    """The kernel's name for the time since this host was started; empty when it has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, without itself, deepest last."""
    found: list[int] = []
    queue = [root]
    while queue:
        pid = queue.pop(0)
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                    children = [int(word) for word in file.read().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


def marked(task_run_id: str, epoch: int) -> list[int]:
    """Processes whose environment says that they belong to this attempt."""
    run = f"LANNER_TASKRUN_ID={task_run_id}".encode()
    turn = f"LANNER_EPOCH={epoch}".encode()
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if run in words and turn in words:
            found.append(int(name))
    return found


def send(pids: Iterable[int], number: int) -> None:
    """Signal these processes; those that are gone already do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since boot; None where it does not tell."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def _stat(pid: int) -> list[bytes]:
    """The fields of ``/proc/PID/stat`` after the name; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that these processes have in use; pages they share count in each."""
    return sum(int(fields[21]) for pid in pids if (fields := _stat(pid))) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of these processes and of the children they have waited for."""
    ticks = sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def ended_cpu_seconds() -> float:
    """Processor time of all children that this process has waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime

"""What a process asks of the system for itself, before user code runs in it."""

from __future__ import annotations

import os
from contextlib import suppress
from types import ModuleType

resource: ModuleType | None
try:
    import resource
except Exception:  # noqa: BLE001 - a stripped Python has none; a damaged one may raise anything
    resource = None

_LOCKS = 10
"""``RLIMIT_LOCKS``: Linux hands it down from process to process, and has not looked at it since 2.4.25."""

_EXPENDABLE = {"warm": 100, "application": 500}
"""How much rather than another process the system is to end one, when memory runs out: out of 1000."""


def join(group: str) -> None:
    """Enter the cgroup ``group``; what is forked from here on is in there too."""
    with open(f"{group}/cgroup.procs", "w") as procs:
        procs.write("0")


def expend(kind: str) -> None:
    """Be ended rather than the bootloader, when memory runs out."""
    score = "/proc/self/oom_score_adj"
    try:
        with open(score) as file:
            now = int(file.read())
        if now < _EXPENDABLE[kind]:
            with open(score, "w") as file:
                file.write(str(_EXPENDABLE[kind]))
    except OSError:
        return  # a system without such a preference


def restrict(memory_bytes: int, processes: int, mark: int) -> None:
    """Bound what this process, and each one that it starts, may take; 0: no bound of its own.

    All of them are known by their ``mark``, wherever they fork to and whatever they become. Memory counts from here on:
    what was imported ahead has reserved much that it never uses.
    """
    if memory_bytes:
        _bound("RLIMIT_DATA", _data_bytes() + memory_bytes)
    if processes and os.geteuid() and (tasks := _tasks()):  # the system does not count root's
        _bound("RLIMIT_NPROC", tasks + processes)
    if resource is not None:
        with suppress(OSError, ValueError):  # no such limit here, or a lower one
            resource.setrlimit(_LOCKS, (mark, resource.getrlimit(_LOCKS)[1]))


def _bound(name: str, most: int) -> None:
    if resource is not None:
        what = getattr(resource, name)
        _, hard = resource.getrlimit(what)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(what, (most, most))


def _data_bytes() -> int:
    """Writable memory that this process has for itself."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _tasks() -> int:
    """The processes and threads of the whole system; those of this user are among them."""
    try:
        with open("/proc/loadavg") as file:
            return int(file.read().split()[3].partition("/")[2])
    except OSError:
        return 0

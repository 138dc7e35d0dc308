"""Other processes that run the application's code, which a patch of this one does not reach: those that it has forked,
and those in which ``multiprocessing`` runs it. Looks at the system's own list, where it has one."""

from __future__ import annotations

import os
from pathlib import Path

_RUNNERS = (b"multiprocessing.spawn", b"multiprocessing.forkserver")


def found() -> int:
    """The process id of one, or 0."""
    own = _command(os.getpid())
    for pid in _children():
        command = _command(pid)  # empty where it has ended
        if command and (command == own or any(runner in command for runner in _RUNNERS)):
            return pid
    return 0


def _children() -> list[int]:
    pids: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids += map(int, task.read_text().split())
        except OSError:
            continue  # that thread has ended
    return pids


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

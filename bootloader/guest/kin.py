"""Other processes that run, or may run, the application's code, which a patch of this one does not reach: those that it
has forked, and those in which it has started this Python again. Looks at the system's own list, where it has one."""

from __future__ import annotations

import os
from pathlib import Path

_NO_CODE = b"multiprocessing.resource_tracker"


def found() -> int:
    """The process id of one, or 0."""
    own = _program(os.getpid())
    return next((pid for pid in _children() if own and _program(pid) == own and not _is_tracker(pid)), 0)


def _children() -> list[int]:
    pids: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids += map(int, task.read_text().split())
        except OSError:
            continue  # that thread has ended
    return pids


def _program(pid: int) -> str:
    """The file that it runs; empty where it has ended, or is somebody else's."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _is_tracker(pid: int) -> bool:
    """Whether it is Python's own, which runs nobody's code."""
    try:
        return _NO_CODE in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

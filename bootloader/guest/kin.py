"""Other processes that run, or may run, the application's code, which a patch of this one does not reach: those that it
has forked, and those in which it has started this Python again, itself or by others. Looks at the system's own lists,
where it has any: who is below it, and who is of its process group, although those between have ended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_NO_CODE = b"multiprocessing.resource_tracker"


def found() -> int:
    """The process id of one, or 0."""
    own = _program(os.getpid())
    others = {*_descendants(), *_group()} - {os.getpid()} if own else ()
    return next((pid for pid in sorted(others) if _program(pid) == own and not _is_tracker(pid)), 0)


def _descendants() -> Iterator[int]:
    todo = [os.getpid()]
    for pid in todo:  # grows while it is walked
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = [int(child) for child in task.read_text().split()]
            except OSError:
                continue  # that thread has ended
            todo += children
            yield from children


def _group() -> Iterator[int]:
    """Those of the group that it leads; a group that it does not lead has others in it."""
    leader = os.getpid()
    if os.getpgrp() == leader:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getpgid(int(name)) == leader:
                    yield int(name)
            except ProcessLookupError:
                continue  # it has ended


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

"""Descriptors that are ours in a process that is somebody else's."""

from __future__ import annotations

import os
from contextlib import suppress

_HIGH = range(200, 300)


def apart(descriptor: int) -> int:
    """The same under a number that is not given to a file which an application opens after closing everything."""
    free = (number for number in _HIGH if not _is_open(number))
    try:
        high = os.dup2(descriptor, next(free), inheritable=False)
    except (OSError, StopIteration):  # it may have no such number
        os.set_inheritable(descriptor, False)
        return descriptor
    os.close(descriptor)
    return high


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def identity(descriptor: int) -> tuple[int, int]:
    """What it leads to. OSError where it is closed."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def opened() -> dict[int, os.stat_result]:
    """All that are open in this process, and what each leads to."""
    found = {}
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the one that lists them is closed again
            found[int(name)] = os.fstat(int(name))
    return found

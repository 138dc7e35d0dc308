"""Descriptors that are ours in a process that is somebody else's."""

from __future__ import annotations

import fcntl
import os

_HIGH = 200


def apart(descriptor: int) -> int:
    """The same under a number that is not given to a file which an application opens after closing everything."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:
        os.set_inheritable(descriptor, False)
        return descriptor
    os.close(descriptor)
    return high


def identity(descriptor: int) -> tuple[int, int]:
    """What it leads to. OSError where it is closed."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino

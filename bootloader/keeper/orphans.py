"""What is left where a bootloader was killed with all that it would have ended: the keeper inherits that, and ends it.

A process that an application has sent away, by two forks and a session of its own, belongs to nobody once everything
above it is gone. Linux gives it to the nearest process that has asked for such, and the keeper asks. Standard library
alone.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from .. import libc


class Orphans:
    """The children of this process, but those that it had before: those of a script that became this one.

    None where it is process 1, of a container mostly: everybody's orphans come there.
    """

    def __init__(self) -> None:
        self._mine = os.getpid() != 1
        libc.adopt_orphans()
        self._spared = set(_children())

    def kill(self, but: int | None = None) -> bool:
        """Kill those that are there now, except ``but``; whether there were any. Their own children come here next."""
        found = set(_children()) - self._spared - {but} if self._mine else set[int]()
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):  # gone; or of another user, and root's to end
                os.kill(pid, signal.SIGKILL)
        return bool(found)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a system that does not tell
        return []

"""What is left where a bootloader was killed with all that it would have ended: the keeper inherits that, and ends it.

A process that an application has sent away, by two forks and a session of its own, belongs to nobody once everything
above it is gone. Linux gives it to the nearest process that has asked for such, and the keeper asks. What somebody else
sent away comes here, too, and is left alone. Standard library alone.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from .. import libc


class Orphans:
    """The children of this process, but those that it had before: those of a script that became this one.

    Where there are such, and where this is process 1, of a container mostly, what others send away comes here as well.
    Then only those count that have ``mark``, ``NAME=value``, in the environment that they were started with.
    """

    def __init__(self, mark: str) -> None:
        libc.adopt_orphans()
        self._spared = set(_children())
        self._mark = mark.encode() if self._spared or os.getpid() == 1 else None
        self._killed = set[int]()

    def kill(self, but: int | None = None) -> bool:
        """Kill those that are there now, except ``but``; whether there were any. Their own children come here next."""
        found = {pid for pid in set(_children()) - self._spared - {but} if self._is_ours(pid)}
        self._killed = found  # one that is about to end has no environment any more, and may have children still
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):  # gone; or of another user, and root's to end
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _is_ours(self, pid: int) -> bool:
        return self._mark is None or pid in self._killed or self._mark in _environment(pid).split(b"\0")


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:  # gone, or of another user, and root's to end
        return b""


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a system that does not tell
        return []

"""A little of the disk, held back: an application that fills the disk does not keep the fix for itself out.

Owns one file of no content. It is given up when a change finds no room otherwise; what that leaves of it is held again
at once, and all of it once there is much room.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..regular import regular

RESERVE_BYTES = 2 * 1024 * 1024
_LEAST_BYTES = 64 * 1024


class Reserve:
    """The file ``path``. Where it can't be made, there is no reserve, and nothing else is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._given = False

    def keep(self, size_bytes: int = RESERVE_BYTES) -> bool:
        """Have it, where it is not there yet, or not whole; whether it is there."""
        try:
            with open(self._path, "ab", opener=regular) as file:
                if os.fstat(file.fileno()).st_blocks * 512 < size_bytes and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError:
            return False
        self._given = False
        return True

    def give(self) -> None:
        """Give it up."""
        with suppress(OSError):
            self._path.unlink()
            self._given = True

    def take_back(self) -> None:
        """Where it was given up: have as much of it again as there is room for."""
        size_bytes = RESERVE_BYTES
        while self._given and size_bytes >= _LEAST_BYTES and not self.keep(size_bytes):
            size_bytes -= _LEAST_BYTES

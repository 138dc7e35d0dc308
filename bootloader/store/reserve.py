"""A little of the disk, held back: an application that fills the disk does not keep the fix for itself out.

Owns one file of no content. It is given up when a change finds no room otherwise, and made again when there is much.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 2 * 1024 * 1024


class Reserve:
    """The file ``path``. Where it can't be made, there is no reserve, and nothing else is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self) -> None:
        """Have it, where it is not there yet, or not whole."""
        with suppress(OSError), open(self._path, "ab") as file:
            if os.fstat(file.fileno()).st_blocks * 512 < RESERVE_BYTES and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def give(self) -> None:
        """Give it up."""
        with suppress(OSError):
            self._path.unlink()

"""Where a process leaves its stacks when it can't be asked for them: a piece of memory, and the signal that asks.

For an interpreter whose lock is held by a long call into C: Python's ``faulthandler`` writes without that lock. The
bootloader makes the memory, which can't grow, and reads it; the process, which has it under a descriptor of its own,
answers the signal from before user code runs in it. Where the system has no such signal, nothing is ever written.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except Exception:  # noqa: BLE001 - a stripped Python has none; a damaged one may raise anything
    fcntl = None

SIGNAL = getattr(signal, "SIGRTMAX", 0) and int(signal.SIGRTMAX) - 3
"""The signal that asks; 0 where there is none. One that nobody uses by custom: the ends of their range are taken."""

BYTES = 256 * 1024
"""Longest dump; memory that nothing was written to costs nothing."""


class Dump:
    """The bootloader's side. ``descriptor`` is for the process, too: both write and read at one position."""

    def __init__(self) -> None:
        if SIGNAL and hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("stacks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.descriptor, BYTES)
            if fcntl is not None:
                fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        else:
            self.descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # which stays empty

    def clear(self) -> None:
        """What is written from now on is another dump."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)

    @property
    def size(self) -> int:
        """How much has been written since."""
        return min(BYTES, os.lseek(self.descriptor, 0, os.SEEK_CUR))

    @property
    def text(self) -> bytes:
        """What has been written since. The application has this memory, too: it may be anything."""
        return os.pread(self.descriptor, self.size, 0)

    def close(self) -> None:
        """Give it back; once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def answer_on(descriptor: int) -> None:
    """Answer the signal there from now on, in this process and in what it forks, as long as it runs this program."""
    if SIGNAL:
        faulthandler.register(SIGNAL, file=descriptor, all_threads=True)

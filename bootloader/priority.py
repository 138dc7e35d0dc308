"""What the bootloader asks of the system for itself, so that its applications can't crowd it out."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from . import libc

_NICER = 10
_SPARED = -900


def spare() -> int:
    """Have this process, rather than others, keep its memory and get the processor: by how much it is less nice now."""
    _ask(Path("/proc/self/oom_score_adj"), str(_SPARED))
    libc.keep_in_memory()
    if os.getsid(0) in (os.getpid(), os.getppid()):  # its keeper's: where sessions share the processor among them
        _ask(Path("/proc/self/autogroup"), str(-_NICER))
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(OSError):  # not ours to ask for
        os.setpriority(os.PRIO_PROCESS, 0, before - _NICER)
    return before - os.getpriority(os.PRIO_PROCESS, 0)


def _ask(file: Path, text: str) -> None:
    with suppress(OSError):  # no such system, or not ours to ask for
        file.write_text(text)

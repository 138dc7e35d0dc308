"""What the bootloader asks of the system for itself, so that its applications can't crowd it out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def urgent() -> Iterator[None]:
    """This process comes before all that is not urgent meanwhile, however many they are. Only root may ask for that."""
    if not hasattr(os, "sched_setscheduler"):  # no such system
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        _schedule(os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        yield
    finally:
        _schedule(*before)


def _schedule(policy: int, parameters: os.sched_param) -> None:
    """For all threads: one that has to wait for another is no faster than that."""
    with suppress(OSError), os.scandir("/proc/self/task") as threads:  # where the system tells of them
        for thread in threads:
            with suppress(OSError):  # not ours to ask for, or it has ended
                os.sched_setscheduler(int(thread.name), policy, parameters)


def _ask(file: Path, text: str) -> None:
    with suppress(OSError):  # no such system, or not ours to ask for
        file.write_text(text)

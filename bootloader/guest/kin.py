"""Other processes that run, or may run, the application's code, which a patch of this one does not reach: those that it
has forked, and those in which it has started this Python again, itself or by others. Looks at the system's own lists,
where it has any: who is below it; and, although those between have ended, who is of its process group, or has its mark,
which whatever it starts inherits (see ``limits``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from time import monotonic, sleep

from .. import libc

_NO_CODE = b"multiprocessing.resource_tracker"
_MARK = b"Max file locks"
_NO_MARK = b"unlimited"
_BECOMES_S, _LOOK_S = 0.5, 0.002

_adopted = False


def adopt_orphans() -> None:
    """Whatever loses its parent below this process comes to it: those that it forks find their kin below it."""
    global _adopted
    _adopted = libc.adopt_orphans()


def found() -> int:
    """The process id of one, or 0."""
    own = _program("self")
    return next((pid for pid in _others(own) if not _is_tracker(pid)), 0) if own else 0


def _others(program: str) -> Iterator[int]:
    """Those that run ``program``, below it or elsewhere; a group that it does not lead has others in it."""
    this = os.getpid()
    yield from (pid for pid in _below(this) if _program(pid) == program)
    if os.getpgrp() == this:
        mark = _mark("self")
        for pid in _candidates(this):
            if pid != this and _program(pid) == program and (_group(pid) == this or mark == _mark(pid) != _NO_MARK):
                yield pid


def _candidates(this: int) -> Iterable[int]:
    """Those that may be its own: not all processes of the system are looked at, where that can be done without."""
    if _adopted and os.path.exists(f"/proc/self/task/{this}/children"):
        return _below(os.getppid(), but=this)
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def _below(pid: int, but: int = 0) -> Iterator[int]:
    """All that come of a process, by whichever of its threads, and are not below ``but``."""
    todo = [pid]
    for parent in todo:  # grows while it is walked
        for child in _children(parent):
            if child != but:
                todo.append(child)
                yield child


def _children(pid: int) -> Iterator[int]:
    for task in _tasks(pid):
        yield from map(int, _read(f"/proc/{pid}/task/{task}/children").split())


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has ended


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0  # it has ended


def _mark(pid: int | str) -> bytes:
    """By what the processes of one application are known; where none is known, what says so."""
    _, _, told = _read(f"/proc/{pid}/limits").partition(_MARK)
    return (told.split() or [_NO_MARK])[0]


def _read(file: str) -> bytes:
    """What the system tells there; nothing where that process has ended, or the system does not tell."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    found = b""
    try:
        while part := os.read(descriptor, 65536):
            found += part
    except OSError:
        pass  # it has ended meanwhile
    finally:
        os.close(descriptor)
    return found


def _program(pid: int | str) -> str:
    """The file that it runs; empty where it has ended, or is somebody else's."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _is_tracker(pid: int) -> bool:
    """Whether it is Python's own, which runs nobody's code."""
    return _NO_CODE in _command(pid)


def _command(pid: int) -> bytes:
    """How it was started; empty where it has ended, or does not tell.

    What starts has no command line for a moment, though the system names its file by then: that is waited for.
    """
    told, deadline = b"", monotonic() + _BECOMES_S
    while not (told := _read(f"/proc/{pid}/cmdline")) and _program(pid) and monotonic() < deadline:
        sleep(_LOOK_S)
    return told

"""Nothing of a benchmark outlives it: not its processes, however they detached themselves, and not its folder.

The work is done in a child; the parent is what orphans fall to (``PR_SET_CHILD_SUBREAPER``), reaps them, and when
the child is gone, however it went, ends whatever is left. Contestants end their processes themselves; this is for
those that left their session (ssh's masters, what was started over ssh) and for Ctrl-C, twice.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36
END_S = 5.0


def guarded(work: Callable[[Path], int], name: str = "loop", folder: Path | None = None) -> int:
    """``work(scratch)`` in a child of its own; its exit code. Returns in both processes: the caller exits.

    The scratch folder's name begins with ``name``; it is made in ``folder``, or where the system has such things.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    scratch = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    sys.stdout.flush()
    worker = os.fork()
    if worker == 0:
        # Set also where it was ignored, as a shell's background jobs have it: what is started from here inherits
        # that, and a tool that stops its application with SIGINT would look slow.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            return work(scratch)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("interrupted", file=sys.stderr)
            return 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker's to answer
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(worker, number))
    try:
        return _wait(worker)
    finally:
        _end_all()
        shutil.rmtree(scratch)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ends the work as Ctrl-C does, once: a group's signal reaches the worker directly and from the guard."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _wait(worker: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_all() -> None:
    """Kills and reaps every descendant; what a killed one leaves behind falls to us and is next."""
    end_s = time.monotonic() + END_S
    while time.monotonic() < end_s:
        for pid in descendants(os.getpid(), parents()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # gone by itself
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)
    print("some processes of the benchmark could not be ended", file=sys.stderr)


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    """The processes below ``root``, children first, from a map of each process to its parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    level = children.get(root, [])
    while level:
        found += level
        level = [child for pid in level for child in children.get(pid, [])]
    return found


def parents() -> dict[int, int]:
    """Each process of this machine, and its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found
